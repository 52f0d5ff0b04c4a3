"""MLflow's key rule (semantics of keys) and the forms of ids."""

import pytest
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_contract.names import is_run_id, is_uuid, key_problem


@pytest.mark.parametrize("key", ["loss", "a/b", "a b:c-d.e_f", "größe", "x" * 250, "v1..2"])
def test_good_keys(key: str) -> None:
    assert key_problem(key) is None


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a//b", "a/", "../a", "a/../b", "..", ".", "./a", "a$", "a,b", "it's", "x" * 251, "a\nb"],
)
def test_bad_keys(key: str) -> None:
    assert key_problem(key)


def test_ids_have_their_forms() -> None:
    assert is_run_id(new_run_id())
    assert is_uuid(new_batch_id())
    assert not is_run_id("A" * 32)
    assert not is_run_id("a" * 31)
