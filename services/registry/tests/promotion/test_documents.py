"""Policy documents: everything that is wrong is found at once and named by its path."""

from __future__ import annotations

import pytest
from runstream_common.errors import InvalidArgument
from runstream_registry.policy.documents import read_document
from runstream_registry.policy.entities import ApprovalRule, MetricRule

ROLES = [{"name": "release-manager", "members": ["bob", "carol"]}, {"name": "nobody"}]


def document(*rules, **fields):
    return {"models": "fraud-*", "targets": "alias/champion", "rules": list(rules), **fields}


def paths(fields):
    with pytest.raises(InvalidArgument) as refusal:
        read_document(fields)
    return {item.field: item.description for item in refusal.value.violations}


def test_a_document_is_read():
    read = read_document(
        document(
            {"metric": {"condition": "accuracy >= 0.9"}},
            {"approvals": {"count": 2, "roles": ["release-manager"]}},
            roles=ROLES,
        )
    )

    assert isinstance(read.rules[0], MetricRule)
    assert read.rules[1] == ApprovalRule(2, ("release-manager",), allow_requester=False)
    assert read.request_hours == 168
    assert read.applies_to("fraud-eu", "alias/champion")
    assert not read.applies_to("Fraud-eu", "alias/champion")
    assert not read.applies_to("fraud-eu", "stage/Production")


@pytest.mark.parametrize(
    ("rule", "path", "words"),
    [
        ({}, "document.rules[0]", "exactly one of"),
        ({"metric": {}, "signature": {}}, "document.rules[0]", "exactly one of"),
        ({"metric": {"condition": "a >"}}, "document.rules[0].metric.condition", "ends too early"),
        ({"tag": {}}, "document.rules[0].tag.key", "1 to 250"),
        ({"artifacts": {"paths": ["a", "../b"]}}, "document.rules[0].artifacts.paths[1]", "relative path"),
        ({"evaluation": {}}, "document.rules[0].evaluation.evaluation", "1 to 250"),
        (
            {"evaluation": {"evaluation": "x", "max_age_hours": -1}},
            "document.rules[0].evaluation.max_age_hours",
            "must be 0",
        ),
        ({"approvals": {"count": 0}}, "document.rules[0].approvals.count", "must be 1"),
        ({"approvals": {"count": 3}}, "document.rules[0].approvals.count", "only 2"),
        ({"approvals": {"count": 1, "roles": ["nobody"]}}, "document.rules[0].approvals.count", "only 0"),
        ({"approvals": {"count": 1, "roles": ["boss"]}}, "document.rules[0].approvals.roles[0]", "'boss'"),
        ({"freeze": {}}, "document.rules[0].freeze", "either start and end"),
        (
            {"freeze": {"start": "2026-12-20T00:00:00Z", "weekly_start": "Fri 16:00"}},
            "document.rules[0].freeze",
            "either start and end",
        ),
        ({"freeze": {"start": "2026-12-20T00:00:00Z"}}, "document.rules[0].freeze.end", "RFC 3339"),
        (
            {"freeze": {"start": "2026-12-20T00:00:00", "end": "2026-12-21T00:00:00Z"}},
            "document.rules[0].freeze.start",
            "offset",
        ),
        (
            {"freeze": {"start": "2026-02-30T00:00:00Z", "end": "2026-12-21T00:00:00Z"}},
            "document.rules[0].freeze.start",
            "no moment",
        ),
        (
            {"freeze": {"start": "2026-12-21T00:00:00Z", "end": "2026-12-21T01:00:00+01:00"}},
            "document.rules[0].freeze.end",
            "after start",
        ),
        (
            {"freeze": {"weekly_start": "Fri 24:00", "weekly_end": "Mon 08:00"}},
            "document.rules[0].freeze.weekly_start",
            "Fri 16:00",
        ),
        (
            {"freeze": {"weekly_start": "Mon 08:00", "weekly_end": "Mon 08:00"}},
            "document.rules[0].freeze.weekly_end",
            "differ",
        ),
        (
            {
                "freeze": {
                    "weekly_start": "Fri 16:00",
                    "weekly_end": "Mon 08:00",
                    "time_zone": "../etc/passwd",
                }
            },
            "document.rules[0].freeze.time_zone",
            "Europe/Berlin",
        ),
    ],
)
def test_a_wrong_rule_is_named_by_its_path(rule, path, words):
    assert words in paths(document(rule, roles=ROLES))[path]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"models": ""}, "document.models"),
        ({"targets": ""}, "document.targets"),
        ({"targets": "champion"}, "document.targets"),
        ({"targets": "stage/production"}, "document.targets"),
        ({"rules": []}, "document.rules"),
        ({"request_hours": -1}, "document.request_hours"),
        ({"description": "x" * 8_001}, "document.description"),
        ({"roles": [{"name": "a b"}]}, "document.roles[0].name"),
        ({"roles": [{"name": "a"}, {"name": "a"}]}, "document.roles[1].name"),
        ({"roles": [{"name": "a", "members": ["bob", " "]}]}, "document.roles[0].members[1]"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(fields, path):
    assert path in paths({**document({"signature": {}}), **fields})


def test_everything_wrong_is_found_at_once():
    found = paths({"rules": [{"metric": {"condition": "x"}}, {"tag": {}}, {}]})

    assert set(found) == {
        "document.models",
        "document.targets",
        "document.rules[0].metric.condition",
        "document.rules[1].tag.key",
        "document.rules[2]",
    }
