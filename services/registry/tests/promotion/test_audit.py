"""The audit trail: what it says of each change, and that tampering with it shows."""

from __future__ import annotations

import hashlib
import json

import pytest
from runstream_common.bus.topics import MODEL_CHANGED
from runstream_common.errors import PlatformError
from runstream_proto.events.v1.model_changed_pb2 import ModelChanged
from runstream_registry import audit
from runstream_registry.changes import Change, Event, record_change
from runstream_registry.promotion_errors import ChainNotFound
from runstream_registry.store import audit_queries

UNLOCK = "ALTER TABLE registry.audit_entry DISABLE TRIGGER audit_entry_append_only"


@pytest.fixture
async def trail(registry):
    """A chain of six entries for a model, one of two for policies, and no guard against tampering."""
    await registry.model_with(*[0.9] * 6)
    for version in range(1, 7):
        await registry.promote(version, reason=f"number {version}")
    for condition in ("accuracy > 0", "accuracy > 0.1"):
        await registry.put_policy({"metric": {"condition": condition}})
    await registry.rows(UNLOCK)
    return registry


async def problems(registry, chain=""):
    report = await registry.parts.audit.verify(chain)
    return [(problem.chain, problem.sequence, problem.message) for problem in report.problems]


async def test_entries_say_who_did_what_when_and_why_with_before_and_after(trail):
    entries = await trail.parts.audit.page("fraud", "", before=None, limit=1)

    fields = entries[0].fields
    assert (fields["chain"], fields["sequence"], fields["action"]) == ("model/1", 6, "alias.promoted")
    assert (fields["actor"], fields["reason"], fields["time_ms"]) == ("ada", "number 6", trail.clock.now_ms())
    assert fields["before"] == {"target_kind": "alias", "target": "champion", "version": 5}
    assert fields["after"]["version"] == 6


async def test_anybody_can_recompute_the_hashes(trail):
    """The definition in docs/promotion.md, word by word."""
    rows = await trail.rows(
        "SELECT content, encode(hash, 'hex') AS hash FROM registry.audit_entry WHERE chain = 'model/1' ORDER BY sequence"
    )

    previous = bytes(32)
    for row in rows:
        previous = hashlib.sha256(previous + row["content"].encode()).digest()
        assert previous.hex() == row["hash"]
        assert list(json.loads(row["content"])) == sorted(json.loads(row["content"]))


async def test_an_untouched_trail_is_well_and_its_digest_follows_every_change(trail):
    report = await trail.parts.audit.verify("")
    assert (report.chain_count, report.entry_count, report.problems) == (2, 8, [])

    await trail.promote(1)

    assert (await trail.parts.audit.verify("")).heads_digest != report.heads_digest
    assert (await trail.parts.audit.verify("model/1")).entry_count == 7


@pytest.mark.parametrize(
    ("tampering", "sequence", "words"),
    [
        (
            (
                "UPDATE registry.audit_entry SET content = replace(content, 'number 3', 'number 9') "
                "WHERE chain = 'model/1' AND sequence = 3"
            ),
            3,
            "content and hash disagree",
        ),
        (
            "UPDATE registry.audit_entry SET hash = sha256('x') WHERE chain = 'model/1' AND sequence = 2",
            2,
            "content and hash disagree",
        ),
        (
            "DELETE FROM registry.audit_entry WHERE chain = 'model/1' AND sequence = 3",
            3,
            "entry 3 is missing",
        ),
        (
            "DELETE FROM registry.audit_entry WHERE chain = 'model/1' AND sequence = 1",
            1,
            "entry 1 is missing",
        ),
        (
            "DELETE FROM registry.audit_entry WHERE chain = 'model/1' AND sequence > 4",
            5,
            "the end is missing",
        ),
        ("DELETE FROM registry.audit_entry WHERE chain = 'model/1'", 1, "the end is missing"),
        (
            # A row in between, with the others moved up to make room.
            (
                "UPDATE registry.audit_entry SET sequence = sequence + 100 WHERE chain = 'model/1' AND sequence > 3;"
                "INSERT INTO registry.audit_entry SELECT chain, 4, time_ms, subject, content, hash "
                "FROM registry.audit_entry WHERE chain = 'model/1' AND sequence = 3;"
                "UPDATE registry.audit_entry SET sequence = sequence - 99 WHERE chain = 'model/1' AND sequence > 100"
            ),
            4,
            "content and hash disagree",
        ),
        (
            (
                "UPDATE registry.audit_entry SET sequence = 9 - sequence + 100 WHERE chain = 'model/1' AND sequence IN (4, 5);"
                "UPDATE registry.audit_entry SET sequence = sequence - 100 WHERE chain = 'model/1' AND sequence > 100"
            ),
            4,
            "content and hash disagree",
        ),
        (
            "UPDATE registry.audit_entry SET time_ms = 5 WHERE chain = 'model/1' AND sequence = 2",
            2,
            "the column time_ms disagrees",
        ),
        (
            "UPDATE registry.audit_entry SET subject = 'other' WHERE chain = 'model/1' AND sequence = 6",
            6,
            "the column subject disagrees",
        ),
        ("UPDATE registry.audit_chain SET hash = sha256('x') WHERE chain = 'model/1'", 6, "the head's hash"),
        ("UPDATE registry.audit_chain SET sequence = 5 WHERE chain = 'model/1'", 6, "the head says 5"),
        ("DELETE FROM registry.audit_chain WHERE chain = 'model/1'", 1, "entries but no head"),
    ],
)
@pytest.mark.parametrize("batch", [2, 1_000])
async def test_tampering_shows(trail, monkeypatch, tampering, sequence, words, batch):
    monkeypatch.setattr(audit_queries, "ENTRIES_AT_ONCE", batch)
    monkeypatch.setattr(audit_queries, "CHAINS_AT_ONCE", 1)
    async with trail.database.driver() as connection:
        await connection.execute(tampering)

    found = await problems(trail)

    assert [(chain, at) for chain, at, _ in found] == [("model/1", sequence)]
    assert words in found[0][2]
    assert await problems(trail, "policies") == []


async def test_an_entry_moved_to_another_chain_shows_in_both(trail):
    await trail.rows(
        "UPDATE registry.audit_entry SET chain = 'policies', sequence = 3 WHERE chain = 'model/1' AND sequence = 6"
    )

    assert [(chain, at) for chain, at, _ in await problems(trail)] == [("model/1", 6), ("policies", 3)]


async def test_a_forged_chain_shows_against_a_digest_that_was_kept(trail):
    kept = (await trail.parts.audit.verify("")).heads_digest
    rows = await trail.rows(
        "SELECT sequence, content FROM registry.audit_entry WHERE chain = 'model/1' ORDER BY 1"
    )
    previous = bytes(32)
    for row in rows:
        content = row["content"].replace("number 3", "number 9")
        previous = hashlib.sha256(previous + content.encode()).digest()
        await trail.rows(
            "UPDATE registry.audit_entry SET content = $2, hash = $3 WHERE chain = 'model/1' AND sequence = $1",
            row["sequence"],
            content,
            previous,
        )
    await trail.rows("UPDATE registry.audit_chain SET hash = $1 WHERE chain = 'model/1'", previous)

    report = await trail.parts.audit.verify("")

    assert report.problems == []
    assert report.heads_digest != kept


async def test_the_database_refuses_changes_and_deletions(registry):
    await registry.model_with(0.9)
    await registry.promote(1)

    for statement in (
        "UPDATE registry.audit_entry SET content = ''",
        "DELETE FROM registry.audit_entry",
        "TRUNCATE registry.audit_entry",
    ):
        with pytest.raises(Exception, match="append-only"):
            await registry.rows(statement)


async def test_problems_are_bounded(trail, monkeypatch):
    monkeypatch.setattr(audit, "MAX_PROBLEMS", 1)
    await trail.rows("UPDATE registry.audit_entry SET content = content || ' '")

    assert len(await problems(trail)) == 1


async def test_a_chain_that_is_not_there_is_not_taken_for_a_good_one(trail):
    with pytest.raises(ChainNotFound):
        await trail.parts.audit.verify("model/99")


async def test_pages_go_over_all_chains_by_time(trail):
    seen, before = [], None
    while page := await trail.parts.audit.page("", "", before=before, limit=3):
        seen += [(entry.row.chain, entry.row.sequence) for entry in page]
        last = page[-1].row
        before = (last.time_ms, last.chain, last.sequence)

    assert len(seen) == len(set(seen)) == 8
    assert {
        entry.row.chain for entry in await trail.parts.audit.page("", "policies", before=None, limit=9)
    } == {"policies"}


async def test_pages_of_one_chain_follow_its_sequence_whatever_the_clocks_said(trail):
    await trail.rows("UPDATE registry.audit_entry SET time_ms = 100 - sequence WHERE chain = 'model/1'")
    seen, before = [], None
    while page := await trail.parts.audit.page("fraud", "", before=before, limit=4):
        seen += [entry.row.sequence for entry in page]
        before = (page[-1].row.time_ms, page[-1].row.chain, page[-1].row.sequence)

    assert seen == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("content", ["gone", '["a list"]'])
async def test_an_entry_that_was_overwritten_is_listed_all_the_same(trail, content):
    await trail.rows(
        "UPDATE registry.audit_entry SET content = $1 WHERE chain = 'model/1' AND sequence = 6", content
    )

    (entry, *_) = await trail.parts.audit.page("fraud", "", before=None, limit=1)

    assert (entry.row.content, entry.fields) == (content, {})


async def test_a_deleted_model_is_found_by_its_last_name_until_the_name_is_used_again(trail):
    await trail.rows("UPDATE registry.model SET deleted_time_ms = 5")
    assert len(await trail.parts.audit.page("fraud", "", before=None, limit=9)) == 6

    await trail.add_model("fraud")

    assert await trail.parts.audit.page("fraud", "", before=None, limit=9) == []
    assert len(await trail.parts.audit.page("", "model/1", before=None, limit=9)) == 6


async def test_a_failed_change_leaves_no_entry_and_no_gap(registry):
    async def change(sequence, *, fail):
        async with registry.database.driver() as connection, connection.transaction():
            entry = Change(chain="policies", action="policy.stored", subject="x", actor="root")
            await record_change(connection, entry, clock=registry.clock)
            if fail:
                raise PlatformError("no")

    await change(1, fail=False)
    with pytest.raises(PlatformError):
        await change(2, fail=True)
    await change(2, fail=False)

    assert (await registry.parts.audit.verify("policies")).entry_count == 2
    assert await problems(registry) == []


async def test_who_waited_for_a_chain_is_relayed_behind_who_had_it(registry):
    def entry(number):
        message = ModelChanged(event_id=str(number), model="fraud")
        event = Event(MODEL_CHANGED, "fraud", message)
        return Change(chain="model/1", action="x", subject="fraud", actor="root", events=[event])

    async with registry.database.driver() as early, early.transaction():
        await early.execute("SELECT 1")
        async with registry.database.driver() as late, late.transaction():
            await record_change(late, entry(1), clock=registry.clock)
        await record_change(early, entry(2), clock=registry.clock)

    rows = await registry.rows("SELECT payload FROM registry.outbox ORDER BY next_attempt_at")
    assert [json.loads(row["payload"])["event_id"] for row in rows] == ["1", "2"]
