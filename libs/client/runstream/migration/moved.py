"""Where things that others refer to went: runs, logged models, and the files that versions are made from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run

    from runstream.migration.journal import Entry, Journal

RESERVED_RUN = "reserved_run"
"""Kind of the journal's entries of runs that got another id."""

_RUN_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}(?![0-9a-f])")


class Moved:
    """Looks things up in the journal; what is not there keeps its id.

    Args:
        journal: of the migration.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def run_id(self, run_id: str) -> str:
        """The id of a run over there, also of one that only has its id there yet."""
        return self._target_id(RESERVED_RUN, run_id)

    def model_id(self, model_id: str) -> str:
        """The id of a logged model over there."""
        return self._target_id("logged_model", model_id)

    def model_ids(self, run: Run) -> dict[str, str]:
        """New ids of the logged models that a run refers to, where they changed."""
        inputs = (run.inputs.model_inputs or []) if run.inputs else []
        outputs = (run.outputs.model_outputs or []) if run.outputs else []
        return {item.model_id: self.model_id(item.model_id) for item in (*inputs, *outputs)}

    def run_ids(self, model: LoggedModel) -> dict[str, str]:
        """New ids of the runs that a logged model refers to, where they changed."""
        named = {model.source_run_id or "", *(point.run_id for point in model.metrics or [])}
        return {run_id: self.run_id(run_id) for run_id in named}

    def source(self, source: str) -> str:
        """The source of a version over there: files that were carried over are named where they are now."""
        for kind, ids in (("logged_model", _MODEL_ID.findall(source)), ("run", _RUN_ID.findall(source))):
            for item_id in ids:
                entry = self._journal.get(kind, item_id)
                if entry is not None:
                    return _moved(source, item_id, entry)
        return source

    def _target_id(self, kind: str, item_id: str) -> str:
        entry = self._journal.get(kind, item_id) if item_id else None
        return item_id if entry is None else entry.target_id


def _moved(source: str, item_id: str, entry: Entry) -> str:
    before, after = str(entry.facts["from_uri"] or "").rstrip("/"), str(entry.facts["to_uri"]).rstrip("/")
    if before and after and (source == before or source.startswith(f"{before}/")):
        return after + source.removeprefix(before)
    if source.startswith(("runs:/", "models:/")):
        return source.replace(item_id, entry.target_id)
    return source
