"""Unified diffs, also of texts that are too large to compare line by line."""

from __future__ import annotations

import pytest
from runstream_registry.prompts import text_diff
from runstream_registry.prompts.text_diff import unified_diff

NAMES = ("p/1", "p/2")


@pytest.mark.parametrize("limit", [text_diff.MAX_COMPARED, 0])
def test_it_says_what_changed(monkeypatch, limit):
    monkeypatch.setattr(text_diff, "MAX_COMPARED", limit)

    diff = unified_diff(["same", "old", "end"], ["same", "new", "more", "end"], names=NAMES)

    assert [line for line in diff.splitlines() if line[0] in "+-"] == [
        "--- p/1",
        "+++ p/2",
        "-old",
        "+new",
        "+more",
    ]


@pytest.mark.parametrize("limit", [text_diff.MAX_COMPARED, 0])
@pytest.mark.parametrize("lines", [[], ["a"], ["a", "b", "a"]])
def test_it_is_empty_when_nothing_changed(monkeypatch, limit, lines):
    monkeypatch.setattr(text_diff, "MAX_COMPARED", limit)

    assert unified_diff(lines, list(lines), names=NAMES) == ""


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [(["a"], ["a", "a"], ["+a"]), (["a", "a"], ["a"], ["-a"]), ([], ["x"], ["+x"]), (["x"], [], ["-x"])],
)
def test_repeated_lines_are_counted_once(monkeypatch, before, after, changes):
    monkeypatch.setattr(text_diff, "MAX_COMPARED", -1)

    assert unified_diff(before, after, names=NAMES).splitlines()[3:] == changes
