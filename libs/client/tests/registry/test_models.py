"""Models and versions through the client, against the real services."""

from __future__ import annotations

import pytest
import runstream
from runstream.query.async_client import AsyncClient
from runstream.registry.results import ParentVersion
from runstream_common.errors import AlreadyExists, InvalidArgument, NotFound


def test_a_model_lives_and_dies(client, name):
    made = client.models.create(name, description="cards", tags={"team": "risk", "size": 3})
    assert (made.name, made.description, made.tags) == (name, "cards", {"team": "risk", "size": "3"})
    with pytest.raises(AlreadyExists):
        client.models.create(name)
    assert client.models.create(name, get_if_exists=True).creation_time == made.creation_time
    assert client.models.update(name, description="all cards").description == "all cards"
    client.models.set_tags(name, {"team": "fraud"})
    client.models.delete_tags(name, ["size", "never-there"])
    assert client.models.get(name).tags == {"team": "fraud"}
    assert client.models.rename(name, f"{name}-2").name == f"{name}-2"
    client.models.delete(f"{name}-2")
    with pytest.raises(NotFound):
        client.models.get(f"{name}-2")


def test_versions_are_found_by_number_alias_and_stage(client, name):
    for number in (1, 2):
        made = client.models.create_version(name, f"s3://bucket/model/{number}", create_model=True)
        assert (made.version, made.user_id, made.status, made.stage) == (number, "ada", "READY", "None")
    client.models.promote(name, 1, alias="champion")
    client.models.promote(name, 2, stage="staging")
    assert client.models.get_version(name, "@champion").version == 1
    assert client.models.get_version(name, alias="champion").aliases == ("champion",)
    assert client.models.get_version(name, stage="Staging").version == 2
    assert client.models.get_version(name, "latest").version == 2
    assert client.models.resolve(name, "1").source == "s3://bucket/model/1"
    assert {v.version: v.stage for v in client.models.latest_versions(name)} == {1: "None", 2: "Staging"}
    client.models.delete_alias(name, "@champion")
    assert client.models.get(name).aliases == {}
    client.models.delete_version(name, 2)
    with pytest.raises(NotFound):
        client.models.get_version(name, 2)


@pytest.mark.parametrize(
    "wrong", [{}, {"version": 1, "alias": "a"}, {"version": "Production"}, {"version": 0}]
)
def test_a_version_is_named_in_exactly_one_way(client, wrong):
    with pytest.raises(InvalidArgument):
        client.models.get_version("any", **wrong)


def test_the_same_version_id_makes_one_version(client, name):
    chosen = "ab" * 16
    first = client.models.create_version(name, "s3://b/m", version_id=chosen, create_model=True)
    again = client.models.create_version(name, "s3://b/m", version_id=chosen)
    assert (first.version, first.version_id) == (again.version, again.version_id) == (1, chosen)


def test_searches_page_through(client, name):
    client.models.create(name, tags={"suite": name})
    for number in range(5):
        client.models.create_version(name, f"s3://b/{number}", tags={"parity": str(number % 2)})
    found = list(
        client.models.search_versions(f"name = '{name}'", order_by=["version_number ASC"], page_size=2)
    )
    assert [version.version for version in found] == [1, 2, 3, 4, 5]
    odd = client.models.search_versions(f"name = '{name}' AND tags.parity = '1'")
    assert sorted(version.version for version in odd) == [2, 4]
    assert [m.name for m in client.models.search(f"tags.suite = '{name}'")] == [name]


def test_a_version_is_updated(client, name):
    client.models.create_version(name, "s3://b/m", create_model=True)
    changed = client.models.update_version(
        name, "latest", description="tuned", signature={"inputs": "[]"}, flavors={"sklearn": {"v": "1"}}
    )
    assert (changed.description, changed.signature, changed.flavors) == (
        "tuned",
        {"inputs": "[]"},
        {"sklearn": {"v": "1"}},
    )


def test_register_model_takes_the_active_runs_files_and_lineage_shows_them(client, name, logging_here):
    with runstream.start_run(run_name="train") as run:
        runstream.log_input("cards", "d1", source_type="s3", source="s3://data/cards", context="training")
        runstream.set_tag("mlflow.source.git.commit", "c0ffee")
        runstream.log_text("weights", "model/weights.txt")
        base = runstream.register_model("model", name)
    assert (base.run_id, base.artifacts.file_count) == (run.run_id, 1)
    assert base.artifacts.uri == f"runstream://model-versions/{base.version_id}"
    tuned = runstream.register_model(
        f"models:/{name}/1", name, parents=[ParentVersion(name, 1, "fine-tuned")], alias="champion"
    )
    assert tuned.aliases == ("champion",)
    lineage = client.models.lineage(name, 1)
    assert lineage.run is not None
    assert (lineage.run.run_name, lineage.run.git_commit) == ("train", "c0ffee")
    assert [(item.name, item.context) for item in lineage.run.datasets] == [("cards", "training")]
    assert [(item.version, item.link.relation) for item in lineage.descendants] == [(2, "fine-tuned")]
    above = client.models.lineage(name, "@champion")
    assert [item.version for item in above.ancestors] == [1]
    assert [(item.target, item.current) for item in above.promotions] == [("champion", True)]
    assert "fine-tuned" in above._repr_html_()


def test_a_diff_shows_metrics_params_signature_flavors_tags_and_files(client, name, make_run):
    first = make_run(
        files={"model/a.txt": "same", "model/b.txt": "old", "model/c.txt": "gone"},
        params={"depth": 3, "lr": 0.1},
        accuracy=0.9,
        loss=0.5,
    )
    second = make_run(
        files={"model/a.txt": "same", "model/b.txt": "new!", "model/d.txt": "more"},
        params={"depth": 4, "lr": 0.1},
        accuracy=0.95,
        loss=0.5,
    )
    for run_id, kind in ((first, "double"), (second, "float")):
        client.models.create_version(
            name,
            f"runs:/{run_id}/model",
            create_model=True,
            signature={"inputs": f'[{{"name": "x", "type": "{kind}"}}]', "outputs": "[]"},
            flavors={"sklearn": {"sklearn_version": kind}},
            tags={"kind": kind},
        )
    diff = client.models.diff(name, 1, "latest")
    assert [(c.key, c.before, c.after) for c in diff.metrics] == [("accuracy", 0.9, 0.95)]
    assert [(c.key, c.before, c.after) for c in diff.params] == [("depth", "3", "4")]
    assert [c.key for c in diff.signature] == ["inputs"]
    assert diff.signature[0].after == [{"name": "x", "type": "float"}]
    assert [c.key for c in diff.flavors] == ["sklearn.sklearn_version"]
    assert [(c.key, c.before, c.after) for c in diff.tags] == [("kind", "double", "float")]
    assert [(a.path, a.change, a.before_size_bytes, a.after_size_bytes) for a in diff.artifacts] == [
        ("b.txt", "changed", 3, 4),
        ("c.txt", "removed", 4, None),
        ("d.txt", "added", None, 4),
    ]
    assert diff.notes == ()
    assert client.models.diff(name, 1, 1).is_empty


def test_a_diff_says_what_it_cannot_compare(client, name):
    for number in (1, 2):
        client.models.create_version(name, f"s3://b/{number}", create_model=True)
    notes = client.models.diff(name, 1, 2).notes
    assert len(notes) == 3
    assert "files are not compared, since they are kept elsewhere: s3://b/1 and s3://b/2" in notes


async def test_the_async_client_does_the_same(registry_url, name, monkeypatch):
    monkeypatch.setenv("RUNSTREAM_ACTOR", "grace")
    async with AsyncClient(registry_url) as client:
        made = await client.models.create_version(name, "s3://b/m", create_model=True)
        assert made.user_id == "grace"
        await client.models.create_version(name, "s3://b/n")
        outcome = await client.models.promote(name, "latest", alias="champion", reason="best")
        assert outcome.promotion is not None
        assert (outcome.promotion.sequence, outcome.promotion.actor) == (1, "grace")
        listed = [v.version async for v in client.models.search_versions(f"name = '{name}'", page_size=1)]
        assert sorted(listed) == [1, 2]
        assert [p.version async for p in client.models.promotions(name)] == [2]
        assert (await client.models.diff(name, 1, "@champion")).before.version == 1
