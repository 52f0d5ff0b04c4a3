"""What people do in the console, by the forms that a browser sends."""

from __future__ import annotations

import pytest

from services.gateway.tests.console.support import TOKEN, Somebody, happened
from services.gateway.tests.control.support import Api, add_model, unique
from tests.support.bus import eventually
from tests.support.dead_letters import park
from tests.support.service_stack import ServiceStack


@pytest.fixture
def model(mlflow_stack: ServiceStack) -> str:
    """A model of this test alone, with two versions."""
    name = unique("forms")
    add_model(mlflow_stack, name)
    return name


@pytest.fixture
def ada(gateway_url: str) -> Somebody:
    """A visitor who acts as ada."""
    return Somebody(gateway_url, "ada")


def test_a_name_is_said_kept_and_forgotten(visitor: Somebody) -> None:
    page = visitor.send("/actor", actor="  Ada Lovelace ", back="/console/models?q=x")
    assert 'value="Ada Lovelace"' in page
    assert "<h1>Models</h1>" in page
    assert 'value="Ada Lovelace"' in visitor.open()
    assert "Lovelace" not in visitor.send("/actor", actor="", back="/console")


@pytest.mark.parametrize(
    "back", ["https://elsewhere.example/", "//elsewhere.example", "/api", "/consoles", ""]
)
def test_a_form_leads_back_to_a_page_of_ours_alone(visitor: Somebody, back: str) -> None:
    visitor.open()
    token = TOKEN.findall(visitor.open())[0]
    answer = visitor.session.post(
        f"{visitor.root}/actor",
        data={"token": token, "actor": "ada", "back": back},
        allow_redirects=False,
        timeout=60,
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")


def test_colours_are_kept(visitor: Somebody) -> None:
    assert 'data-theme="dark"' in visitor.send("/theme", theme="dark", back="/console")
    assert 'data-theme="dark"' in visitor.open("/models")
    assert 'data-theme="auto"' in visitor.send("/theme", theme="auto", back="/console")


def test_a_form_without_the_token_of_the_browser_is_refused(
    visitor: Somebody, ada: Somebody, model: str
) -> None:
    foreign = TOKEN.findall(visitor.open())[0]
    ada.open()
    for token in ("", "x", foreign):
        answer = ada.session.post(
            f"{ada.root}/models/{model}/promotions",
            data={"token": token, "version": "1", "target": "alias/champion"},
            timeout=60,
        )
        assert answer.status_code == 403
        assert "FORM_TOKEN_WRONG" in answer.text
    assert "Nothing was promoted yet." in ada.open(f"/models/{model}")


def test_a_form_from_another_site_is_refused(ada: Somebody, model: str) -> None:
    token = TOKEN.findall(ada.open())[0]
    answer = ada.session.post(
        f"{ada.root}/models/{model}/promotions",
        data={"token": token, "version": "1", "target": "alias/champion"},
        headers={"Origin": "https://elsewhere.example"},
        timeout=60,
    )
    assert answer.status_code == 403


def test_who_has_said_no_name_changes_nothing(visitor: Somebody, model: str) -> None:
    page = visitor.send(f"/models/{model}/promotions", version=1, target="alias/champion", status=400)
    assert "say who you are first" in page
    assert "Nothing was promoted yet." in page


def test_versions_are_promoted_and_rolled_back(ada: Somebody, model: str) -> None:
    for version in (1, 2):
        page = ada.send(
            f"/models/{model}/promotions", version=version, target="alias/champion", reason="works"
        )
        assert f"champion → version {version}" in page
    page = ada.send(f"/models/{model}/rollbacks", target="alias/champion", reason="it did not")
    assert "Rolled back." in page
    assert "champion → version 1" in page
    assert "it did not" in page
    refused = ada.send(f"/models/{model}/promotions", version=9, target="alias/champion", status=404)
    assert "VERSION_NOT_FOUND" in refused


def test_a_promotion_is_asked_for_and_approved(
    gateway_url: str, mlflow_stack: ServiceStack, ada: Somebody
) -> None:
    story = happened(mlflow_stack)
    page = ada.send(
        f"/models/{story.model}/requests", version=3, target="alias/champion", reason="even better"
    )
    assert "Approval is asked for." in page

    refused = ada.send(f"/requests/{story.request_id}/approve", status=403)
    assert "ada has asked for this promotion and may not approve it" in refused
    grace = Somebody(gateway_url, "grace")
    approved = grace.send(f"/requests/{story.request_id}/approve", comment="convincing")
    assert "Your approval is recorded." in approved
    assert "convincing" in approved
    page = ada.open(f"/models/{story.model}")
    assert "champion → version 2" in page

    [waiting] = Api(gateway_url).get("/promotion-requests", model=story.model, state="PENDING")["requests"]
    assert "Withdraw" in ada.open(f"/requests/{waiting['request_id']}")
    assert "Withdraw" not in grace.open(f"/requests/{waiting['request_id']}")
    withdrawn = ada.send(f"/requests/{waiting['request_id']}/withdraw", comment="not now")
    assert "The request is withdrawn." in withdrawn
    again = grace.send(f"/requests/{waiting['request_id']}/reject", status=409)
    assert "REQUEST_NOT_OPEN" in again


def test_a_policy_is_written_compared_and_stored(ada: Somebody, model: str) -> None:
    name = unique("policy")
    text = f"models: {model}\ntargets: alias/*\nrules:\n- signature: {{}}\n"
    assert "The policy is stored." in ada.send(
        "/policies", name=name, document=text, revision=0, action="store"
    )
    changed = text + "description: soon\n"
    compared = ada.send("/policies", name=name, document=changed, revision=1, action="compare")
    assert "+description: soon" in compared
    assert "revision 1" in ada.open(f"/policies/{name}")
    stored = ada.send("/policies", name=name, document=changed, revision=1, action="store", reason="plans")
    assert "revision 2" in stored
    outdated = ada.send("/policies", name=name, document=text, revision=1, action="store", status=409)
    assert "POLICY_CHANGED" in outdated
    assert "models: " in outdated
    assert "out of force" in ada.send(f"/policies/{name}/delete", reason="done")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "is not YAML"),
        ("models: '*'", "targets"),
        ("a: &a [1]\nb: *a", "aliases"),
        ("[" * 5_000, "document"),
        (
            "models: '*'\ntargets: '*'\nrules:\n- metric: {condition: good}\n",
            "document.rules[0].metric.condition",
        ),
        ("models: '*'\ntargets: champion\nrules:\n- tag: {key: a}\n- tag: {key: ''}\n", "document.targets"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_and_the_text_kept(
    ada: Somebody, document: str, says: str
) -> None:
    name = unique("policy")
    page = ada.send("/policies", name=name, document=document, revision=0, action="store", status=400)
    assert says in page
    assert document.strip()[:50] in page
    ada.open(f"/policies/{name}", status=404)


async def test_dead_letters_are_replayed_and_discarded(mlflow_stack: ServiceStack, ada: Somebody) -> None:
    first, second = park(mlflow_stack, 2)
    path = "/dead-letters/run-logged"
    page = ada.send(path, letter=f"metadata/{second.id}", action="discard")
    assert "The messages are discarded." in page
    ada.open(f"{path}/metadata/{second.id}", status=404)
    assert "sent to their group once more" in ada.send(path, letter=f"metadata/{first.id}", action="replay")

    def parked_again() -> bool:
        page = Api(ada.root.removesuffix("/console")).get("/dead-letters", topic="run-logged", page_size=1000)
        found = [item for item in page["dead_letters"] if item["key"] == first.key]
        return [item["parked_time_ms"] > first.parked_time_ms for item in found] == [True]

    # The run is missing still.
    await eventually(parked_again)
    assert "tick at least one message" in ada.send(path, action="replay", status=400)
    assert "must be replay or discard" in ada.send(
        path, letter=f"metadata/{first.id}", action="x", status=400
    )
