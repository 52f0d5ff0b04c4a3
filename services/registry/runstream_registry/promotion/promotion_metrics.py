"""Prometheus metrics of promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_registry.promotion_entities import RuleOutcome

PROMOTED = Counter("runstream_promotions", "Promotions that were made.", ["target_kind", "rollback"])
REFUSED = Counter(
    "runstream_promotions_refused",
    "Promotions that a rule refused, by the kind of the first one that did; dry runs are not counted.",
    ["kind"],
)


def count_refusal(failed: Iterable[RuleOutcome]) -> None:
    """Count one refused promotion."""
    for rule in failed:
        REFUSED.labels(rule.kind).inc()
        return
