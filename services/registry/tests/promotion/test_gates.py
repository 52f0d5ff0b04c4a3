"""Gates: each kind of rule with what it says when it is met and when it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from runstream_registry.artifact_client import Verification
from runstream_registry.entities import Stage, VersionStatus
from runstream_registry.policy.documents import read_document
from runstream_registry.policy.entities import ArtifactRule, Policy
from runstream_registry.promotion.gates import Case, Evidence, judge_all
from runstream_registry.promotion_entities import (
    Decision,
    EvaluationFact,
    Request,
    RequestState,
    VersionFacts,
)

from services.registry.tests.promotion.support import CHAMPION, run_facts

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000  # Tuesday, 14 November 2023, 22:13:20 UTC
NAN = float("nan")

VERSION = VersionFacts(
    version=4,
    version_id="v4",
    status=VersionStatus.READY,
    stage=Stage.NONE,
    run_id="run4",
    signed=True,
    artifact_uri="runstream://model-versions/v4",
    artifact_digest="d",
    tags={"reviewed": "yes"},
    evaluations={
        "regression": EvaluationFact(True, NOW_MS - 2 * HOUR_MS, "all 40 cases"),
        "bias": EvaluationFact(False, NOW_MS - HOUR_MS),
    },
)
CASE = Case(
    model="fraud",
    version=VERSION,
    target=CHAMPION,
    current_version=3,
    current_run_id="run3",
    evidence=Evidence(
        runs={
            "run4": run_facts("run4", {"accuracy": 0.91, "loss": NAN, "only4": 1.0}),
            "run3": run_facts("run3", {"accuracy": 0.93, "loss": 0.2}),
        }
    ),
    request=None,
    rollback=False,
    now_ms=NOW_MS,
)
ROLES = [{"name": "lead", "members": ["bob", "carol", "ada"]}, {"name": "legal", "members": ["dora"]}]


def outcome(rule, case=CASE):
    fields = {"models": "*", "targets": "*", "rules": [rule], "roles": ROLES}
    policy = Policy("quality", 2, fields, read_document(fields), "root", 1, deleted=False)
    (judged,) = judge_all([policy], case)
    assert (judged.policy, judged.revision, judged.kind) == ("quality", 2, next(iter(rule)))
    return judged


def metric(condition):
    return {"metric": {"condition": condition}}


@pytest.mark.parametrize(
    ("rule", "case", "passed", "detail"),
    [
        (metric("accuracy >= 0.9"), CASE, True, "accuracy is 0.91"),
        (metric("accuracy >= 0.95"), CASE, False, "accuracy is 0.91"),
        (
            metric("accuracy >= current + 0.01"),
            CASE,
            False,
            "accuracy is 0.91, version 3 has 0.93, so that the bound is 0.94",
        ),
        (
            metric("accuracy >= current - 0.02"),
            CASE,
            True,
            "accuracy is 0.91, version 3 has 0.93, so that the bound is 0.91",
        ),
        (
            metric("accuracy > current"),
            replace(CASE, current_version=0, current_run_id=""),
            True,
            "accuracy is 0.91; the target holds no version to compare with",
        ),
        (
            metric("accuracy > current"),
            replace(CASE, rollback=True),
            True,
            "accuracy is 0.91; a rollback is not compared with the version it replaces",
        ),
        (metric("loss < 1"), CASE, False, "loss is nan, which meets no condition"),
        (metric("loss != 1"), CASE, False, "loss is nan, which meets no condition"),
        (metric("f1 > 0"), CASE, False, "the source run run4 of version 4 has no metric 'f1'"),
        (
            metric("only4 > current"),
            CASE,
            False,
            "only4 is 1, but the source run run3 of version 3 has no metric 'only4'",
        ),
        (
            metric("accuracy > current"),
            replace(CASE, current_run_id=""),
            False,
            "accuracy is 0.91, but version 3 has no source run",
        ),
        (
            metric("accuracy > 0"),
            replace(CASE, version=replace(VERSION, run_id="")),
            False,
            "version 4 has no source run",
        ),
        (
            metric("accuracy > 0"),
            replace(CASE, evidence=Evidence(runs={"run4": None})),
            False,
            "the source run run4 of version 4 is not known",
        ),
        ({"tag": {"key": "reviewed"}}, CASE, True, "reviewed is 'yes'"),
        ({"tag": {"key": "reviewed", "value": "no"}}, CASE, False, "reviewed is 'yes'"),
        ({"tag": {"key": "owner"}}, CASE, False, "version 4 has no tag 'owner'"),
        ({"signature": {}}, CASE, True, "version 4 has a signature"),
        (
            {"signature": {}},
            replace(CASE, version=replace(VERSION, signed=False)),
            False,
            "version 4 has no signature",
        ),
        ({"evaluation": {"evaluation": "regression"}}, CASE, True, "it passed 2.0 hours ago: all 40 cases"),
        (
            {"evaluation": {"evaluation": "regression", "max_age_hours": 2}},
            CASE,
            True,
            "it passed 2.0 hours ago: all 40 cases",
        ),
        (
            {"evaluation": {"evaluation": "regression", "max_age_hours": 1}},
            CASE,
            False,
            "it passed 2.0 hours ago: all 40 cases",
        ),
        ({"evaluation": {"evaluation": "bias"}}, CASE, False, "it failed 1.0 hours ago"),
        ({"evaluation": {"evaluation": "safety"}}, CASE, False, "version 4 has no outcome of 'safety'"),
        (
            {"freeze": {"weekly_start": "Tue 22:00", "weekly_end": "Wed 06:00", "reason": "night"}},
            CASE,
            False,
            "2023-11-14T22:13:20+00:00 lies in the window: night",
        ),
        (
            {"freeze": {"weekly_start": "Tue 22:00", "weekly_end": "Wed 06:00"}},
            replace(CASE, rollback=True),
            True,
            "does not hold for a rollback",
        ),
        (
            {"freeze": {"weekly_start": "Tue 22:00", "weekly_end": "Wed 06:00", "time_zone": "Asia/Tokyo"}},
            CASE,
            True,
            "2023-11-14T22:13:20+00:00 lies outside",
        ),
        ({"approvals": {"count": 2}}, CASE, False, "0 of 2 approvals; ask for them with a promotion request"),
    ],
)
def test_rules_say_what_they_found(rule, case, passed, detail):
    judged = outcome(rule, case)

    assert (judged.passed, judged.detail) == (passed, detail)


@pytest.mark.parametrize(
    ("found", "passed", "detail"),
    [
        (Verification(2, 100, ()), True, "2 files of 100 bytes are read and compared with their checksums"),
        (Verification(0, 0, ()), False, "version 4 has no files"),
        (Verification(2, 100, ("a: is missing", "b: is short")), False, "a: is missing; b: is short"),
        (None, False, "the files were not checked"),
    ],
)
def test_artifact_rules_say_what_the_store_holds(found, passed, detail):
    rule = ArtifactRule(("model/MLmodel",), verify_checksums=True)
    files = {} if found is None else {("v4", rule): found}

    judged = outcome(
        {"artifacts": {"paths": ["model/MLmodel"], "verify_checksums": True}},
        replace(CASE, evidence=Evidence(files=files)),
    )

    assert (judged.passed, judged.detail) == (passed, detail)
    assert judged.rule == "artifacts: model/MLmodel, checksums verified"


def test_files_that_are_kept_elsewhere_cannot_be_checked():
    elsewhere = replace(CASE, version=replace(VERSION, artifact_uri="s3://other/x"))

    assert outcome({"artifacts": {}}, elsewhere).detail == (
        "the files are kept at s3://other/x, where they cannot be checked"
    )


def decisions(*words):
    return Request(
        request_id="r",
        model_id=1,
        name="fraud",
        prompt=False,
        version=4,
        target=CHAMPION,
        reason="",
        expected_current=None,
        actor="ada",
        state=RequestState.PENDING,
        creation_time_ms=1,
        expire_time_ms=2,
        decisions=[Decision(actor, role, approved, "", 1) for actor, role, approved in words],
    )


@pytest.mark.parametrize(
    ("rule", "words", "passed", "detail"),
    [
        ({"count": 2, "roles": ["lead"]}, [("bob", "", True)], False, "1 of 2 approvals (bob)"),
        (
            {"count": 2, "roles": ["lead"]},
            [("bob", "", True), ("carol", "lead", True)],
            True,
            "2 of 2 approvals (bob, carol)",
        ),
        ({"count": 1, "roles": ["lead"]}, [("dora", "", True)], False, "0 of 1 approvals"),
        ({"count": 1}, [("dora", "", True)], True, "1 of 1 approvals (dora)"),
        ({"count": 1, "roles": ["lead"]}, [("ada", "", True)], False, "0 of 1 approvals"),
        (
            {"count": 1, "roles": ["lead"], "allow_requester": True},
            [("ada", "", True)],
            True,
            "1 of 1 approvals (ada)",
        ),
        ({"count": 1, "roles": ["lead"]}, [("bob", "", False)], False, "0 of 1 approvals"),
        ({"count": 1}, [("bob", "legal", True)], False, "0 of 1 approvals"),
        ({"count": 1}, [("mallory", "", True)], False, "0 of 1 approvals"),
    ],
)
def test_approvals_count_people_with_roles(rule, words, passed, detail):
    judged = outcome({"approvals": rule}, replace(CASE, request=decisions(*words)))

    assert (judged.passed, judged.detail) == (passed, detail)
