"""A4: runs end. A lease that runs out marks its run lost, once; a late heartbeat brings it back."""

from __future__ import annotations

import asyncio

from runstream_contract.ids import new_run_id
from runstream_metadata.entities import RunStatus
from runstream_metadata.jobs.lease_sweeper import LeaseSweeper
from runstream_metadata.leases import Leases
from runstream_metadata.runs import RunUpdate
from runstream_proto.events.v1.run_changed_pb2 import RunChange

LEASE_MS = 60_000


async def let_expire(database, *run_ids):
    """Move the ends of leases into the past, as if nobody had beaten for long."""
    async with database.driver() as connection:
        await connection.execute(
            "UPDATE metadata.run SET lease_expires_at = now() - interval '1 second' WHERE run_id = ANY($1::uuid[])",
            run_ids,
        )


async def test_an_expired_lease_marks_its_run_lost(make_run, leases, runs, database, told, events):
    run = await make_run(lease_ms=LEASE_MS)
    await let_expire(database, run.run_id)
    expired = await runs.get(run.run_id)

    assert await leases.sweep(10) == 1
    lost = await runs.get(run.run_id)

    assert (lost.status, lost.status_reason) == (RunStatus.FAILED, "lost")
    # It ended when its lease did, not when somebody looked.
    assert lost.end_time_ms == expired.lease_expire_time_ms
    assert told.run_ids == [run.run_id]
    assert (await events())[-1].change == RunChange.RUN_CHANGE_LOST
    assert await leases.sweep(10) == 0


async def test_living_ended_and_leaseless_runs_are_left_alone(make_run, leases, runs, database):
    living = await make_run(lease_ms=LEASE_MS)
    ended = await make_run(lease_ms=LEASE_MS)
    leaseless = await make_run()
    await runs.update(ended.run_id, RunUpdate(status=RunStatus.FINISHED, end_time_ms=1))
    await let_expire(database, ended.run_id)

    assert await leases.sweep(10) == 0
    statuses = [run.status for run in await runs.get_many([living.run_id, ended.run_id, leaseless.run_id])]
    assert statuses == [RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.RUNNING]


async def test_a_heartbeat_renews(make_run, leases, runs, database):
    run = await make_run(lease_ms=LEASE_MS)
    await let_expire(database, run.run_id)
    before = await runs.get(run.run_id)
    outcome = await leases.heartbeat([run.run_id])

    assert (outcome.revived_run_ids, outcome.ignored_run_ids) == ([], [])
    assert (await runs.get(run.run_id)).lease_expire_time_ms >= before.lease_expire_time_ms + LEASE_MS
    assert await leases.sweep(10) == 0


async def test_a_late_heartbeat_revives(make_run, leases, runs, database, events):
    run = await make_run(lease_ms=LEASE_MS)
    await let_expire(database, run.run_id)
    await leases.sweep(10)

    outcome = await leases.heartbeat([run.run_id])
    revived = await runs.get(run.run_id)

    assert outcome.revived_run_ids == [run.run_id]
    assert (revived.status, revived.status_reason, revived.end_time_ms) == (RunStatus.RUNNING, "", None)
    assert (await events())[-1].change == RunChange.RUN_CHANGE_REVIVED
    assert await leases.sweep(10) == 0


async def test_heartbeats_without_a_lease_to_renew_are_ignored(make_run, leases, runs):
    leaseless = await make_run()
    deleted = await make_run(lease_ms=LEASE_MS)
    failed = await make_run(lease_ms=LEASE_MS)
    await runs.delete(deleted.run_id)
    await runs.update(failed.run_id, RunUpdate(status=RunStatus.FAILED, status_reason="ValueError"))
    ids = [leaseless.run_id, deleted.run_id, failed.run_id, new_run_id()]

    outcome = await leases.heartbeat(ids)

    assert (outcome.revived_run_ids, outcome.ignored_run_ids) == ([], ids)


async def test_a_run_set_running_again_gets_a_whole_lease(make_run, leases, runs, database):
    run = await make_run(lease_ms=LEASE_MS)
    await runs.update(run.run_id, RunUpdate(status=RunStatus.FINISHED))
    await let_expire(database, run.run_id)
    await runs.update(run.run_id, RunUpdate(status=RunStatus.RUNNING))

    assert await leases.sweep(10) == 0


async def test_several_replicas_mark_each_run_once(make_run, runs, clock, told, database, events):
    made = [await make_run(lease_ms=LEASE_MS) for _ in range(40)]
    await let_expire(database, *(run.run_id for run in made))
    replicas = [LeaseSweeper(Leases(database, clock, told), batch_runs=3) for _ in range(4)]

    marked = await asyncio.gather(*(replica.sweep_all() for replica in replicas))
    # A replica may leave early when others hold what is left; the next sweep takes the rest.
    rest = await replicas[0].sweep_all()

    assert sum(marked) + rest == 40
    lost = [event.run_id for event in await events() if event.change == RunChange.RUN_CHANGE_LOST]
    assert sorted(lost) == sorted(run.run_id for run in made)


async def test_sweep_and_heartbeat_at_once_leave_the_run_running(make_run, leases, runs, database, events):
    run = await make_run(lease_ms=LEASE_MS)
    for _ in range(20):
        await let_expire(database, run.run_id)
        await asyncio.gather(leases.sweep(10), leases.heartbeat([run.run_id]), leases.sweep(10))
        # Whoever came first: beaten before the sweep, or lost and revived; a beat that came first is never undone.
        found = await runs.get(run.run_id)
        assert (found.status, found.status_reason, found.end_time_ms) == (RunStatus.RUNNING, "", None)

    changes = [event.change for event in await events()]
    assert changes.count(RunChange.RUN_CHANGE_LOST) == changes.count(RunChange.RUN_CHANGE_REVIVED)


async def test_a_heartbeat_in_progress_is_not_overtaken(make_run, leases, runs, database):
    run = await make_run(lease_ms=LEASE_MS)
    await let_expire(database, run.run_id)
    async with database.driver() as connection, connection.transaction():
        await connection.execute(
            "UPDATE metadata.run SET lease_expires_at = now() + interval '1 minute' WHERE run_id = $1",
            run.run_id,
        )
        # The row is locked, so it is skipped and not waited for.
        assert await leases.sweep(10) == 0

    assert (await runs.get(run.run_id)).status is RunStatus.RUNNING
