"""Policies, promotions and approvals through our own API, against the real services."""

from __future__ import annotations

import pytest

from services.gateway.tests.control.support import Api, champion, unique

ROLES = [{"name": "lead", "members": ["bob", "carol"]}]


def policy(model: str, *rules: dict) -> dict:
    return {"models": model, "targets": "alias/champion", "rules": list(rules), "roles": ROLES}


def put_policy(api: Api, model: str, *rules: dict) -> str:
    name = unique("policy")
    api.put(f"/policies/{name}", {"document": policy(model, *rules), "reason": "test"})
    return name


def test_a_version_is_promoted_and_rolled_back(api: Api, model: str) -> None:
    first = api.post(f"/models/{model}/promotions", champion(1, expected_current=0, reason="first"))
    second = api.post(f"/models/{model}/promotions", champion(2))
    back = api.post(f"/models/{model}/rollbacks", {"target": {"alias": "champion"}, "expected_current": 2})

    assert (first["allowed"], first["previous_version"], first["promotion"]["reason"]) == (True, 0, "first")
    assert second["promotion"]["previous_version"] == 1
    assert (back["version"], back["promotion"]["rollback"], back["promotion"]["actor"]) == (1, True, "ada")
    listed = api.get(f"/models/{model}/promotions", alias="champion")["promotions"]
    assert [item["sequence"] for item in listed] == [3, 2, 1]
    assert listed[0]["target"] == {"alias": "champion"}


def test_promotions_come_in_pages(api: Api, model: str) -> None:
    for version in (1, 2, 1):
        api.post(f"/models/{model}/promotions", champion(version))
    first = api.get(f"/models/{model}/promotions", page_size=2)
    rest = api.get(f"/models/{model}/promotions", page_size=2, page_token=first["next_page_token"])
    assert [item["sequence"] for item in (*first["promotions"], *rest["promotions"])] == [3, 2, 1]
    assert rest["next_page_token"] == ""
    problem = api.refused("GET", f"/models/{model}/promotions", page_token="nonsense", status=400)
    assert problem["violations"][0]["field"] == "page_token"


def test_a_dry_run_tells_of_every_rule_and_changes_nothing(api: Api, model: str) -> None:
    put_policy(api, model, {"tag": {"key": "reviewed", "value": "yes"}}, {"tag": {"key": "signed-off"}})

    judged = api.post(f"/models/{model}/promotions/dry-run", champion(1))
    refused = api.refused("POST", f"/models/{model}/promotions", champion(1), status=409)

    assert judged["allowed"] is False
    assert judged["promotion"] is None
    assert sorted((rule["kind"], rule["passed"]) for rule in judged["rules"]) == [
        ("tag", False),
        ("tag", True),
    ]
    assert refused["reason"] == "PROMOTION_REFUSED"
    assert "signed-off" in refused["detail"]
    assert api.get(f"/models/{model}/promotions")["promotions"] == []


def test_the_approval_that_completes_a_request_promotes(api: Api, model: str) -> None:
    put_policy(api, model, {"approvals": {"count": 2, "roles": ["lead"]}})
    asked = api.post("/promotion-requests", {"name": model, **champion(2), "reason": "better"})
    path = f"/promotion-requests/{asked['request_id']}"

    assert (asked["state"], asked["missing_approvals"], asked["actor"]) == ("PENDING", 2, "ada")
    one = api.as_("bob").post(f"{path}/approve", {"comment": "fine"})
    assert (one["request"]["missing_approvals"], one["promotion"]) == (1, None)
    two = api.as_("carol").post(f"{path}/approve", {})
    assert two["request"]["state"] == "EXECUTED"
    assert (two["promotion"]["version"], two["promotion"]["actor"]) == (2, "ada")
    assert [item["comment"] for item in api.get(path)["decisions"]] == ["fine", ""]
    assert api.get("/promotion-requests", model=model, state="EXECUTED")["requests"] == [api.get(path)]
    assert api.get("/promotion-requests", model=model, state="PENDING")["requests"] == []


def test_only_who_asked_withdraws_a_request(api: Api, model: str) -> None:
    put_policy(api, model, {"approvals": {"count": 1}})
    path = (
        f"/promotion-requests/{api.post('/promotion-requests', {'name': model, **champion(1)})['request_id']}"
    )

    other = api.as_("bob").refused("POST", f"{path}/withdraw", {}, status=403)
    withdrawn = api.post(f"{path}/withdraw", {"comment": "too early"})
    late = api.as_("bob").refused("POST", f"{path}/approve", {}, status=409)

    assert other["reason"] == "NOT_THE_REQUESTER"
    assert withdrawn["request"]["state"] == "REJECTED"
    assert late["reason"] == "REQUEST_NOT_OPEN"


def test_whose_word_does_not_count_is_told_so(api: Api, model: str) -> None:
    put_policy(api, model, {"approvals": {"count": 1, "roles": ["lead"]}})
    asked = api.post("/promotion-requests", {"name": model, **champion(1)})
    problem = api.refused("POST", f"/promotion-requests/{asked['request_id']}/approve", {}, status=403)
    assert problem["reason"] == "NOT_AN_APPROVER"


def test_a_policy_is_changed_only_from_the_revision_that_was_read(api: Api, model: str) -> None:
    name = put_policy(api, model, {"tag": {"key": "a"}})
    document = api.get(f"/policies/{name}")["document"]
    changed = {**document, "description": "second"}

    stored = api.put(f"/policies/{name}", {"document": changed, "expected_revision": 1})
    conflict = api.refused(
        "PUT", f"/policies/{name}", {"document": document, "expected_revision": 1}, status=409
    )

    assert (stored["revision"], stored["actor"]) == (2, "ada")
    assert (conflict["reason"], conflict["metadata"]["current_revision"]) == ("POLICY_CHANGED", "2")
    assert [item["name"] for item in api.get("/policies", model=model)["policies"]] == [name]
    assert api.get("/policies", model=model, alias="challenger")["policies"] == []
    assert api.call("DELETE", f"/policies/{name}", reason="done").status_code == 204
    assert api.get("/policies", model=model)["policies"] == []
    first = api.get(f"/policies/{name}/revisions", page_size=2)
    rest = api.get(f"/policies/{name}/revisions", page_size=2, page_token=first["next_page_token"])
    assert [(item["revision"], item["deleted"]) for item in (*first["revisions"], *rest["revisions"])] == [
        (3, True),
        (2, False),
        (1, False),
    ]
    assert api.get(f"/policies/{name}", revision=1)["document"] == document


def test_every_breach_of_a_policy_is_named_by_its_field(api: Api, model: str) -> None:
    document = policy(
        model, {"metric": {"condition": "accuracy is good"}}, {"approvals": {"count": 9, "roles": ["x"]}}
    )
    problem = api.refused("PUT", f"/policies/{unique('p')}", {"document": document}, status=400)
    fields = [item["field"] for item in problem["violations"]]
    assert any(field.startswith("document.rules[0].metric") for field in fields)
    assert any(field.startswith("document.rules[1].approvals") for field in fields)
    problem = api.refused(
        "PUT",
        f"/policies/{unique('p')}",
        {"document": {"models": "*", "targets": "*", "rules": [{"tag": 3}]}},
        status=400,
    )
    assert problem["violations"][0]["field"] == "document.rules[0].tag"


def test_an_evaluation_opens_its_gate(api: Api, model: str) -> None:
    put_policy(api, model, {"evaluation": {"evaluation": "smoke"}})
    assert not api.post(f"/models/{model}/promotions/dry-run", champion(1))["allowed"]
    api.post(f"/models/{model}/versions/1/evaluations", {"evaluation": "smoke", "passed": True})
    assert api.post(f"/models/{model}/promotions/dry-run", champion(1))["allowed"]


def test_the_audit_trail_tells_who_did_what_and_holds_together(api: Api, model: str) -> None:
    api.post(f"/models/{model}/promotions", champion(1, reason="first"))
    entries = api.get("/audit/entries", model=model)["entries"]
    assert (entries[0]["action"], entries[0]["actor"], entries[0]["reason"]) == (
        "alias.promoted",
        "ada",
        "first",
    )
    assert [entry["sequence"] for entry in entries] == list(range(len(entries), 0, -1))
    report = api.get("/audit/verification", chain=entries[0]["chain"])
    assert (report["chain_count"], report["entry_count"], report["problems"]) == (1, len(entries), [])
    assert len(report["heads_digest"]) == 64
    assert (
        api.refused("GET", "/audit/verification", chain="model/0", status=404)["reason"] == "CHAIN_NOT_FOUND"
    )


def test_lineage_tells_where_a_version_went(api: Api, model: str) -> None:
    api.post(f"/models/{model}/promotions", champion(1))
    lineage = api.get(f"/models/{model}/versions/1/lineage")
    assert (lineage["name"], lineage["version"], lineage["run"]) == (model, 1, None)
    assert [(item["target"], item["current"]) for item in lineage["promotions"]] == [("champion", True)]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/policies/p", {"document": policy("*", {"signature": {}})}),
        ("POST", "/models/m/promotions", champion(1)),
        ("POST", "/promotion-requests", {"name": "m", **champion(1)}),
        ("POST", "/dead-letters/run-logged/metadata/discard", {"all": True}),
        ("DELETE", "/policies/p", None),
    ],
)
def test_a_change_without_a_name_is_refused(api: Api, method: str, path: str, body: dict | None) -> None:
    problem = api.as_("").refused(method, path, body, status=400)
    assert problem["reason"] == "ACTOR_REQUIRED"
