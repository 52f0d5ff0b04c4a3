"""What differs between two versions: their records, their source runs and their files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runstream_proto.artifact.v1 import artifact_service_pb2 as artifact_pb
from runstream_proto.artifact.v1 import types_pb2 as artifact_types

from runstream.query.client_calls import Call, Flow, Page, asked, method_path
from runstream.query.client_runs import get_runs
from runstream.registry.flows_models import get_version
from runstream.registry.results_diff import ArtifactChange, ChangedValue, ModelDiff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream.query.results import Run
    from runstream.registry.results import ModelVersion

ARTIFACT = "artifact"
ARTIFACTS = artifact_pb.DESCRIPTOR.services_by_name["ArtifactService"].full_name
OUR_FILES = "runstream://"
PAGE_SIZE = 10_000


def diff(name: str, before: int | str, after: int | str, *, other_name: str) -> Flow[ModelDiff]:
    """Compare two versions, of one model or of two."""
    first = yield from get_version(name, before, "", "")
    second = yield from get_version(other_name or name, after, "", "")
    notes: list[str] = []
    runs = yield from _runs(first, second, notes)
    files = yield from _artifact_changes(first, second, notes)
    return ModelDiff(
        before=first,
        after=second,
        metrics=changed_values(runs[0].metrics if runs[0] else {}, runs[1].metrics if runs[1] else {}),
        params=changed_values(runs[0].params if runs[0] else {}, runs[1].params if runs[1] else {}),
        signature=changed_values(signature_parts(first.signature), signature_parts(second.signature)),
        flavors=changed_values(flat(first.flavors), flat(second.flavors)),
        tags=changed_values(first.tags, second.tags),
        artifacts=files,
        notes=tuple(notes),
    )


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ChangedValue, ...]:
    """The values that differ, by key; NaN equals NaN."""
    changed = []
    for key in sorted(before.keys() | after.keys()):
        values = before.get(key), after.get(key)
        if (key in before) != (key in after) or _comparable(values[0]) != _comparable(values[1]):
            changed.append(ChangedValue(key, *values))
    return tuple(changed)


def _comparable(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and value != value else value  # noqa: PLR0124 - true for NaN only


def signature_parts(signature: Any) -> dict[str, Any]:
    """The parts of an MLflow signature, whose inputs and outputs are JSON texts; other forms are one part."""
    if signature is None:
        return {}
    if not isinstance(signature, dict):
        return {"signature": signature}
    return {key: _decoded(value) for key, value in signature.items() if value is not None}


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one mapping with dotted keys."""
    found: dict[str, Any] = {}
    for key, item in value.items() if isinstance(value, dict) else [("flavors", value)]:
        if isinstance(item, dict) and item:
            found |= flat(item, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = item
    return found


def _runs(before: ModelVersion, after: ModelVersion, notes: list[str]) -> Flow[tuple[Run | None, Run | None]]:
    wanted = sorted({version.run_id for version in (before, after) if version.run_id})
    found = {run.run_id: run for run in (yield from get_runs(wanted))} if wanted else {}
    for version in (before, after):
        if not version.run_id:
            notes.append(f"version {version.version} has no source run, so no metrics and params")
        elif version.run_id not in found:
            notes.append(f"run {version.run_id} of version {version.version} is gone")
    return found.get(before.run_id), found.get(after.run_id)


def _artifact_changes(
    before: ModelVersion, after: ModelVersion, notes: list[str]
) -> Flow[tuple[ArtifactChange, ...]]:
    uris = [version.artifacts.uri for version in (before, after)]
    elsewhere = [uri for uri in dict.fromkeys(uris) if not uri.startswith(OUR_FILES)]
    if elsewhere:
        if len(set(uris)) > 1:
            notes.append(f"files are not compared, since they are kept elsewhere: {' and '.join(elsewhere)}")
        return ()
    if before.artifacts.digest and before.artifacts.digest == after.artifacts.digest:
        return ()
    old = yield from _files(before)
    new = yield from _files(after)
    return artifact_changes(old, new)


def artifact_changes(
    before: Mapping[str, tuple[str, int]], after: Mapping[str, tuple[str, int]]
) -> tuple[ArtifactChange, ...]:
    """The files that differ, by path; each side is (digest, size in bytes) by path."""
    changes = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        old_digest, old_size = old or ("", None)
        new_digest, new_size = new or ("", None)
        changes.append(ArtifactChange(path, change, old_digest, new_digest, old_size, new_size))
    return tuple(changes)


def _files(version: ModelVersion) -> Flow[dict[str, tuple[str, int]]]:
    owner = artifact_types.Owner(kind=artifact_types.OWNER_KIND_MODEL_VERSION, id=version.version_id)
    request = artifact_pb.ListArtifactsRequest(owner=owner, recursive=True, page_size=PAGE_SIZE)
    files: dict[str, tuple[str, int]] = {}
    while True:
        page: Page[Any] = yield from _file_page(request)
        files |= {item.path: (item.digest, item.size_bytes) for item in page.items}
        if not page.next_page_token:
            return files
        request.page_token = page.next_page_token


def _file_page(request: artifact_pb.ListArtifactsRequest) -> Flow[Page[Any]]:
    call: Call[Page[Any]] = Call(
        method_path(ARTIFACTS, "ListArtifacts"),
        request,
        artifact_pb.ListArtifactsResponse.FromString,
        lambda a: Page(tuple(a.artifacts), a.next_page_token),
        service=ARTIFACT,
    )
    return asked(call)
