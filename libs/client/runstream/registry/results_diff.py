"""What differs between two versions of a model."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from runstream.query.notebook import table_html
from runstream.registry.shapes import Result, json_ready

if TYPE_CHECKING:
    from runstream.registry.results import ModelVersion


@dataclass(frozen=True, slots=True)
class ChangedValue(Result):
    """A value that differs; None where a version does not have it.

    Attributes:
        before: of the first version.
        after: of the second version.
    """

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ArtifactChange(Result):
    """A file that differs.

    Attributes:
        change: "added", "removed" or "changed".
        before_digest: SHA-256 in the first version; empty when it is not there.
        after_digest: SHA-256 in the second version; empty when it is not there.
        before_size_bytes: None when it is not there.
        after_size_bytes: None when it is not there.
    """

    path: str
    change: str
    before_digest: str
    after_digest: str
    before_size_bytes: int | None
    after_size_bytes: int | None


@dataclass(frozen=True, slots=True)
class ModelDiff(Result):
    """What differs between two versions; what is equal in both is left out.

    Attributes:
        before: first version.
        after: second version.
        metrics: latest metrics of the source runs.
        params: params of the source runs.
        signature: by part, such as "inputs" and "outputs".
        flavors: by flavor and field, such as "sklearn.sklearn_version".
        tags: tags of the versions.
        artifacts: files by path.
        notes: what could not be compared and why.
    """

    before: ModelVersion
    after: ModelVersion
    metrics: tuple[ChangedValue, ...]
    params: tuple[ChangedValue, ...]
    signature: tuple[ChangedValue, ...]
    flavors: tuple[ChangedValue, ...]
    tags: tuple[ChangedValue, ...]
    artifacts: tuple[ArtifactChange, ...]
    notes: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing that could be compared differs."""
        groups = (self.metrics, self.params, self.signature, self.flavors, self.tags, self.artifacts)
        return not any(groups)

    def groups(self) -> tuple[tuple[str, tuple[ChangedValue, ...]], ...]:
        """The changed values by what they belong to; artifacts are apart."""
        return (
            ("metric", self.metrics),
            ("param", self.params),
            ("signature", self.signature),
            ("flavor", self.flavors),
            ("tag", self.tags),
        )

    def _repr_html_(self) -> str:
        head = ["", "", f"version {self.before.version}", f"version {self.after.version}"]
        rows = [
            (kind, item.key, _shown(item.before), _shown(item.after))
            for kind, items in self.groups()
            for item in items
        ]
        rows += [
            (f"file {item.change}", item.path, item.before_digest[:12], item.after_digest[:12])
            for item in self.artifacts
        ]
        notes = "".join(f"<small>{escape(note)}</small><br/>" for note in self.notes)
        return f"{table_html(head, rows)}{notes}"


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, float)) else str(json_ready(value))
