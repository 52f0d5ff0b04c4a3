"""One import as the command does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream.migration.addresses import mlflow_uri
from runstream.migration.journal import Journal
from runstream.migration.migration import Migration, Scope
from runstream.migration.report import Report
from runstream.migration.runstream_target import RunstreamTarget
from runstream.migration.source import MlflowSource
from runstream.migration.verification import Verification

if TYPE_CHECKING:
    from pathlib import Path

    from libs.client.tests.migration.filling import Filled


def carry(filled: Filled, target_url: str, state: Path, scope: Scope | None = None) -> Report:
    """Import everything and compare."""
    report, chosen = Report(), scope or Scope()
    source, target = MlflowSource(mlflow_uri(filled.uri, "--from")), RunstreamTarget(target_url)
    try:
        with Journal(state, source.uri, target.name) as journal:
            Migration(source, target, journal, report, chosen).run()
            Verification(target, journal, report, files=chosen.files).run()
    finally:
        target.close()
    return report
