"""Params, tags and inputs: immutability, limits, all or nothing, and writers that come at once."""

from __future__ import annotations

import asyncio

import pytest
from runstream_common.errors import InvalidArgument
from runstream_contract.ids import new_run_id
from runstream_metadata.entities import Dataset, DatasetInput, DatasetSummary, ModelOutput
from runstream_metadata.errors import OutputExists, ParamImmutable, RunDeleted, RunNotFound, TagNotFound
from runstream_proto.events.v1.run_changed_pb2 import RunChange


async def test_params_and_tags_read_back_in_the_order_of_their_keys(make_run, run_data, runs):
    run = await make_run()
    await run_data.log_batch(run.run_id, [("b", "2"), ("B", ""), ("a", "1")], [("t", "1"), ("t", "2")])
    found = await runs.get(run.run_id)

    assert list(found.params.items()) == [("B", ""), ("a", "1"), ("b", "2")]
    assert found.tags["t"] == "2"


async def test_a_param_never_changes(make_run, run_data, runs):
    run = await make_run(params={"lr": "0.1"})
    await run_data.log_batch(run.run_id, [("lr", "0.1")], [])

    with pytest.raises(ParamImmutable) as refused:
        await run_data.log_batch(run.run_id, [("lr", "0.2"), ("new", "1")], [("tag", "1")])

    assert refused.value.reason == "PARAM_IMMUTABLE"
    assert [violation.field for violation in refused.value.violations] == ["params[lr]"]
    found = await runs.get(run.run_id)
    # All or nothing.
    assert found.params == {"lr": "0.1"}
    assert "tag" not in found.tags


async def test_values_are_cut_and_then_compared(make_run, run_data, runs):
    run = await make_run()
    await run_data.log_batch(run.run_id, [("p", "x" * 6_001)], [("t", "y" * 8_001)])
    await run_data.log_batch(run.run_id, [("p", "x" * 6_000)], [])
    found = await runs.get(run.run_id)

    assert (len(found.params["p"]), len(found.tags["t"])) == (6_000, 8_000)


async def test_parallel_equal_params_all_succeed(make_run, run_data, runs):
    """A1: writers of one run at once, keys in different orders."""
    run = await make_run()
    keys = [f"p{number}" for number in range(50)]
    batches = [[(key, key.upper()) for key in (keys if turn % 2 else reversed(keys))] for turn in range(12)]

    await asyncio.gather(*(run_data.log_batch(run.run_id, batch, batch) for batch in batches))

    found = await runs.get(run.run_id)
    assert found.params == {key: key.upper() for key in keys}
    assert {key: found.tags[key] for key in keys} == found.params


async def test_of_parallel_different_params_one_wins(make_run, run_data, runs):
    run = await make_run()
    outcomes = await asyncio.gather(
        *(run_data.log_batch(run.run_id, [("p", str(number))], []) for number in range(10)),
        return_exceptions=True,
    )

    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ParamImmutable) for outcome in outcomes) == 9
    assert (await runs.get(run.run_id)).params == {"p": str(outcomes.index(None))}


@pytest.mark.parametrize(
    ("params", "tags", "field"),
    [
        ([("a", "1"), ("a", "1")], [], "params[1].key"),
        ([("", "1")], [], "params[0].key"),
        ([("ok", "1"), ("a//b", "1")], [], "params[1].key"),
        ([], [("../up", "1")], "tags[0].key"),
        ([], [("k" * 251, "1")], "tags[0].key"),
        ([(str(number), "") for number in range(101)], [], "params"),
        ([], [(str(number), "") for number in range(101)], "tags"),
    ],
)
async def test_wrong_batches_name_the_entry_and_store_nothing(make_run, run_data, runs, params, tags, field):
    run = await make_run()
    with pytest.raises(InvalidArgument) as refused:
        await run_data.log_batch(run.run_id, [*params, ("good", "1")][:102], tags)

    assert field in [violation.field for violation in refused.value.violations]
    assert (await runs.get(run.run_id)).params == {}


async def test_setting_the_name_tag_renames(make_run, run_data, runs, events):
    run = await make_run(name="before")
    await run_data.log_batch(run.run_id, [("p", "1")], [("mlflow.runName", "after"), ("t", "1")])
    found = await runs.get(run.run_id)

    assert (found.name, found.tags["mlflow.runName"], found.tags["t"]) == ("after", "after", "1")
    assert found.params == {"p": "1"}
    assert [event.change for event in await events()] == [
        RunChange.RUN_CHANGE_CREATED,
        RunChange.RUN_CHANGE_UPDATED,
    ]


async def test_a_rename_that_comes_with_a_refused_param_does_not_happen(make_run, run_data, runs, events):
    run = await make_run(name="before", params={"p": "1"})
    with pytest.raises(ParamImmutable):
        await run_data.log_batch(run.run_id, [("p", "2")], [("mlflow.runName", "after")])

    assert (await runs.get(run.run_id)).name == "before"
    assert len(await events()) == 1


async def test_tags_are_deleted_once(make_run, run_data, runs):
    run = await make_run(tags={"t": "1"})
    await run_data.delete_tag(run.run_id, "t")

    assert "t" not in (await runs.get(run.run_id)).tags
    with pytest.raises(TagNotFound):
        await run_data.delete_tag(run.run_id, "t")


async def test_writes_need_an_active_run(make_run, run_data, runs):
    run = await make_run(tags={"t": "1"})
    await runs.delete(run.run_id)
    dataset = DatasetInput(Dataset("d", "1", "local", "{}"))

    for run_id, error in ((run.run_id, RunDeleted), (new_run_id(), RunNotFound)):
        for call in (
            run_data.log_batch(run_id, [("p", "1")], []),
            run_data.log_batch(run_id, [], []),
            run_data.log_batch(run_id, [], [("mlflow.runName", "x")]),
            run_data.delete_tag(run_id, "t"),
            run_data.log_inputs(run_id, [dataset]),
            run_data.log_inputs(run_id, []),
            run_data.log_outputs(run_id, [ModelOutput("m-1")]),
        ):
            with pytest.raises(error):
                await call


async def test_an_input_is_linked_once_and_keeps_its_first_tags(make_run, run_data, runs):
    run, other = await make_run(), await make_run()
    dataset = Dataset("iris", "abc", "local", '{"uri": "x"}', "schema", "profile")
    await run_data.log_inputs(run.run_id, [DatasetInput(dataset, {"mlflow.data.context": "train"})])
    await run_data.log_inputs(run.run_id, [DatasetInput(dataset, {"mlflow.data.context": "eval"})])
    await run_data.log_inputs(other.run_id, [DatasetInput(Dataset("iris", "abc", "s3", "elsewhere"))])

    # A dataset is what it was first recorded as.
    assert (await runs.get(run.run_id)).inputs == [DatasetInput(dataset, {"mlflow.data.context": "train"})]
    assert (await runs.get(other.run_id)).inputs == [DatasetInput(dataset, {})]


async def test_parallel_runs_record_the_same_datasets(make_run, run_data, runs):
    made = [await make_run() for _ in range(8)]
    inputs = [DatasetInput(Dataset(f"d{number}", "1", "local", "")) for number in range(30)]

    await asyncio.gather(
        *(
            run_data.log_inputs(run.run_id, inputs if turn % 2 else inputs[::-1])
            for turn, run in enumerate(made)
        )
    )

    for run in await runs.get_many([run.run_id for run in made]):
        assert {item.dataset.name for item in run.inputs} == {f"d{number}" for number in range(30)}


async def test_wrong_inputs_name_their_field(make_run, run_data):
    run = await make_run()
    wrong = [
        DatasetInput(Dataset("", "1", "local", "")),
        DatasetInput(Dataset("d", "1" * 37, "local", "")),
        DatasetInput(Dataset("d", "1", "local", ""), {"k": "v" * 501}),
    ]
    with pytest.raises(InvalidArgument) as refused:
        await run_data.log_inputs(run.run_id, wrong)

    assert [violation.field for violation in refused.value.violations] == [
        "datasets[0].dataset.name",
        "datasets[1].dataset.digest",
        "datasets[2].tags[0].value",
    ]


async def test_models_are_inputs_once_and_need_not_exist(make_run, run_data, runs):
    run, other = await make_run(), await make_run()
    await run_data.log_inputs(run.run_id, [], ["m-b", "m-a", "m-b"])
    await run_data.log_inputs(run.run_id, [DatasetInput(Dataset("d", "1", "local", ""))], ["m-a", "m-c"])
    await run_data.log_outputs(other.run_id, [ModelOutput("m-a")])

    found, neighbour = await runs.get_many([run.run_id, other.run_id])
    assert (found.model_input_ids, found.model_outputs) == (["m-a", "m-b", "m-c"], ())
    assert [item.dataset.name for item in found.inputs] == ["d"]
    assert (neighbour.model_input_ids, neighbour.model_outputs) == ((), [ModelOutput("m-a")])


async def test_an_output_comes_once_and_all_or_nothing(make_run, run_data, runs):
    run = await make_run()
    await run_data.log_outputs(run.run_id, [ModelOutput("m-b", 3), ModelOutput("m-a", -1)])
    for again in (
        [ModelOutput("m-c"), ModelOutput("m-b", 4)],
        [ModelOutput("m-c"), ModelOutput("m-c")],
    ):
        with pytest.raises(OutputExists):
            await run_data.log_outputs(run.run_id, again)

    found = (await runs.get(run.run_id)).model_outputs
    assert found == [ModelOutput("m-b", 3), ModelOutput("m-a", -1)]


async def test_wrong_models_name_their_field(make_run, run_data):
    run = await make_run()
    for call, field in (
        (run_data.log_outputs(run.run_id, []), "models"),
        (run_data.log_outputs(run.run_id, [ModelOutput("m-a"), ModelOutput("")]), "models[1]"),
        (run_data.log_inputs(run.run_id, [], ["x" * 256]), "model_ids[0]"),
        (run_data.log_inputs(run.run_id, [], ["x"] * 1_001), "model_ids"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await call
        assert [violation.field for violation in refused.value.violations] == [field]


async def test_datasets_are_listed_once_a_context(make_run, run_data, experiments):
    runs = [await make_run() for _ in range(3)]
    train, plain = {"mlflow.data.context": "train"}, {"other": "x"}
    for run, tags in zip(runs, (train, train, plain), strict=True):
        await run_data.log_inputs(run.run_id, [DatasetInput(Dataset("iris", "1", "local", ""), tags)])
    await run_data.log_inputs(runs[0].run_id, [DatasetInput(Dataset("wine", "2", "local", ""))])

    assert await experiments.list_datasets([0, 4711]) == [
        DatasetSummary(0, "iris", "1", ""),
        DatasetSummary(0, "iris", "1", "train"),
        DatasetSummary(0, "wine", "2", ""),
    ]
    assert await experiments.list_datasets([4711]) == []
