"""Where versions came from and where they went."""

from __future__ import annotations

import pytest
from runstream_contract.ids import new_run_id
from runstream_registry.api.mapping import lineage_message
from runstream_registry.entities import DatasetFact, Parent, RunFacts, Stage
from runstream_registry.errors import VersionNotFound
from runstream_registry.models.evaluations import NewEvaluation

from services.registry.tests.models.support import Registry


def relatives(items) -> list[tuple[str, int, int, str]]:
    return [(item.name, item.version, item.generation, item.relation) for item in items]


async def test_ancestors_and_descendants_come_nearest_first_and_once(registry: Registry) -> None:
    for name in ("base", "left", "right", "leaf"):
        await registry.model(name)
    await registry.version("base")
    await registry.version("left", parents=[Parent("base", 1, "fine-tuned")])
    await registry.version("right", parents=[Parent("base", 1, "distilled")])
    await registry.version("leaf", parents=[Parent("left", 1, "merged"), Parent("right", 1, "merged")])
    await registry.version("leaf", parents=[Parent("base", 1, "direct"), Parent("leaf", 1, "next")])
    get = registry.use.lineages.get
    last = await get("leaf", 2, depth=5)
    base = await get("base", 1, depth=5)
    near = await get("base", 1, depth=1)

    assert relatives(last.ancestors) == [
        ("base", 1, 1, "direct"),
        ("leaf", 1, 1, "next"),
        ("left", 1, 2, "merged"),
        ("right", 1, 2, "merged"),
    ]
    assert relatives(base.descendants) == [
        ("leaf", 2, 1, "direct"),
        ("left", 1, 1, "fine-tuned"),
        ("right", 1, 1, "distilled"),
        ("leaf", 1, 2, "merged"),
    ]
    assert relatives(near.descendants) == relatives(base.descendants)[:3]
    assert list(base.ancestors) == []


async def test_diamonds_upon_diamonds_are_walked_once_a_version(registry: Registry) -> None:
    """Twenty layers of two versions, each made from both below: 2**19 ways lead down."""
    await registry.model()
    await registry.version()
    await registry.version()
    for layer in range(1, 20):
        both = [Parent("iris", 2 * layer - 1, ""), Parent("iris", 2 * layer, "")]
        await registry.version(parents=both)
        await registry.version(parents=both)
    top = await registry.use.lineages.get("iris", 40, depth=20)

    assert len(top.ancestors) == 38
    assert max(item.generation for item in top.ancestors) == 19


async def test_deleted_and_renamed_relatives_stay_in_the_history(registry: Registry) -> None:
    await registry.model("base")
    await registry.model("leaf")
    await registry.version("base")
    await registry.version("leaf", parents=[Parent("base", 1, "tuned")])
    await registry.use.models.rename("base", "renamed", actor="ada")
    await registry.use.versions.delete("renamed", 1, actor="ada")
    lineage = await registry.use.lineages.get("leaf", 1, depth=5)

    assert [(item.name, item.deleted) for item in lineage.ancestors] == [("renamed", True)]
    with pytest.raises(VersionNotFound):
        await registry.use.lineages.get("renamed", 1, depth=5)


async def test_the_run_is_read_live_and_its_absence_is_said(registry: Registry) -> None:
    run_id = new_run_id()
    await registry.model()
    await registry.version(run_id=run_id)
    await registry.version()
    tags = {
        "mlflow.source.git.commit": "abc",
        "mlflow.source.git.repoURL": "git@example.org:x",
        "mlflow.source.name": "train.py",
    }
    dataset = DatasetFact("iris", "d1", "s3", "{}", "training")
    registry.runs.runs[run_id] = RunFacts(run_id, "calm-owl", "7", "ada", False, tags, {}, [dataset])

    async def run(number: int = 1):
        return lineage_message(await registry.use.lineages.get("iris", number, depth=1))

    known = (await run()).run
    assert (known.run_name, known.experiment_id, known.lifecycle_stage) == ("calm-owl", "7", "active")
    assert (known.git_commit, known.git_repository, known.source_name) == (
        "abc",
        "git@example.org:x",
        "train.py",
    )
    assert [(item.name, item.context) for item in known.datasets] == [("iris", "training")]
    registry.runs.away = True
    assert ((await run()).run.run_id, (await run()).run.lifecycle_stage) == (run_id, "unknown")
    registry.runs.away = False
    registry.runs.runs.clear()
    assert (await run()).run.lifecycle_stage == "unknown"
    assert not (await run(2)).HasField("run")


async def test_promotions_say_which_are_still_in_place(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    await registry.version()
    async with registry.database.driver() as connection:
        for sequence, (version, kind, target) in enumerate(
            [
                (1, "alias", "champion"),
                (1, "stage", "Production"),
                (2, "alias", "champion"),
                (1, "alias", "old"),
            ],
            1,
        ):
            await connection.execute(
                "INSERT INTO registry.promotion (promotion_id, model_id, sequence, version, previous_version, target_kind,"
                " target, actor, time_ms, rules, metrics, artifact_uri)"
                " SELECT gen_random_uuid(), model_id, $1, $2, 0, $3, $4, 'ada', $1, '[]', '{}', '' FROM registry.model",
                sequence,
                version,
                kind,
                target,
            )
    await registry.point("iris", "champion", 2)
    await registry.stage("iris", 1, Stage.PRODUCTION)

    async def promotions(number: int) -> list[tuple[str, int, bool]]:
        lineage = await registry.use.lineages.get("iris", number, depth=1)
        return [(item.target, item.sequence, item.current) for item in lineage.promotions]

    assert await promotions(1) == [("old", 4, False), ("Production", 2, True), ("champion", 1, False)]
    assert await promotions(2) == [("champion", 3, True)]


async def test_evaluations_are_recorded_with_a_trace(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    await registry.use.evaluations.record(
        "iris", 1, NewEvaluation("regression", True, "all fine", "https://example.org"), actor="ci"
    )
    with pytest.raises(VersionNotFound):
        await registry.use.evaluations.record("iris", 2, NewEvaluation("x", True, "", ""), actor="ci")
    async with registry.database.driver() as connection:
        stored = await connection.fetch("SELECT name, passed, actor FROM registry.evaluation")

    assert [tuple(row) for row in stored] == [("regression", True, "ci")]
    assert (await registry.actions())[-1] == ("evaluation.recorded", "iris", 1)
