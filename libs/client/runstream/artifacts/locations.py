"""Whose files, and which of them: what users write, and what requests take.

    <run_id>, runs:/<run_id>/path                   a run
    models:/m-<32 hex>/path                         a logged model
    models:/<name>/<version | latest | stage>/path  a registered model's version
    models:/<name>@<alias>/path                     the same by alias
    runstream://<kind>/<id>/path                    by id: runs, logged-models, model-versions, traces

`runs:` and `models:` as in MLflow's "Referencing Artifacts".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TypeAlias

from runstream_common.errors import InvalidArgument
from runstream_contract.names import is_run_id
from runstream_proto.artifact.v1 import types_pb2 as types_pb

SCHEME = "runstream://"
_KINDS: dict[str, tuple[types_pb.OwnerKind.ValueType, re.Pattern[str]]] = {
    "runs": (types_pb.OWNER_KIND_RUN, re.compile(r"[0-9a-f]{32}")),
    "logged-models": (types_pb.OWNER_KIND_LOGGED_MODEL, re.compile(r"m-[0-9a-f]{32}")),
    "model-versions": (types_pb.OWNER_KIND_MODEL_VERSION, re.compile(r"[0-9a-f]{32}")),
    "traces": (types_pb.OWNER_KIND_TRACE, re.compile(r"tr-[0-9a-f]{32}")),
}
_NAMES = {kind: name for name, (kind, _) in _KINDS.items()}
_LOGGED_MODEL = _KINDS["logged-models"][1]
_FORMS = (
    "a run id, runs:/<run_id>/path, models:/<name>/<version>/path, models:/<name>@<alias>/path or "
    "runstream://model-versions/<version_id>/path"
)


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a tree.

    Attributes:
        kind: what the tree belongs to.
        owner_id: its id.
        path: file or directory; empty means the root.
    """

    kind: types_pb.OwnerKind.ValueType
    owner_id: str
    path: str = ""

    @property
    def owner(self) -> types_pb.Owner:
        """As requests take it."""
        return types_pb.Owner(kind=self.kind, id=self.owner_id)

    @property
    def uri(self) -> str:
        """The same as text."""
        base = f"{SCHEME}{_NAMES[self.kind]}/{self.owner_id}"
        return f"{base}/{self.path}" if self.path else base

    def below(self, path: str) -> Location:
        """A place below this one; an empty path is this one."""
        return replace(self, path=joined(self.path, path))


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A registered model's version by number, alias or stage; the registry knows where its files are.

    Attributes:
        name: model.
        version: number; 0 when an alias or stage is given.
        alias: alias, "latest" among them.
        stage: stage as written.
        path: file or directory; empty means the root.
    """

    name: str
    version: int = 0
    alias: str = ""
    stage: str = ""
    path: str = ""


Place: TypeAlias = Location | ModelReference


def joined(*paths: str) -> str:
    """Paths one below the other, empty ones left out, in Unicode NFC as the service keeps them."""
    text = "/".join(part for part in (path.strip("/") for path in paths) if part)
    return unicodedata.normalize("NFC", text)


def parse_place(text: str, path: str = "") -> Place:
    """What a user wrote as a place.

    Args:
        text: see the module.
        path: further path below it.

    Raises:
        InvalidArgument: it has none of the forms.
    """
    if is_run_id(text):
        return Location(types_pb.OWNER_KIND_RUN, text, joined(path))
    for prefix, parse in (("runs:/", _run), ("models:/", _model), (SCHEME, _by_id)):
        if text.startswith(prefix):
            place = parse(text.removeprefix(prefix).rstrip("/"))
            if place is not None:
                return replace(place, path=joined(place.path, path))
    raise InvalidArgument.of("location", f"{text!r:.300} is not {_FORMS}", reason="INVALID_LOCATION")


def parse_location(uri: str) -> Location:
    """A `runstream://` URI.

    Raises:
        InvalidArgument: it is none.
    """
    place = parse_place(uri)
    if not isinstance(place, Location):
        raise InvalidArgument.of("location", f"{uri!r:.300} is no {SCHEME} URI", reason="INVALID_LOCATION")
    return place


def is_place(text: str) -> bool:
    """Whether a text names a place, rather than a local path."""
    return is_run_id(text) or text.startswith(("runs:/", "models:/", SCHEME))


def _run(rest: str) -> Location | None:
    run_id, _, path = rest.partition("/")
    return Location(types_pb.OWNER_KIND_RUN, run_id, path) if is_run_id(run_id) else None


def _by_id(rest: str) -> Location | None:
    name, _, rest = rest.partition("/")
    owner_id, _, path = rest.partition("/")
    if name not in _KINDS or not _KINDS[name][1].fullmatch(owner_id):
        return None
    return Location(_KINDS[name][0], owner_id, path)


def _model(rest: str) -> Place | None:
    first, _, tail = rest.partition("/")
    name, at, alias = first.rpartition("@")
    if at:
        return ModelReference(name, alias=alias, path=tail) if name and alias else None
    if _LOGGED_MODEL.fullmatch(first):
        return Location(types_pb.OWNER_KIND_LOGGED_MODEL, first, tail)
    selector, _, path = tail.partition("/")
    if not first or not selector:
        return None
    if selector.isdecimal() and selector.isascii():
        return ModelReference(first, version=int(selector), path=path)
    if selector.lower() == "latest":
        return ModelReference(first, alias="latest", path=path)
    return ModelReference(first, stage=selector, path=path)
