"""docs/reliability.md cites tests; a test that was renamed or removed must not stand there as a proof."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST_ROOTS = ["proto", "libs", "services", "tests"]


def test_every_cited_test_exists() -> None:
    cited = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    sources = [path.read_text() for root in TEST_ROOTS for path in (ROOT / root).rglob("test_*.py")]
    defined = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    assert cited
    assert cited - defined == set()
