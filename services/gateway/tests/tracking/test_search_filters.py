"""What searches may ask, decided without a server."""

from collections.abc import Callable, Sequence

import pytest
from mlflow.exceptions import MlflowException
from runstream_gateway.mlflow_api.logged_model_filters import logged_model_filter
from runstream_gateway.mlflow_api.search_filters import (
    check_experiment_search,
    check_model_search,
    check_page_size,
    check_run_search,
    check_version_search,
    distinct_experiment_order,
)

Check = Callable[[str, Sequence[str]], None]


@pytest.mark.parametrize(
    ("check", "filter_text", "order_by"),
    [
        (check_run_search, "", []),
        (
            check_run_search,
            "metrics.`a b` >= 1e3 AND params.p LIKE '%' and tags.t IS NOT NULL",
            ["metrics.m DESC"],
        ),
        (
            check_run_search,
            "run_id IN ('a', 'b') AND dataset.name != 'd' AND start_time > 5 AND",
            ["created DESC"],
        ),
        (check_run_search, "params.p = '" + "x" * 10_000 + "'", ["start_time", "status ASC"]),
        (check_experiment_search, "experiment_id IN ('1', '2') AND creation_time < 5", ["name", "name"]),
        (check_experiment_search, "tags.t ILIKE '%x' AND name != 'n'", ["experiment_id DESC"]),
        (
            check_model_search,
            "name IN ('a') AND tags.`mlflow.prompt.is_prompt` = 'true'",
            ["timestamp DESC", "name"],
        ),
        (
            check_version_search,
            "version_number >= 2 AND run_id IN ('a') AND source_path LIKE 's3%'",
            ["version_number"],
        ),
    ],
)
def test_what_mlflow_takes_passes(check: Check, filter_text: str, order_by: list[str]) -> None:
    # Twice, since what passed is remembered.
    check(filter_text, order_by)
    check(filter_text, order_by)


@pytest.mark.parametrize(
    ("check", "filter_text", "order_by", "text"),
    [
        (check_run_search, "metrics.m > 'x'", [], "Expected numeric value type for metric"),
        (check_run_search, "params.p > 'x'", [], "Invalid comparator '>'"),
        (check_run_search, "status > 'x'", [], "Invalid comparator '>'"),
        (check_run_search, "start_time LIKE 'x'", [], "start_time"),
        (check_run_search, "dataset.foo = 'x'", [], "Invalid dataset key"),
        (check_run_search, "params.p = '" + "x" * 10_000, [], "Invalid clause"),
        (check_run_search, "x" * 100_001, [], "at most 100000 are allowed"),
        (check_run_search, "", ["x" * 100_001], "at most 100000 are allowed"),
        (check_run_search, "", ["metrics.m"] * 1_001, "at most 1000 are allowed"),
        (check_run_search, "", ["created", "start_time"], "duplicate fields"),
        (check_run_search, "", ["metrics.m UP"], "Invalid ordering key"),
        (check_run_search, "", ['metrics."m'], "Could not be parsed"),
        (check_experiment_search, "tags.t > 'x'", [], "Invalid comparator for tag: >"),
        (check_experiment_search, "name IN ('x')", [], "Only ['experiment_id']"),
        (check_experiment_search, "creation_time LIKE 'x'", [], "creation_time"),
        (check_experiment_search, "", ["tags.t"], "Invalid order_by entity: tag"),
        (check_model_search, "version_number > 1", [], "version_number"),
        (check_model_search, "tags.t > 'x'", [], "tag"),
        (check_model_search, "", ["timestamp", "last_updated_timestamp"], "duplicate fields"),
        (check_model_search, "", ["version_number"], "Invalid order by key 'version_number'"),
        (check_version_search, "version_number > 1.5", [], "Invalid value for numeric attribute"),
        (check_version_search, "source_path IN ('x')", [], "Only"),
        (check_version_search, "name > 'x'", [], "Invalid comparator"),
        (check_version_search, "", ["timestamp"], "timestamp"),
    ],
)
def test_what_mlflow_refuses_is_refused(
    check: Check, filter_text: str, order_by: list[str], text: str
) -> None:
    with pytest.raises(MlflowException) as refused:
        check(filter_text, order_by)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert text in refused.value.message


def test_of_a_repeated_key_the_first_decides() -> None:
    order = ["name DESC", "experiment_id", "`name`", "creation_time"]
    assert distinct_experiment_order(order) == ["name DESC", "experiment_id", "creation_time"]
    assert distinct_experiment_order(order[::-1]) == ["creation_time", "`name`", "experiment_id"]


@pytest.mark.parametrize(("size", "text"), [(0, "a positive integer"), (50_001, "at most 50000")])
def test_a_page_has_a_size(size: int, text: str) -> None:
    check_page_size(1)
    check_page_size(50_000)
    with pytest.raises(MlflowException, match=text):
        check_page_size(size)


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("", ""),
        ("name = 'a'", "attributes.`name` = 'a'"),
        ("name = a", "attributes.`name` = 'a'"),
        ('name = "a"', "attributes.`name` = '\"a\"'"),
        ("`name` != 'it\"s'", "attributes.`name` != 'it\"s'"),
        ("attributes.status in ('2', '1')", "attributes.`status` IN ('2', '1')"),
        ("name NOT IN ('a',)", "attributes.`name` NOT IN ('a')"),
        ("model_id IN (1, 2)", "attributes.`model_id` IN ('1', '2')"),
        ("creation_time > 1e3", "attributes.`creation_timestamp` > 1000"),
        ("last_updated_timestamp_ms <= 7", "attributes.`last_updated_timestamp` <= 7"),
        ("metrics.`a b` > -.5 and params.p like '%'", "metrics.`a b` > -0.5 AND params.`p` LIKE '%'"),
        ("AND", ""),
        ("tags.a.b = 'x' AND", "tags.`a.b` = 'x'"),
    ],
)
def test_a_filter_of_logged_models_is_written_again(text: str, rewritten: str) -> None:
    assert logged_model_filter(text) == rewritten


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (" ", "Expected a single SQL expression."),
        ("name = 'a'; name = 'b'", "Expected a single SQL expression."),
        ("name", "Expected a list of comparisons"),
        ("name = 'a' OR name = 'b'", "Expected a list of comparisons"),
        ("(" * 5_000, "filter"),
        ("(" * 100_001, "at most 100000 are allowed"),
        ("models.name = 'a'", "Invalid entity type: 'models'."),
        ("tags.t IS NULL", "Expected a comparison with 3 tokens."),
        ("metrics.m LIKE 'x'", "Invalid comparison operator for metrics.m: 'LIKE'."),
        ("metrics.m > nan", "expected a finite number"),
        ("name IN (a)", "Invalid list of values"),
        ("name IN ()", "Invalid list of values"),
        ("params.p = 'both \" and ' quotes'", ""),
    ],
)
def test_a_filter_of_logged_models_that_mlflow_stumbles_over_is_refused(text: str, refusal: str) -> None:
    with pytest.raises(MlflowException) as refused:
        logged_model_filter(text)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert refusal in refused.value.message
