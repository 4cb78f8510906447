"""Incidents: who was told first, what was done when, and reports whose clocks run by themselves."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.ledger import open_connection
from tests.factories.moments import NOW, NOW_US
from tests.servers import Database
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.refusals import Refusal, RefusedError
from wallet.ops.duties import PATH, DutiesError, duties, read_duties
from wallet.ops.incidents import (
    Change,
    Noticed,
    Settled,
    close_incident,
    is_overdue,
    open_incident,
    settle_report,
    update_incident,
)
from wallet.ops.queries import (
    Incident,
    Report,
    find_incident,
    list_incidents,
    list_notes,
    list_reports,
)
from wallet.ops.rules import IncidentFacts, IncidentKind, reports_due
from wallet.ops.verify_audit import read_entries, verify_audit

ACTOR = "cli:alice"
COMMISSION = "個人情報保護委員会"


async def do(engine: AsyncEngine, verb: Any, **what: Any) -> Any:  # noqa: ANN401 - any verb
    """Run one verb in a transaction of its own."""
    what = {"actor": ACTOR, "now_us": NOW_US, **what}
    return await write(engine, lambda connection: verb(connection, **what))


async def opened(engine: AsyncEngine, **changes: Any) -> UUID:  # noqa: ANN401 - fields of many types
    """Open an incident and return its id."""
    fields = {
        "kind": IncidentKind.OUTAGE,
        "noticed_by": "監視",
        "noticed_us": NOW_US,
        "note": "決済が止まった",
        **changes,
    }
    incident_id: UUID = await do(engine, open_incident, noticed=Noticed(**fields))
    return incident_id


async def reports(engine: AsyncEngine, incident_id: UUID) -> dict[tuple[str, str], Report]:
    """Return the reports of an incident by recipient and name."""
    async with read(engine) as connection:
        found = await list_reports(connection, incident_id=incident_id)
    return {(one.recipient, one.report): one for one in found}


async def state(engine: AsyncEngine, incident_id: UUID) -> Incident:
    """Return an incident as it stands."""
    async with read(engine) as connection:
        return await find_incident(connection, incident_id=incident_id)


async def refusal(engine: AsyncEngine, verb: Any, **what: Any) -> Refusal:  # noqa: ANN401 - any verb
    """Return why a verb was refused."""
    with pytest.raises(RefusedError) as error:
        await do(engine, verb, **what)
    return error.value.refusal


async def settle_all(engine: AsyncEngine, incident_id: UUID) -> None:
    """Record every report of an incident as sent."""
    for recipient, report in await reports(engine, incident_id):
        settled = Settled(recipient=recipient, report=report, outcome="sent", note="FAXで送付")
        await do(engine, settle_report, incident_id=incident_id, settled=settled)


def due(kind: IncidentKind, **facts: Any) -> dict[tuple[str, str], datetime]:  # noqa: ANN401 - as above
    """Return what is owed by the city's own file."""
    found = reports_due(duties(), IncidentFacts(kind=kind, noticed_at=NOW, **facts))
    return {(one.recipient, one.report): one.due_at for one in found}


def test_who_is_told_depends_on_what_went_wrong() -> None:
    offices = {
        kind: {recipient for recipient, _ in due(kind)} & {"市民局", "総務局"}
        for kind in IncidentKind
    }
    assert offices == {
        IncidentKind.LEAK: {"市民局"},
        IncidentKind.MISCONDUCT: {"総務局"},
        IncidentKind.CLERICAL: {"総務局"},
        IncidentKind.OUTAGE: set(),
        IncidentKind.FRAUD: set(),
    }
    for kind in IncidentKind:
        assert {"市デジタル担当課", "兵庫県", "総務省"} <= {recipient for recipient, _ in due(kind)}


def test_the_digital_office_hears_before_the_prefecture_and_the_ministry() -> None:
    for kind in IncidentKind:
        owed = due(kind)
        first = owed["市デジタル担当課", "第一報"]
        assert first < owed["兵庫県", "第一報"]
        assert first < owed["総務省", "第一報"]


LAWFUL = {(COMMISSION, "速報"), (COMMISSION, "確報"), ("対象の方", "本人への通知")}


@pytest.mark.parametrize(
    "facts",
    [
        {},  # Nobody knows yet how many.
        {"persons": 101},
        {"persons": 1, "sensitive": True},
        {"persons": 1, "malicious": True},
    ],
)
def test_a_leak_is_reported_to_the_commission_where_the_law_asks_for_it(
    facts: dict[str, Any],
) -> None:
    assert due(IncidentKind.LEAK, **facts).keys() >= LAWFUL


def test_a_small_leak_without_intent_is_not() -> None:
    assert not due(IncidentKind.LEAK, persons=100).keys() & LAWFUL


def test_the_clocks_of_a_leak_are_the_laws() -> None:
    owed = due(IncidentKind.LEAK)
    assert owed[COMMISSION, "速報"] - NOW == timedelta(days=3)
    assert owed[COMMISSION, "確報"] - NOW == timedelta(days=30)
    assert due(IncidentKind.LEAK, malicious=True)[COMMISSION, "確報"] - NOW == timedelta(days=60)


def test_the_most_urgent_report_comes_first() -> None:
    found = reports_due(duties(), IncidentFacts(kind=IncidentKind.LEAK, noticed_at=NOW))
    assert [one.due_at for one in found] == sorted(one.due_at for one in found)


WHOLE = PATH.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[[duty]", "cannot be read"),
        (WHOLE.replace('"fraud"', '"fire"'), "cannot be read"),
        (WHOLE.replace("due_h = 1\n", "due_h = -1\n"), "cannot be read"),
        (WHOLE.replace("basis", "because"), "cannot be read"),
        (WHOLE.replace(', "fraud"]', "]"), "fraud would be reported to nobody"),
        (WHOLE + WHOLE, "would be reported twice"),
    ],
)
def test_duties_that_leave_a_gap_are_not_taken(toml: str, problem: str) -> None:
    with pytest.raises(DutiesError, match=problem):
        read_duties(toml)


async def test_an_incident_tells_who_noticed_and_when(engine: AsyncEngine) -> None:
    noticed_us = NOW_US - 600 * MICROSECONDS
    incident_id = await opened(
        engine, noticed_us=noticed_us, known=Change(first_contact="危機管理室")
    )
    found = await state(engine, incident_id)
    assert (found.kind, found.noticed_by, found.first_contact) == ("outage", "監視", "危機管理室")
    assert NOW - found.noticed_at == timedelta(minutes=10)
    assert (found.opened_by, found.opened_at, found.closed_at) == (ACTOR, NOW, None)
    async with read(engine) as connection:
        assert found in await list_incidents(connection)
    owed = await reports(engine, incident_id)
    assert owed["市デジタル担当課", "第一報"].due_at == NOW + timedelta(minutes=50)


async def test_the_timeline_grows_and_never_changes(
    engine: AsyncEngine, module_database: Database
) -> None:
    incident_id = await opened(engine)
    await do(
        engine,
        update_incident,
        incident_id=incident_id,
        note="090-1234-5678 から入電",
        now_us=NOW_US + MICROSECONDS,
    )
    async with read(engine) as connection:
        notes = await list_notes(connection, incident_id=incident_id)
    assert [one.note for one in notes] == ["決済が止まった", "[phone] から入電"]
    for url in (module_database.application_url, module_database.owner_url):
        async with open_connection(url) as connection:
            with pytest.raises(Exception, match=r"permission denied|never changed"):
                await connection.execute("UPDATE incident_entry SET note = 'another'")


async def test_what_becomes_known_moves_the_clocks_of_what_is_still_owed(
    engine: AsyncEngine,
) -> None:
    incident_id = await opened(engine, kind=IncidentKind.LEAK, known=Change(persons=3))
    assert (COMMISSION, "確報") not in await reports(engine, incident_id)
    change = Change(persons=4_000)
    await do(engine, update_incident, incident_id=incident_id, note="4,000人分", change=change)
    owed = await reports(engine, incident_id)
    assert owed[COMMISSION, "確報"].due_at == NOW + timedelta(days=30)
    sent = Settled(recipient=COMMISSION, report="速報", outcome="sent", note="フォームから")
    await do(engine, settle_report, incident_id=incident_id, settled=sent)
    malicious = Change(malicious=True)
    await do(engine, update_incident, incident_id=incident_id, note="不正", change=malicious)
    owed = await reports(engine, incident_id)
    assert owed[COMMISSION, "確報"].due_at == NOW + timedelta(days=60)
    assert owed[COMMISSION, "速報"].outcome == "sent"
    found = await state(engine, incident_id)
    assert (found.persons, found.malicious, found.sensitive) == (4_000, True, False)


async def test_a_report_is_settled_once(engine: AsyncEngine) -> None:
    incident_id = await opened(engine)
    settled = Settled(recipient="兵庫県", report="第一報", outcome="not_needed", note="県と協議")
    await do(engine, settle_report, incident_id=incident_id, settled=settled)
    owed = (await reports(engine, incident_id))["兵庫県", "第一報"]
    assert (owed.outcome, owed.settled_by, owed.settled_at) == ("not_needed", ACTOR, NOW)
    again = await refusal(engine, settle_report, incident_id=incident_id, settled=settled)
    assert again.code == "report_not_owed"
    nobody = Settled(recipient="火星", report="第一報", outcome="sent", note="?")
    unknown = await refusal(engine, settle_report, incident_id=incident_id, settled=nobody)
    assert unknown.facts == {"report": "火星 第一報"}


async def test_an_incident_is_closed_once_everything_is_settled(engine: AsyncEngine) -> None:
    incident_id = await opened(engine)
    closing = {"incident_id": incident_id, "note": "再発防止策を決めた"}
    assert (await refusal(engine, close_incident, **closing)).code == "incident_contact_missing"
    contact = Change(first_contact="デジタル担当課")
    await do(engine, update_incident, incident_id=incident_id, note="連絡した", change=contact)
    owed = await refusal(engine, close_incident, **closing)
    assert (owed.code, len(owed.facts["problems"])) == ("reports_owed", 3)
    await settle_all(engine, incident_id)
    await do(engine, close_incident, **closing)
    found = await state(engine, incident_id)
    assert (found.closed_by, found.closed_at) == (ACTOR, NOW)
    async with read(engine) as connection:
        assert found not in await list_incidents(connection)
        assert found in await list_incidents(connection, closed_too=True)
    for verb in (close_incident, update_incident):
        assert (await refusal(engine, verb, **closing)).code == "incident_closed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"note": " "}, "incident_text_missing"),
        ({"note": "x" * 2_001}, "incident_text_missing"),
        ({"noticed_by": ""}, "incident_text_missing"),
        ({"noticed_us": NOW_US + 1}, "incident_time_invalid"),
        ({"known": Change(persons=-1)}, "incident_persons_invalid"),
        ({"known": Change(persons=2**31)}, "incident_persons_invalid"),
        ({"known": Change(first_contact="")}, "incident_text_missing"),
    ],
)
async def test_an_incident_that_says_nothing_is_not_opened(
    engine: AsyncEngine, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(RefusedError) as error:
        await opened(engine, **changes)
    assert error.value.refusal.code == code


async def test_an_incident_nobody_has_opened_is_unknown(engine: AsyncEngine) -> None:
    unknown = await refusal(engine, update_incident, incident_id=uuid4(), note="?")
    assert unknown.code == "incident_unknown"


async def test_every_step_is_in_the_audit_trail(engine: AsyncEngine) -> None:
    first = (await verify_audit(engine)).head_seq
    incident_id = await opened(engine, known=Change(first_contact="デジタル担当課", persons=0))
    await do(
        engine,
        update_incident,
        incident_id=incident_id,
        note="続報",
        change=Change(persons=5, malicious=True),
    )
    await settle_all(engine, incident_id)
    await do(engine, close_incident, incident_id=incident_id, note="終了")
    entries = [one.fields async for one in read_entries(engine, after=first)]
    assert [one["action"] for one in entries] == [
        "incident.open",
        "incident.update",
        *["incident.settle_report"] * 3,
        "incident.close",
    ]
    assert entries[1]["details"] == {"persons": 5, "malicious": 1}
    assert {one["subject"] for one in entries} == {f"inc_{incident_id.hex}"}
    assert (await verify_audit(engine)).ok


def test_a_report_is_overdue_from_the_moment_it_was_due() -> None:
    assert is_overdue(NOW, now_us=NOW_US)
    assert not is_overdue(NOW + timedelta(microseconds=1), now_us=NOW_US)
