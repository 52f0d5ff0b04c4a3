"""Names of people in request metadata."""

from __future__ import annotations

import pytest
from runstream_common.rpc.actor import ACTOR_KEY, MAX_ACTOR_CHARS, UNKNOWN_ACTOR, actor_of, encode_actor


@pytest.mark.parametrize("name", ["ada", "ada lovelace", "Žofie Nováková", "100%", "a+b@example.org", "林"])
def test_a_name_travels_as_printable_ascii_and_comes_out_as_it_was(name):
    value = encode_actor(name)
    assert value.isascii()
    assert value.isprintable()
    assert actor_of([("other", "x"), (ACTOR_KEY, value)]) == name


def test_plain_names_stay_readable_on_the_wire():
    assert encode_actor("ci/deploy-bot <ci@example.org>") == "ci/deploy-bot <ci@example.org>"


@pytest.mark.parametrize(
    "metadata", [None, [], [("other", "ada")], [(ACTOR_KEY, "  ")], [(ACTOR_KEY, b"ada")]]
)
def test_who_says_nothing_is_unknown(metadata):
    assert actor_of(metadata) == UNKNOWN_ACTOR


def test_a_name_is_bounded_on_both_sides():
    assert actor_of([(ACTOR_KEY, encode_actor("é" * 1000))]) == "é" * MAX_ACTOR_CHARS
    assert actor_of([(ACTOR_KEY, "x" * 1000)]) == "x" * MAX_ACTOR_CHARS
