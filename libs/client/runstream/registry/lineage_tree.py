"""The lineage of a version as a tree of lines, for terminals and notebooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream.registry.results import Lineage, LineagePromotion, LineageRun, LineageVersion

COMMIT_CHARS = 12


@dataclass(frozen=True, slots=True)
class Branch:
    """A line with what hangs below it."""

    label: str
    branches: list[Branch] = field(default_factory=list)


def lineage_tree(lineage: Lineage) -> Branch:
    """The asked version with its run, ancestors, descendants and promotions below it."""
    version = lineage.version
    root = Branch(f"{version.name} version {version.version} ({version.stage}, {version.status})")
    if lineage.run is not None:
        root.branches.append(_run(lineage.run))
    if lineage.ancestors:
        below = _versions(lineage.ancestors, (version.name, version.version))
        root.branches.append(Branch("made from", below))
    if lineage.descendants:
        below = _versions(lineage.descendants, (version.name, version.version))
        root.branches.append(Branch("used for", below))
    if lineage.promotions:
        below = [Branch(_promotion(item)) for item in lineage.promotions]
        root.branches.append(Branch("promoted to", below))
    return root


def tree_html(branch: Branch) -> str:
    """Nested lists."""
    below = "".join(f"<li>{tree_html(item)}</li>" for item in branch.branches)
    return escape(branch.label) + (f"<ul>{below}</ul>" if below else "")


def _run(run: LineageRun) -> Branch:
    branch = Branch(f"run {run.run_name or run.run_id} ({run.run_id})")
    if run.lifecycle_stage != "active":
        branch.branches.append(Branch(f"lifecycle stage: {run.lifecycle_stage}"))
    if run.user_id:
        branch.branches.append(Branch(f"user: {run.user_id}"))
    if run.git_commit or run.source_name:
        branch.branches.append(Branch(_code(run)))
    for item in run.datasets:
        use = f", {item.context}" if item.context else ""
        branch.branches.append(Branch(f"dataset {item.name} ({item.digest}{use})"))
    return branch


def _code(run: LineageRun) -> str:
    commit = f"commit {run.git_commit[:COMMIT_CHARS]}" if run.git_commit else ""
    parts = [part for part in (run.source_name, commit, run.git_repository) if part]
    return f"code: {', '.join(parts)}"


def _versions(versions: Sequence[LineageVersion], root: tuple[str, int]) -> list[Branch]:
    """Each version below the one that it is linked to, so that generations show as depth."""
    placed: dict[tuple[str, int], Branch] = {root: Branch("")}
    for item in sorted(versions, key=lambda version: version.generation):
        relation = f", {item.link.relation}" if item.link.relation else ""
        branch = Branch(f"{item.name} version {item.version}{relation}")
        # A server that cuts the lineage may leave out the link's end.
        placed.get((item.link.name, item.link.version), placed[root]).branches.append(branch)
        placed.setdefault((item.name, item.version), branch)
    return placed[root].branches


def _promotion(item: LineagePromotion) -> str:
    now = ", there now" if item.current else ""
    return f"{item.target_kind} {item.target} (#{item.sequence}, {item.time:%Y-%m-%d %H:%M} UTC by {item.actor}{now})"
