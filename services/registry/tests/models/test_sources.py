"""Where the files of versions come from: what is understood, what is refused, and copies that nothing changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runstream_common.errors import FailedPrecondition, InvalidArgument, Unavailable
from runstream_contract.ids import new_run_id
from runstream_registry.artifact_client import FileOwner
from runstream_registry.entities import ByAlias, ByNumber, ByStage, Parent, Stage
from runstream_registry.errors import NoFiles, SourceNotFound
from runstream_registry.models.mlmodel import read_mlmodel
from runstream_registry.models.source_uris import (
    ExternalFiles,
    LoggedModelFiles,
    RunFiles,
    VersionFiles,
    VersionIdFiles,
    parse_source,
)

from services.registry.tests.models.support import EXTERNAL, Registry

RUN = "0123456789abcdef0123456789abcdef"
MODEL = f"m-{RUN}"
MLMODEL = b"""
artifact_path: model
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.8}
  sklearn: {pickled_model: model.pkl}
signature:
  inputs: '[{"type": "double"}]'
  outputs: '[{"type": "long"}]'
utc_time_created: 2026-01-02 03:04:05
"""


@pytest.mark.parametrize(
    ("source", "meaning"),
    [
        (f"runs:/{RUN}/model", RunFiles(RUN, "model")),
        (f"runs:/{RUN}/a//b/", RunFiles(RUN, "a/b")),
        (f"runs:/{RUN}", RunFiles(RUN, "")),
        (f"mlflow-artifacts:/0/{RUN}/artifacts/model", RunFiles(RUN, "model")),
        (f"mlflow-artifacts://host:5000/team/7/{RUN}/artifacts/a/b", RunFiles(RUN, "a/b")),
        (f"mlflow-artifacts:/0/{RUN}/artifacts", RunFiles(RUN, "")),
        (f"mlflow-artifacts:/0/models/{MODEL}/artifacts/x", LoggedModelFiles(MODEL, "x")),
        (f"models:/{MODEL}", LoggedModelFiles(MODEL, "")),
        ("models:/iris/3", VersionFiles("iris", ByNumber(3))),
        ("models:/iris/latest", VersionFiles("iris", ByAlias("latest"))),
        ("models:/iris/Production", VersionFiles("iris", ByStage(Stage.PRODUCTION))),
        ("models:/iris@champion", VersionFiles("iris", ByAlias("champion"))),
        (f"runstream://model-versions/{RUN}", VersionIdFiles(RUN)),
        ("s3://bucket/a/b", ExternalFiles("s3://bucket/a/b")),
        ("dbfs:/some/path", ExternalFiles("dbfs:/some/path")),
        ("prompt-template", ExternalFiles("prompt-template")),
    ],
)
def test_sources_that_are_understood(source: str, meaning: object) -> None:
    assert parse_source(source) == meaning


@pytest.mark.parametrize(
    "source",
    [
        "",
        "model",
        "/tmp/model",
        "./model",
        "C:\\models\\one",
        "file:///tmp/model",
        "http://example.org/model",
        "https://example.org/model",
        "s3://bucket/a/../b",
        "s3://bucket/a/%2e%2e/b",
        "s3://bucket/a/%252e%252e/b",
        "s3://bucket/a/..\\b",
        "s3://bucket/a?key=../b",
        "s3://bucket/a\nb",
        "s3://bucket/%00",
        "s3://[bucket/a",
        "runs:/short/model",
        f"runs://profile@host/{RUN}/model",
        f"runs:/{RUN}/../{RUN}",
        "mlflow-artifacts:/0/model",
        "models:/iris",
        "models:/iris/0",
        "models:/iris/-1",
        "models:/iris/99999999999",
        "models:/iris/3/file",
        "models:/@champion/1/2",
        "models://registry/iris/3",
        "runstream://elsewhere/0123456789abcdef0123456789abcdef",
        "runstream://model-versions/iris",
        "s3://bucket/" + "x" * 10_000,
    ],
)
def test_sources_that_are_refused(source: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_source(source)
    assert [violation.field for violation in raised.value.violations] == ["source"]


@given(
    st.text(max_size=60),
    st.sampled_from(["", "runs:/", "models:/", "mlflow-artifacts:/", "s3://", "runstream://"]),
)
def test_any_text_is_either_understood_or_refused(text: str, scheme: str) -> None:
    try:
        meaning = parse_source(scheme + text)
    except InvalidArgument:
        return
    path = getattr(meaning, "path", "")
    assert ".." not in path.split("/")


async def test_a_version_owns_a_copy_that_later_files_do_not_change(registry: Registry) -> None:
    run = FileOwner.run(RUN)
    registry.files.put(run, {"model/MLmodel": MLMODEL, "model/model.pkl": b"1", "plot.png": b"2"})
    await registry.model()
    version = await registry.version(source=f"runs:/{RUN}/model")
    registry.files.put(run, {"model/model.pkl": b"changed"})
    own = FileOwner.version(version.version_id)
    tree = registry.files.tree(own)

    assert set(registry.files.trees[own]) == {"MLmodel", "model.pkl"}
    assert registry.files.trees[own]["model.pkl"] == b"1"
    assert version.artifacts.uri == f"runstream://model-versions/{version.version_id}"
    assert (version.artifacts.digest, version.artifacts.file_count, version.artifacts.size_bytes) == (
        tree.digest,
        2,
        len(MLMODEL) + 1,
    )
    assert tree.sealed
    assert (version.run_id, version.source, version.status_message) == (RUN, f"runs:/{RUN}/model", "")
    assert json.loads(version.signature_json) == {
        "inputs": '[{"type": "double"}]',
        "outputs": '[{"type": "long"}]',
    }
    assert set(json.loads(version.flavors_json)) == {"python_function", "sklearn"}


async def test_a_version_of_a_version_shares_its_files_and_names_it_as_parent(registry: Registry) -> None:
    registry.files.put(FileOwner.run(RUN), {"model/MLmodel": MLMODEL})
    await registry.model("dev")
    await registry.model("prod")
    origin = await registry.version("dev", f"runs:/{RUN}/model")
    await registry.point("dev", "best", 1)
    by_alias = await registry.version("prod", "models:/dev@best")
    by_id = await registry.version("prod", origin.artifacts.uri, parents=[Parent("dev", 1, "promoted")])

    for copy in (by_alias, by_id):
        assert copy.artifacts.digest == origin.artifacts.digest
        assert copy.artifacts.uri == f"runstream://model-versions/{copy.version_id}"
        assert (copy.run_id, copy.source) == (RUN, "models:/dev/1")
        assert (copy.signature_json, copy.flavors_json) == (origin.signature_json, origin.flavors_json)
    assert list(by_alias.parents) == [Parent("dev", 1, "copied")]
    assert list(by_id.parents) == [Parent("dev", 1, "promoted")]


async def test_files_of_other_stores_stay_where_they_are(registry: Registry) -> None:
    registry.files.away = True
    await registry.model()
    kept = await registry.version(source=EXTERNAL)
    copy = await registry.version(source="models:/iris/1")

    assert kept.artifacts.uri == copy.artifacts.uri == EXTERNAL
    assert copy.artifacts.digest == ""
    assert registry.files.trees == {}


async def test_refused_sources_leave_nothing(registry: Registry) -> None:
    await registry.model()
    registry.files.put(FileOwner.run(RUN), {"model/x": b"1"})
    for source, fields, error in (
        (f"runs:/{new_run_id()}/model", {}, NoFiles),
        (f"runs:/{RUN}/elsewhere", {}, NoFiles),
        (f"runs:/{RUN}/model", {"run_id": new_run_id()}, InvalidArgument),
        (f"models:/{MODEL}", {"logged_model_id": f"m-{new_run_id()}"}, InvalidArgument),
        ("models:/iris/7", {}, SourceNotFound),
        ("models:/nowhere/1", {}, SourceNotFound),
        ("models:/iris@nobody", {}, SourceNotFound),
        (f"runstream://model-versions/{new_run_id()}", {}, SourceNotFound),
    ):
        with pytest.raises(error):
            await registry.version(source=source, **fields)
    registry.files.away = True
    with pytest.raises(Unavailable):
        await registry.version(source=f"runs:/{RUN}/model")

    assert await registry.actions() == [("model.created", "iris", 0)]
    assert registry.files.sealed == set()


async def test_a_version_may_have_any_source_that_its_caller_has_checked(registry: Registry) -> None:
    await registry.model()
    for source in (
        f"runs:/{RUN}/later",
        f"models:/{MODEL}",
        "runs:/abc/model",
        "/a/b",
        "weird:x",
        "models:/nowhere/1",
    ):
        version = await registry.version(source=source, any_source=True, storage_location="s3://there")
        assert (version.source, version.artifacts.uri) == (source, source)
        assert (version.artifacts.digest, version.storage_location) == ("", "s3://there")
    registry.files.put(FileOwner.run(RUN), {"later/x": b"1"})
    copied = await registry.version(source=f"runs:/{RUN}/later", any_source=True)
    assert copied.artifacts.file_count == 1


async def test_a_repeated_call_repeats_the_copy_without_harm(registry: Registry) -> None:
    registry.files.put(FileOwner.run(RUN), {"model/x": b"1"})
    version_id = new_run_id()
    # The first call got as far as the copy: there was no model.
    with pytest.raises(Exception, match="does not exist"):
        await registry.version(source=f"runs:/{RUN}/model", version_id=version_id)
    await registry.files.copy_sealed(FileOwner.run(RUN), "model", FileOwner.version(version_id))
    await registry.model()
    first = await registry.version(source=f"runs:/{RUN}/model", version_id=version_id)
    registry.files.put(FileOwner.run(RUN), {"model/x": b"changed"})
    again = await registry.version(source=f"runs:/{RUN}/model", version_id=version_id)

    assert first == again
    with pytest.raises(FailedPrecondition):
        await registry.files.copy_sealed(FileOwner.run(RUN), "model", FileOwner.version(version_id))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"flavors: {a: 1}", ""),
        (b"", "MLmodel is no mapping"),
        (b"- a", "MLmodel is no mapping"),
        (b"{", "MLmodel is not YAML"),
        (b"\xff\xfe\xfa", "MLmodel is not YAML"),
        (b"flavors: {a: .nan}", "MLmodel does not translate to JSON"),
        (b"a: &a [*a]\nflavors: {x: *a}", "MLmodel does not translate to JSON"),
        (b"!!python/object/apply:os.system ['true']", "MLmodel is not YAML"),
    ],
)
def test_what_an_mlmodel_file_says(content: bytes, problem: str) -> None:
    assert read_mlmodel(content).problem.startswith(problem)
    assert bool(read_mlmodel(content).problem) == bool(problem)
