"""The stop as an instrument: one engages, two release, drills are timed, and all of it is told."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.ledger import open_connection
from tests.factories.moments import NOW, NOW_US
from tests.factories.stops import release
from tests.servers import Database
from wallet.core.clock import MICROSECONDS
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import RefusedError
from wallet.ops import stop
from wallet.ops.audit import UnfitEntryError
from wallet.ops.incidents import Noticed, open_incident
from wallet.ops.queries import Stop, find_open_stop, find_stop, list_stops
from wallet.ops.rules import IncidentKind
from wallet.ops.verify_audit import read_entries, verify_audit

ALICE, BOB = "cli:alice", "cli:bob"


async def do(engine: AsyncEngine, verb: Any, actor: str = ALICE, **what: Any) -> Any:  # noqa: ANN401 - any verb
    """Run one verb in a transaction of its own."""
    return await write(
        engine, lambda connection: verb(connection, actor=actor, now_us=NOW_US, **what)
    )


async def engaged(engine: AsyncEngine, scope: str, **what: Any) -> Stop:  # noqa: ANN401 - as above
    """Engage a stop and return its story."""
    await do(engine, stop.engage, scope=scope, reason="a test", **what)
    return await story(engine, scope)


async def story(engine: AsyncEngine, scope: str) -> Stop:
    """Return the open story of a scope."""
    async with read(engine) as connection:
        found = await find_open_stop(connection, scope=scope)
    assert found is not None
    return found


async def told(engine: AsyncEngine, stop_id: UUID) -> Stop:
    """Return a story by its id, open or not."""
    async with read(engine) as connection:
        return await find_stop(connection, stop_id=stop_id)


async def scopes(engine: AsyncEngine) -> set[str]:
    """Return what is stopped."""
    async with read(engine) as connection:
        return set(await stop.engaged_scopes(connection))


async def refused(engine: AsyncEngine, verb: Any, actor: str = ALICE, **what: Any) -> str:  # noqa: ANN401 - as above
    """Return why a verb was refused."""
    with pytest.raises(RefusedError) as error:
        await do(engine, verb, actor, **what)
    return error.value.refusal.code


async def test_one_engages_and_two_release(engine: AsyncEngine) -> None:
    found = await engaged(engine, "gift")
    assert (found.state, found.engaged_by, found.engaged_at) == ("engaged", ALICE, NOW)
    await do(engine, stop.request_release, stop_id=found.id, reason="確認済み")
    asked = await told(engine, found.id)
    assert (asked.state, asked.release_requested_by) == ("release_requested", ALICE)
    assert "gift" in await scopes(engine)
    assert await do(engine, stop.confirm_release, BOB, stop_id=found.id)
    over = await told(engine, found.id)
    assert (over.state, over.released_by, over.released_at) == ("released", BOB, NOW)
    assert over.release_reason == "確認済み"
    assert "gift" not in await scopes(engine)


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-2.3.5")
async def test_nobody_confirms_what_they_asked_for(engine: AsyncEngine) -> None:
    found = await engaged(engine, "charge")
    assert await refused(engine, stop.confirm_release, BOB, stop_id=found.id) == (
        "release_not_requested"
    )
    await do(engine, stop.request_release, stop_id=found.id, reason="over")
    assert await refused(engine, stop.confirm_release, stop_id=found.id) == "four_eyes"
    assert await refused(engine, stop.request_release, BOB, stop_id=found.id, reason="over") == (
        "release_requested"
    )
    assert "charge" in await scopes(engine)
    assert (await told(engine, found.id)).state == "release_requested"


@pytest.mark.attack(28)
async def test_the_table_itself_refuses_one_person_for_both(
    engine: AsyncEngine, module_database: Database
) -> None:
    found = await engaged(engine, "sale")
    await do(engine, stop.request_release, stop_id=found.id, reason="over")
    async with open_connection(module_database.application_url) as connection:
        with pytest.raises(Exception, match="four_eyes"):
            await connection.execute(
                "UPDATE stop SET released_by = release_requested_by, released_at = now()"
                " WHERE id = $1",
                found.id,
            )
        for column in ("scope", "reason", "engaged_by", "drill"):
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(f"UPDATE stop SET {column} = {column}")  # noqa: S608 - ours
        with pytest.raises(Exception, match="permission denied"):
            await connection.execute("DELETE FROM stop")


async def test_a_stop_that_is_over_stays_as_it_is(
    engine: AsyncEngine, module_database: Database
) -> None:
    found = await engaged(engine, "cash-out")
    await write(
        engine,
        lambda c: release(c, scope="cash-out", reason="over", actor=BOB, now_us=NOW_US),
    )
    for verb, more in (
        (stop.request_release, {"reason": "again"}),
        (stop.confirm_release, {}),
        (stop.announce, {"next_notice_us": NOW_US + 1}),
    ):
        assert await refused(engine, verb, stop_id=found.id, **more) == "stop_released"
        assert await refused(engine, verb, stop_id=uuid4(), **more) == "stop_unknown"
    async with open_connection(module_database.owner_url) as connection:
        with pytest.raises(Exception, match="is over"):
            await connection.execute("UPDATE stop SET released_by = 'x' WHERE id = $1", found.id)
    again = await engaged(engine, "cash-out")
    assert again.id != found.id


async def test_who_engages_once_more_calls_the_release_off(engine: AsyncEngine) -> None:
    found = await engaged(engine, "issue")
    await do(engine, stop.request_release, stop_id=found.id, reason="over")
    assert not await do(engine, stop.engage, BOB, scope="issue", reason="not over")
    still = await told(engine, found.id)
    assert (still.state, still.reason, still.engaged_by) == ("engaged", "a test", ALICE)
    assert await refused(engine, stop.confirm_release, BOB, stop_id=found.id) == (
        "release_not_requested"
    )


async def test_the_lane_that_releases_does_not_pass_through_what_is_stopped(
    engine: AsyncEngine,
) -> None:
    everything = ("all", "sign-in", "tier:T3", "pay")
    for scope in everything:
        await engaged(engine, scope)
    for scope in everything:
        found = await story(engine, scope)
        await do(engine, stop.request_release, stop_id=found.id, reason="over")
        assert await do(engine, stop.confirm_release, BOB, stop_id=found.id)
    assert not await scopes(engine) & set(everything)


async def test_a_range_of_cards_can_be_stopped(engine: AsyncEngine) -> None:
    scope = "card-range:000000001005-000000002001"
    assert (await engaged(engine, scope)).scope == scope


async def test_whatever_a_programme_is_called_it_can_be_stopped(engine: AsyncEngine) -> None:
    assert (await engaged(engine, "programme:0792212111")).scope == "programme:0792212111"


async def test_what_is_personal_in_a_reason_is_masked_everywhere(
    engine: AsyncEngine, module_database: Database
) -> None:
    reason = "079-221-2111 の taro@example.jp から連絡"
    await do(engine, stop.engage, scope="programme:masked", reason=reason)
    async with open_connection(module_database.owner_url) as connection:
        for table in ("stop", "stop_event", "audit_entry", "outbox"):
            rows = await connection.fetch(f"SELECT t::text FROM {table} AS t")  # noqa: S608 - ours
            assert rows
            assert not any("taro@" in row[0] or "221-2111" in row[0] for row in rows)
    assert (await story(engine, "programme:masked")).reason == "[phone] の [e-mail] から連絡"


async def test_an_actor_of_no_known_form_stops_nothing(engine: AsyncEngine) -> None:
    with pytest.raises(UnfitEntryError):
        await do(engine, stop.engage, "taro", scope="programme:formless", reason="a test")
    assert "programme:formless" not in await scopes(engine)


async def test_the_public_is_promised_a_next_notice(engine: AsyncEngine) -> None:
    later_us = NOW_US + 3_600 * MICROSECONDS
    found = await engaged(engine, "programme:notice", next_notice_us=later_us)
    assert found.next_notice_at is not None
    assert (found.next_notice_at - NOW).total_seconds() == 3_600
    await do(engine, stop.announce, stop_id=found.id, next_notice_us=later_us + MICROSECONDS)
    moved = await story(engine, "programme:notice")
    assert moved.next_notice_at is not None
    assert (moved.next_notice_at - NOW).total_seconds() == 3_601


async def test_a_drill_stops_nothing_and_logs_its_times(engine: AsyncEngine) -> None:
    before = await scopes(engine)
    drilled = await stop.drill(engine, scope="pay", reason="drill", actor=ALICE, now_us=NOW_US)
    assert await scopes(engine) == before
    assert (drilled.state, drilled.engaged_at) == ("drill", NOW)
    assert drilled.effective_at is not None
    assert 0 <= (drilled.effective_at - NOW).total_seconds() < 5
    async with read(engine) as connection:
        assert drilled in await list_stops(connection)
        assert await find_open_stop(connection, scope="pay") is None
    assert await refused(engine, stop.request_release, stop_id=drilled.id, reason="?") == (
        "stop_released"
    )


async def test_a_drill_waits_for_a_batch_under_way_as_a_stop_does(
    module_database: Database,
) -> None:
    async with open_connection(module_database.application_url) as batch:
        await batch.execute("BEGIN")
        await batch.execute(stop.OBEY.format(more=""))
        hurried = make_engine(
            module_database.application_url, pool_size=1, application_name="tests"
        )
        drilled, _ = await asyncio.gather(
            stop.drill(hurried, scope="pay", reason="drill", actor=ALICE, now_us=NOW_US),
            batch.execute("SELECT pg_sleep(0.2); COMMIT"),
        )
        await hurried.dispose()
    assert drilled.effective_at is not None
    assert (drilled.effective_at - NOW).total_seconds() >= 0.1


async def test_a_stop_is_about_an_incident_that_exists(engine: AsyncEngine) -> None:
    noticed = Noticed(
        kind=IncidentKind.FRAUD, noticed_by="監視", noticed_us=NOW_US, note="決済が急増"
    )
    incident_id = await do(engine, open_incident, noticed=noticed)
    found = await engaged(engine, "programme:incident", incident_id=incident_id)
    assert found.incident_id == incident_id
    code = await refused(
        engine, stop.engage, scope="programme:none", reason="?", incident_id=uuid4()
    )
    assert code == "incident_unknown"
    with pytest.raises(RefusedError):
        await stop.drill(
            engine, scope="pay", reason="?", actor=ALICE, now_us=NOW_US, incident_id=uuid4()
        )


@pytest.mark.asvs("v5.0.0-16.2.1")
async def test_every_verb_leaves_an_entry_and_the_chain_holds(engine: AsyncEngine) -> None:
    first = (await verify_audit(engine)).head_seq
    found = await engaged(engine, "programme:trail", origin="cli")
    await do(engine, stop.announce, stop_id=found.id, next_notice_us=NOW_US + 1)
    await do(engine, stop.request_release, stop_id=found.id, reason="確認済み")
    await do(engine, stop.confirm_release, BOB, stop_id=found.id)
    await stop.drill(engine, scope="pay", reason="drill", actor=ALICE, now_us=NOW_US)
    entries = [one.fields async for one in read_entries(engine, after=first)]
    assert [(one["action"], one["actor"], one["reason"]) for one in entries] == [
        ("stop.engage", ALICE, "a test"),
        ("stop.announce", ALICE, None),
        ("stop.request_release", ALICE, "確認済み"),
        ("stop.release", BOB, "確認済み"),
        ("stop.drill", ALICE, "drill"),
    ]
    assert entries[3]["details"] == {"scope": "programme:trail", "requested_by": ALICE}
    assert {one["subject"] for one in entries[:4]} == {f"stp_{found.id.hex}"}
    assert (await verify_audit(engine)).ok


async def test_others_hear_of_a_stop_and_of_its_end(engine: AsyncEngine) -> None:
    found = await engaged(engine, "programme:heard")
    await write(
        engine,
        lambda c: release(c, scope="programme:heard", reason="over", actor=BOB, now_us=NOW_US),
    )
    async with read(engine) as connection:
        rows = await connection.execute(
            text("SELECT kind FROM outbox WHERE body->>'stop_id' = :id ORDER BY seq"),
            {"id": str(found.id)},
        )
        assert list(rows.scalars()) == ["stop.engaged", "stop.released"]


async def test_a_scope_that_an_older_version_stopped_gets_its_story_when_engaged_again(
    engine: AsyncEngine,
) -> None:
    scope = "programme:older"
    await write(
        engine,
        lambda c: c.execute(
            text("UPDATE stop_control SET scopes = scopes || CAST(:scope AS text)"),
            {"scope": scope},
        ),
    )
    async with read(engine) as connection:
        assert await find_open_stop(connection, scope=scope) is None
    assert not await do(engine, stop.engage, scope=scope, reason="a test")
    assert (await story(engine, scope)).state == "engaged"


async def test_there_is_one_story_for_what_is_stopped(
    engine: AsyncEngine, module_database: Database
) -> None:
    await engaged(engine, "programme:once")
    async with open_connection(module_database.application_url) as connection:
        with pytest.raises(Exception, match="ix_stop_engaged"):
            await connection.execute(
                "INSERT INTO stop (id, scope, drill, reason, engaged_by, engaged_at)"
                " VALUES ($1, 'programme:once', false, 'x', 'x', now())",
                uuid4(),
            )


async def test_a_request_without_a_reason_is_none(engine: AsyncEngine) -> None:
    found = await engaged(engine, "programme:reason")
    assert await refused(engine, stop.request_release, stop_id=found.id, reason=" ") == (
        "stop_reason_missing"
    )
