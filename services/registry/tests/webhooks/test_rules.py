"""What a webhook may look like, how its model glob reads, when failures are tried again, and signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from runstream_common.errors import FailedPrecondition, InvalidArgument
from runstream_common.violations import Violations
from runstream_registry.notices import EXAMPLES, Notice
from runstream_registry.webhook_entities import StoredSecrets, WebhookEvent
from runstream_registry.webhooks import webhook_rules as rules
from runstream_registry.webhooks.delivery import Answer
from runstream_registry.webhooks.retrying import RetryRule
from runstream_registry.webhooks.signatures import signed_headers
from runstream_registry.webhooks.webhook_secrets import SecretBox, SecretUnreadable, new_secret


def problem(check, *args, **kwargs) -> str:
    violations = Violations()
    check(*args, violations, **kwargs)
    try:
        violations.check()
    except InvalidArgument as error:
        return "; ".join(item.description for item in error.violations)
    return ""


@pytest.mark.parametrize("name", ["a", "a-b.c_d", "9", "a" * 63])
def test_names_that_mlflow_takes(name):
    assert problem(rules.check_name, name) == ""


@pytest.mark.parametrize("name", ["", "-a", "a.", "a b", "ä", "a" * 64, "a\n"])
def test_names_that_mlflow_refuses(name):
    assert problem(rules.check_name, name)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/a/b?token=x",
        "https://example.com:8443/",
        "https://bücher.example/",
        "https://[2001:4860:4860::8888]/",
        "https://8.8.8.8/",
    ],
)
def test_urls_that_can_be_called(url):
    assert problem(rules.check_url, url, allow_http=False) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is required"),
        ("example.com", "must begin with https://"),
        ("http://example.com", "must begin with https://"),
        ("ftp://example.com", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("https://", "must name a host"),
        ("https:///path", "must name a host"),
        ("https://user@example.com", "must hold no user name"),
        ("https://user:password@example.com", "must hold no user name"),
        ("https://example.com/#part", "must hold no user name, password or fragment"),
        ("https://example.com:22", "port"),
        ("https://example.com:0", "port"),
        ("https://example.com:99999", ""),
        ("https://example.com/a b", "must have no spaces"),
        ("https://example.com\\@evil.example", "must have no spaces, backslashes"),
        ("https://exam\nple.com", "must have no spaces"),
        ("https://127.1/", "four decimal numbers"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0x7f.0.0.1/", "four decimal numbers"),
        ("https://0177.0.0.1/", "four decimal numbers"),
        ("https://127.0.0.1./", "four decimal numbers"),
        ("https://example.com/" + "x" * 2000, "at most 2000"),
    ],
)
def test_urls_that_are_refused(url, why):
    found = problem(rules.check_url, url, allow_http=False)
    assert found
    assert why in found


def test_http_is_taken_where_the_deployment_allows_it():
    assert problem(rules.check_url, "http://example.com", allow_http=True) == ""


def test_events_are_those_that_there_are():
    good = [WebhookEvent(entity, action) for entity, actions in EXAMPLES.items() for action in actions]

    assert problem(rules.check_events, good) == ""
    assert problem(rules.check_events, []) == "needs at least one"
    assert "REGISTERED_MODEL" in problem(rules.check_events, [WebhookEvent("model", "CREATED")])
    assert "CREATED, DELETED" in problem(rules.check_events, [WebhookEvent("PROMPT_ALIAS", "SET")])


def test_a_notice_of_an_unknown_event_cannot_be_made():
    with pytest.raises(ValueError, match=r"MODEL_VERSION\.SET"):
        Notice("MODEL_VERSION", "SET", "m", {})


@pytest.mark.parametrize(
    ("glob", "pattern"),
    [("", "%"), ("a*", "a%"), ("a?", "a_"), ("100%_x\\", r"100\%\_x\\"), ("[ab]", "[ab]")],
)
def test_globs_become_like_patterns(glob, pattern):
    assert rules.like_pattern(glob) == pattern


def answer(status: int, *, refused: bool = False, retry_after: float | None = None) -> Answer:
    return Answer(status, "", "", 1, retry_after_seconds=retry_after, refused=refused)


@pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 599])
def test_what_passes_by_itself_is_tried_again(status):
    assert RetryRule(3, 5, 100).delay_seconds(answer(status), 1) is not None


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 422])
def test_what_stays_is_not(status):
    assert RetryRule(3, 5, 100).delay_seconds(answer(status), 1) is None


def test_a_private_address_is_not_tried_again():
    assert RetryRule(3, 5, 100).delay_seconds(answer(0, refused=True), 1) is None


def test_waits_grow_to_the_longest_and_end_after_the_last_attempt():
    rule = RetryRule(max_attempts=11, first_delay_seconds=5, max_delay_seconds=21_600)

    waits = [rule.delay_seconds(answer(500), attempt) for attempt in range(1, 12)]

    expected = [5, 20, 80, 320, 1280, 5120, 20_480, 21_600, 21_600, 21_600]
    assert waits[10] is None
    for wait, middle in zip(waits[:10], expected, strict=True):
        assert wait is not None
        assert 0.8 * middle <= wait <= 1.2 * middle


def test_far_attempts_do_not_overflow():
    wait = RetryRule(10**9, 5, 100).delay_seconds(answer(500), 10**8)
    assert wait is not None
    assert 80 <= wait <= 120


@pytest.mark.parametrize(("asked", "least", "most"), [(50, 50, 50), (1e9, 100, 120), (0, 4, 6), (None, 4, 6)])
def test_a_receiver_may_ask_for_a_longer_wait_up_to_a_bound(asked, least, most):
    wait = RetryRule(3, 5, 100).delay_seconds(answer(429, retry_after=asked), 1)
    assert wait is not None
    assert least <= wait <= most


def test_the_signature_is_that_of_the_documented_rule():
    headers = signed_headers(["new secret", "old secret"], "an-id", "1700000000", '{"a": 1}')

    def expected(secret: bytes) -> str:
        digest = hmac.new(secret, b'an-id.1700000000.{"a": 1}', hashlib.sha256).digest()
        return "v1," + base64.b64encode(digest).decode()

    assert headers["X-MLflow-Signature"] == f"{expected(b'new secret')} {expected(b'old secret')}"


def test_the_signature_is_mlflows():
    headers = signed_headers(["secret"], "an-id", "1700000000", '{"a": 1}')

    # Computed by `mlflow.webhooks.delivery._generate_hmac_signature` of MLflow 3.17.
    assert headers["X-MLflow-Signature"] == "v1,TkfxMh/wM2aPjx/ciKD7Y3dELHFXEuEQfKO5nIiGLSs="


def box(*keys: bytes) -> SecretBox:
    return SecretBox(SecretStr(",".join(key.decode() for key in keys)))


def test_secrets_are_encrypted_where_there_is_a_key_and_survive_a_change_of_keys():
    old, new = Fernet.generate_key(), Fernet.generate_key()
    stored = StoredSecrets(box(old).close("my secret"), box().close("plain secret"))

    assert "my secret" not in stored.current
    assert "my secret" not in repr(stored)
    assert box(new, old).open(stored) == ["my secret", "plain secret"]
    assert box(old).open(StoredSecrets()) == []
    for keys in ((new,), ()):
        with pytest.raises(SecretUnreadable):
            box(*keys).open(stored)


def test_a_key_that_is_none_is_refused_at_start():
    with pytest.raises(FailedPrecondition, match="RUNSTREAM_WEBHOOK_SECRET_KEYS"):
        SecretBox(SecretStr("not a key"))


def test_made_secrets_are_long_and_differ():
    assert new_secret() != new_secret()
    assert problem(rules.check_secret, new_secret()) == ""
