"""Arguments, options and lines that the commands of the registry share."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from runstream.cli import output
from runstream.registry.results_promotions import PromotionOutcome, RuleOutcome

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="Number, @alias or latest.")]
Alias = Annotated[str, typer.Option("--alias", "-a", help="Alias, e.g. champion.")]
Stage = Annotated[str, typer.Option("--stage", help="Staging, Production, Archived or None.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; goes into the audit trail.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check every rule and change nothing.")]
ExpectedCurrent = Annotated[
    int | None,
    typer.Option(
        "--expected-current", min=0, help="Version that must be there now, 0 for none. Default: any."
    ),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", "-t", metavar="KEY=VALUE", help="Repeatable.")]


def key_values(texts: list[str] | None, option: str = "--tag") -> dict[str, str]:
    """KEY=VALUE words by key; one without "=" is an error of usage."""
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        found[key] = value
    return found


def joined(items: object) -> str | None:
    """A mapping or sequence in one cell; None when empty."""
    if isinstance(items, dict):
        return ", ".join(f"{key}={value}" for key, value in items.items()) or None
    if isinstance(items, tuple | list):
        return ", ".join(str(item) for item in items) or None
    return None


def aliases_text(aliases: Mapping[str, int]) -> str | None:
    """Aliases in one cell, e.g. "champion → 7"; None when there are none."""
    return joined(tuple(f"{alias} → {version}" for alias, version in aliases.items()))


def print_facts(facts: list[tuple[str, Any]]) -> None:
    """Names and values below each other; what is empty is left out."""
    rows = [[Text(name, style="bold"), value] for name, value in facts if value not in (None, "")]
    output.print_table(["", ""], rows)


def print_rules(rules: tuple[RuleOutcome, ...]) -> None:
    """Each rule with its mark, its numbers and its policy."""
    if not rules:
        typer.echo("no policy applies")
        return
    output.print_table(["", "rule", "detail", "policy"], [_rule_row(rule) for rule in rules])


def _rule_row(rule: RuleOutcome) -> list[Any]:
    mark = Text("✓", style="green") if rule.passed else Text("✗", style="bold red")
    return [mark, rule.rule, rule.detail or None, f"{rule.policy} (revision {rule.revision})"]


def print_outcome(outcome: PromotionOutcome, what: str, *, dry_run: bool, json: bool) -> None:
    """What a promotion did or would do; one that would be refused ends with its own exit code."""
    if json:
        output.print_json(outcome.to_dict())
    else:
        if dry_run:
            print_rules(outcome.rules)
        typer.echo(_summary(outcome, what, dry_run=dry_run))
    if not outcome.allowed:
        raise typer.Exit(output.EXIT_GATED)


def _summary(outcome: PromotionOutcome, what: str, *, dry_run: bool) -> str:
    if dry_run:
        return f"{what}: version {outcome.version} {'is allowed' if outcome.allowed else 'would be refused'}"
    made = outcome.promotion
    if made is None:
        return f"{what}: version {outcome.version} is there already"
    before = f"version {made.previous_version}" if made.previous_version else "none"
    return f"{what}: version {made.version} (before: {before}), promotion {made.sequence}"


def target_text(kind: str, target: str) -> str:
    """A target in one word, e.g. "alias/champion"."""
    return f"{kind}/{target}"
