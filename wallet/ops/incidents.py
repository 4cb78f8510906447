"""Incidents: who noticed, who was told first, what was done when, and which reports are owed.

The times decide whether a law was kept, so the timeline is append-only and the reports' clocks run
from the moment of noticing. Names do not belong here; what looks personal is masked.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.ids import new_id, public_id
from wallet.core.refusals import RefusedError
from wallet.ops.audit import Entry, append, own_words
from wallet.ops.duties import duties
from wallet.ops.queries import Incident, find_incident, list_reports
from wallet.ops.rules import IncidentFacts, IncidentKind, reports_due
from wallet.ops.tables import incident, incident_entry

NOTE_CHARACTERS_MAX: Final = 2_000
NAME_CHARACTERS_MAX: Final = 200
PERSONS_MAX: Final = 2**31 - 1

# What was settled stays so; a date moves only as long as the report is owed.
_OWE: Final = text("""
INSERT INTO incident_report (id, incident_id, recipient, report, due_at)
VALUES (:id, :incident_id, :recipient, :report, :due_at)
ON CONFLICT (incident_id, recipient, report)
DO UPDATE SET due_at = EXCLUDED.due_at
WHERE incident_report.outcome IS NULL AND incident_report.due_at <> EXCLUDED.due_at
""")
_SETTLE: Final = text("""
UPDATE incident_report SET outcome = :outcome, settled_by = :actor, settled_at = :now
WHERE incident_id = :incident_id AND recipient = :recipient AND report = :report
      AND outcome IS NULL
""")
_UPDATE: Final = text("""
UPDATE incident SET first_contact = :first_contact, malicious = :malicious,
                    sensitive = :sensitive, persons = :persons
WHERE id = :id
""")
_CLOSE: Final = text("UPDATE incident SET closed_by = :actor, closed_at = :now WHERE id = :id")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What has become known of an incident; None leaves it as it is."""

    first_contact: str | None = None
    malicious: bool | None = None
    sensitive: bool | None = None
    persons: int | None = None


class Noticed(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when an incident is opened.

    ``noticed_by`` is a role or a way ("a shop, by telephone"), ``note`` the first line of the
    timeline.
    """

    kind: IncidentKind
    noticed_by: str
    noticed_us: int
    note: str
    known: Change = Change()


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a report; the note says how it was sent, or why it is not needed."""

    recipient: str
    report: str
    outcome: Literal["sent", "not_needed"]
    note: str


async def open_incident(
    connection: AsyncConnection,
    *,
    noticed: Noticed,
    actor: str,
    now_us: int,
    origin: str | None = None,
) -> UUID:
    """Open an incident, with the reports that it calls for, and return its id.

    Raises :class:`RefusedError` ``incident_text_missing``, ``incident_persons_invalid`` or
    ``incident_time_invalid`` (noticed in the future).
    """
    if noticed.noticed_us > now_us:
        raise RefusedError("incident_time_invalid")
    known = _checked(noticed.known)
    incident_id = new_id(now_us=now_us)
    facts = IncidentFacts(
        kind=noticed.kind,
        noticed_at=to_datetime(noticed.noticed_us),
        malicious=bool(known.malicious),
        sensitive=bool(known.sensitive),
        persons=known.persons,
    )
    values = {
        **msgspec.structs.asdict(facts),
        "id": incident_id,
        "noticed_by": _words(noticed.noticed_by, "noticed_by", NAME_CHARACTERS_MAX),
        "first_contact": known.first_contact,
        "opened_by": actor,
        "opened_at": to_datetime(now_us),
    }
    await connection.execute(incident.insert().values(values))
    await _note(connection, incident_id, noticed.note, actor, now_us)
    await _owe(connection, incident_id, facts, now_us)
    entry = _entry("incident.open", incident_id, actor, origin, {"kind": noticed.kind})
    await append(connection, entry=entry, now_us=now_us)
    return incident_id


async def update_incident(
    connection: AsyncConnection,
    *,
    incident_id: UUID,
    note: str,
    actor: str,
    now_us: int,
    change: Change | None = None,
    origin: str | None = None,
) -> None:
    """Add a line to the timeline and what has become known; reports and dates follow from it.

    Raises :class:`RefusedError` ``incident_unknown``, ``incident_closed`` or
    ``incident_text_missing``.
    """
    found = await _find_open(connection, incident_id)
    change = _checked(change or Change())
    known = msgspec.structs.asdict(change)
    fields = {
        name: getattr(found, name) if value is None else value for name, value in known.items()
    }
    await connection.execute(_UPDATE, {**fields, "id": incident_id})
    await _note(connection, incident_id, note, actor, now_us)
    facts = msgspec.structs.replace(
        found.facts, **{name: fields[name] for name in ("malicious", "sensitive", "persons")}
    )
    await _owe(connection, incident_id, facts, now_us)
    learnt = {name: int(value) for name, value in known.items() if isinstance(value, int)}
    entry = _entry("incident.update", incident_id, actor, origin, learnt)
    await append(connection, entry=entry, now_us=now_us)


async def settle_report(
    connection: AsyncConnection,
    *,
    incident_id: UUID,
    settled: Settled,
    actor: str,
    now_us: int,
    origin: str | None = None,
) -> None:
    """Record that a report was sent, or is not needed.

    Raises as :func:`update_incident` does, and ``report_not_owed`` when there is no such report or
    it is settled.
    """
    await _find_open(connection, incident_id)
    values: dict[str, Any] = {
        "incident_id": incident_id,
        "recipient": settled.recipient,
        "report": settled.report,
        "outcome": settled.outcome,
        "actor": actor,
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_SETTLE, values)).rowcount == 0:
        raise RefusedError("report_not_owed", report=f"{settled.recipient} {settled.report}"[:160])
    await _note(connection, incident_id, settled.note, actor, now_us)
    details = {name: values[name] for name in ("recipient", "report", "outcome")}
    entry = _entry("incident.settle_report", incident_id, actor, origin, details)
    await append(connection, entry=entry, now_us=now_us)


async def close_incident(
    connection: AsyncConnection,
    *,
    incident_id: UUID,
    note: str,
    actor: str,
    now_us: int,
    origin: str | None = None,
) -> None:
    """Close an incident for good; the note says what was learnt.

    Raises as :func:`update_incident` does, ``incident_contact_missing`` when nobody has written
    down who was told first, and ``reports_owed`` with those that are.
    """
    found = await _find_open(connection, incident_id)
    if found.first_contact is None:
        raise RefusedError("incident_contact_missing")
    owed = [
        f"{one.recipient} {one.report}"
        for one in await list_reports(connection, incident_id=incident_id)
        if one.outcome is None
    ]
    if owed:
        raise RefusedError("reports_owed", problems=owed)
    await _note(connection, incident_id, note, actor, now_us)
    values = {"id": incident_id, "actor": actor, "now": to_datetime(now_us)}
    await connection.execute(_CLOSE, values)
    entry = _entry("incident.close", incident_id, actor, origin, {})
    await append(connection, entry=entry, now_us=now_us)


async def _find_open(connection: AsyncConnection, incident_id: UUID) -> Incident:
    found = await find_incident(connection, incident_id=incident_id, for_update=True)
    if found.closed_at is not None:
        raise RefusedError("incident_closed")
    return found


async def _note(
    connection: AsyncConnection, incident_id: UUID, note: str, actor: str, now_us: int
) -> None:
    values = {
        "id": new_id(now_us=now_us),
        "incident_id": incident_id,
        "actor": actor,
        "note": _words(note, "note", NOTE_CHARACTERS_MAX),
        "created_at": to_datetime(now_us),
    }
    await connection.execute(incident_entry.insert().values(values))


async def _owe(
    connection: AsyncConnection, incident_id: UUID, facts: IncidentFacts, now_us: int
) -> None:
    """Write what is owed; what was owed before and no longer is stays until it is settled."""
    for due in reports_due(duties(), facts):
        values = {"id": new_id(now_us=now_us), "incident_id": incident_id}
        await connection.execute(_OWE, {**values, **msgspec.structs.asdict(due)})


def _entry(
    action: str,
    incident_id: UUID,
    actor: str,
    origin: str | None,
    details: Mapping[str, int | str],
) -> Entry:
    return Entry(
        action=action,
        actor=actor,
        subject=public_id("inc", incident_id),
        origin=origin,
        details=details,
    )


def _checked(change: Change) -> Change:
    if change.persons is not None and not 0 <= change.persons <= PERSONS_MAX:
        raise RefusedError("incident_persons_invalid", persons_max=PERSONS_MAX)
    if change.first_contact is None:
        return change
    contact = _words(change.first_contact, "first_contact", NAME_CHARACTERS_MAX)
    return msgspec.structs.replace(change, first_contact=contact)


def _words(written: str, field: str, characters_max: int) -> str:
    kept = own_words(written, characters_max=characters_max)
    if kept is None or len(written) > characters_max:
        raise RefusedError("incident_text_missing", field=field, characters_max=characters_max)
    return kept


def is_overdue(due_at: datetime, *, now_us: int) -> bool:
    """Whether a report that is still owed should have been sent by now."""
    return due_at <= to_datetime(now_us)
