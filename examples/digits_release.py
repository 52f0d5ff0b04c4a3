"""From trained runs to production: register, gate, promote, and what a deployment system sees of it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runstream import PromotionRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from runstream import Client
    from runstream.query.results import Run
    from runstream.registry.results import ModelVersion
    from runstream.registry.results_promotions import RuleOutcome

MODEL = "digits-classifier"
ALIAS = "champion"
POLICY = {
    "models": MODEL,
    "targets": f"alias/{ALIAS}",
    "description": "What serves handwritten digits",
    "rules": [
        {"metric": {"condition": "validation_accuracy >= 0.93"}},
        {"metric": {"condition": "validation_loss < 0.5"}},
        {"signature": {}},
        {"artifacts": {"paths": ["MLmodel", "model.pkl"], "verify_checksums": True}},
    ],
}
RECEIVE_SECONDS = 30.0
CONSUME = ["events", "tail", "model-promoted", "--group", "deployer", "--limit", "1", "--json"]


def release_best(client: Client, leaders: Sequence[Run], console: Console) -> bool:
    """Register the best and the worst run's model, try to promote both, and wait for the event.

    Returns:
        Whether the worst was refused, the best was promoted and its event received.
    """
    best, worst = leaders[0], leaders[-1]
    client.models.put_policy("digits-quality", POLICY, reason="nothing worse than this goes to customers")
    console.print(f"\n[bold]{MODEL}[/]: may become @{ALIAS} by the policy digits-quality")
    bad, good = (register(client, run, console) for run in (worst, best))
    with deployer() as consumer:
        refused = is_refused(client, bad, console)
        outcome = client.models.promote(
            MODEL, good.version, alias=ALIAS, reason=f"best of {len(leaders)} runs"
        )
        console.print(f"[green]Version {good.version} is promoted to @{ALIAS}:[/]")
        show_rules(outcome.rules, console)
        event = received(consumer)
    console.print("What the consumer group [bold]deployer[/] received of topic model-promoted:")
    console.print_json(json.dumps(event))
    promoted = client.models.resolve(MODEL, alias=ALIAS)
    return refused and event["version"] == good.version == promoted.version


def register(client: Client, run: Run, console: Console) -> ModelVersion:
    """Make a version of the files that a run stored under model/."""
    version = client.models.create_version(
        MODEL, f"runs:/{run.run_id}/model", description=run.run_name, create_model=True
    )
    console.print(
        f"  version {version.version} is {run.run_name}: {version.artifacts.file_count} files, "
        f"sha256:{version.artifacts.digest[:12]}…",
        highlight=False,
    )
    return version


def is_refused(client: Client, version: ModelVersion, console: Console) -> bool:
    """Try to promote a version that the gates must not let through."""
    try:
        client.models.promote(MODEL, version.version, alias=ALIAS, reason="let us see")
    except PromotionRefused as refusal:
        console.print(f"[yellow]Version {version.version} is refused:[/]")
        show_rules(refusal.rules, console)
        return True
    console.print(f"[red]Version {version.version} passed the gates.[/]")
    return False


def show_rules(rules: Sequence[RuleOutcome], console: Console) -> None:
    """One line a rule, with its numbers."""
    for rule in rules:
        mark = "[green]✓[/]" if rule.passed else "[red]✗[/]"
        console.print(f"  {mark} {rule.rule}: {rule.detail}", highlight=False)


@contextmanager
def deployer() -> Iterator[subprocess.Popen[str]]:
    """A deployment system: the command line, consuming promotions under a group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "runstream", *CONSUME],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stderr is not None:
            process.stderr.readline()  # it says so when nothing escapes it any more
        yield process
    finally:
        process.terminate()
        process.communicate()


def received(consumer: subprocess.Popen[str]) -> dict[str, Any]:
    """The event that the consumer prints before it ends.

    Raises:
        subprocess.TimeoutExpired: there was none in time.
        RuntimeError: the consumer failed.
    """
    output, problem = consumer.communicate(timeout=RECEIVE_SECONDS)
    if consumer.returncode:
        raise RuntimeError(f"the consumer ended with status {consumer.returncode}: {problem}")
    event: dict[str, dict[str, Any]] = json.loads(output)
    return event["value"]
