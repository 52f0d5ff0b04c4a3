"""How versions, lineages and differences are shown on a terminal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.tree import Tree

from runstream.cli import output
from runstream.cli.registry_options import joined
from runstream.registry.lineage_tree import lineage_tree

if TYPE_CHECKING:
    from runstream.registry.lineage_tree import Branch
    from runstream.registry.results import Lineage, ModelVersion
    from runstream.registry.results_diff import ArtifactChange, ModelDiff

SHORT_DIGEST_CHARS = 12


def version_row(version: ModelVersion) -> list[Any]:
    """One version in a list."""
    return [
        version.version,
        version.stage,
        joined(version.aliases),
        version.status,
        version.run_id or None,
        output.time_cell(version.creation_time),
        version.user_id or None,
        version.description or None,
    ]


def version_facts(version: ModelVersion) -> list[tuple[str, Any]]:
    """One version whole."""
    tree = version.artifacts
    reason = f" ({version.status_message})" if version.status_message else ""
    files = (
        f"{output.files_cell(tree.file_count)}, {output.bytes_cell(tree.size_bytes)}"
        if tree.file_count
        else None
    )
    parents = tuple(
        f"{p.name}/{p.version}" + (f" ({p.relation})" if p.relation else "") for p in version.parents
    )
    return [
        ("model", version.name),
        ("version", version.version),
        ("description", version.description),
        ("status", version.status + reason),
        ("stage", version.stage),
        ("aliases", joined(version.aliases)),
        ("run", version.run_id),
        ("source", version.source),
        ("artifacts", tree.uri),
        ("files", files),
        ("digest", tree.digest),
        ("flavors", joined(tuple(version.flavors))),
        ("signature", json.dumps(version.signature, ensure_ascii=False) if version.signature else None),
        ("parents", joined(parents)),
        ("tags", joined(version.tags)),
        ("created", output.time_cell(version.creation_time)),
        ("user", version.user_id),
    ]


def print_lineage(lineage: Lineage) -> None:
    """The lineage as a tree."""
    branch = lineage_tree(lineage)
    tree = Tree(branch.label, highlight=False)
    _grow(tree, branch)
    if sys.stdout.isatty():
        output.console.print(tree, markup=False)
        return
    wide = Console(highlight=False, width=output.PIPE_WIDTH, no_color=True, markup=False)
    with wide.capture() as captured:
        wide.print(tree)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _grow(tree: Tree, branch: Branch) -> None:
    for item in branch.branches:
        _grow(tree.add(item.label), item)


def print_diff(diff: ModelDiff) -> None:
    """What differs, one line each."""
    before, after = diff.before, diff.after
    columns = ["", "key", f"{before.name} {before.version}", f"{after.name} {after.version}"]
    rows: list[list[Any]] = [
        [kind, item.key, _value(item.before), _value(item.after)]
        for kind, items in diff.groups()
        for item in items
    ]
    rows += [_file_row(item) for item in diff.artifacts]
    if rows:
        output.print_table(columns, rows)
    else:
        typer.echo("no differences")
    for note in diff.notes:
        output.hint(note)


def _file_row(item: ArtifactChange) -> list[Any]:
    return [
        f"file {item.change}",
        item.path,
        _file(item.before_digest, item.before_size_bytes),
        _file(item.after_digest, item.after_size_bytes),
    ]


def _file(digest: str, size_bytes: int | None) -> str | None:
    if size_bytes is None:
        return None
    return f"{digest[:SHORT_DIGEST_CHARS]} {output.bytes_cell(size_bytes)}"


def _value(value: Any) -> Any:
    if value is None or isinstance(value, (str, float, int)):
        return value
    return json.dumps(value, ensure_ascii=False)
