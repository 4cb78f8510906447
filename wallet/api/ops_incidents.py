"""``/ops/v1/incidents``: who noticed what, what was done when, and which reports are owed."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_forms import In, Line, Out, read_id
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_rules import Permission
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.ops.incidents import (
    NAME_CHARACTERS_MAX,
    NOTE_CHARACTERS_MAX,
    PERSONS_MAX,
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
    Note,
    Report,
    find_incident,
    list_incidents,
    list_notes,
    list_reports,
)
from wallet.ops.rules import IncidentKind

router = APIRouter(prefix="/ops/v1/incidents", tags=["staff: incidents"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.INCIDENT_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.INCIDENT_WRITE))]

Name = Annotated[Line, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]
NoteText = Annotated[Line, Field(min_length=1, max_length=NOTE_CHARACTERS_MAX)]


class NoteIn(In):
    """A line for the timeline; no names."""

    note: NoteText


class KnownIn(NoteIn):
    """What has become known; what is left out stays as it is."""

    first_contact: Name | None = None
    malicious: bool | None = None
    sensitive: bool | None = None
    persons: Annotated[int, Field(ge=0, le=PERSONS_MAX)] | None = None

    def change(self) -> Change:
        """Return what is new."""
        return Change(
            first_contact=self.first_contact,
            malicious=self.malicious,
            sensitive=self.sensitive,
            persons=self.persons,
        )


class OpenIn(KnownIn):
    """What went wrong, and who noticed when: a role or a way, never a name."""

    kind: IncidentKind
    noticed_by: Name
    noticed_at: AwareDatetime

    def noticed(self) -> Noticed:
        """Return what is known so far."""
        return Noticed(
            kind=self.kind,
            noticed_by=self.noticed_by,
            noticed_us=to_microseconds(self.noticed_at),
            note=self.note,
            known=self.change(),
        )


class SettleIn(NoteIn):
    """What became of a report that was owed; the note says how, or why it is not needed."""

    recipient: Name
    report: Name
    outcome: Literal["sent", "not_needed"]

    def settled(self) -> Settled:
        """Return what became of it."""
        return Settled(
            recipient=self.recipient, report=self.report, outcome=self.outcome, note=self.note
        )


class ReportOut(Out):
    """A report that is owed, or what became of it."""

    recipient: str
    report: str
    due_at: str
    outcome: str | None
    overdue: bool


class NoteOut(Out):
    """A line of the timeline."""

    at: str
    by: str
    note: str


class IncidentOut(Out):
    """An incident as it stands."""

    id: str
    kind: IncidentKind
    noticed_by: str
    noticed_at: str
    first_contact: str | None
    malicious: bool
    sensitive: bool
    persons: int | None
    opened_by: str
    opened_at: str
    closed_by: str | None
    closed_at: str | None


class StoryOut(IncidentOut):
    """An incident with its timeline and its reports, the most urgent first."""

    notes: list[NoteOut]
    reports: list[ReportOut]


class IncidentListOut(Out):
    """The latest incidents."""

    data: list[IncidentOut]


class IncidentsQuery(In):
    """Which incidents."""

    closed_too: bool = False


@router.get("", summary="List incidents")
async def list_(acting: Reading, query: Annotated[IncidentsQuery, Query()]) -> IncidentListOut:
    """Return the latest incidents, open ones unless asked for all."""
    async with read(acting.office.engine) as connection:
        found = await list_incidents(connection, closed_too=query.closed_too)
    return IncidentListOut(data=[IncidentOut(**_fields(one)) for one in found])


@router.post("", status_code=201, summary="Open an incident")
async def open_(acting: Writing, body: OpenIn) -> StoryOut:
    """Open an incident, with the reports that it calls for."""

    async def work(connection: AsyncConnection) -> UUID:
        return await open_incident(
            connection,
            noticed=body.noticed(),
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    return await _story(acting, await acting.run("incident.open", work))


@router.get("/{incident_id}", summary="Get an incident")
async def get(acting: Reading, incident_id: str) -> StoryOut:
    """Return an incident with its timeline and its reports."""
    return await _story(acting, read_id("inc", incident_id, "incident_unknown"))


@router.post("/{incident_id}/notes", status_code=201, summary="Write down what is known")
async def update(acting: Writing, incident_id: str, body: KnownIn) -> StoryOut:
    """Add a line to the timeline, and what has become known with it."""
    parsed = read_id("inc", incident_id, "incident_unknown")

    async def work(connection: AsyncConnection) -> None:
        await update_incident(
            connection,
            incident_id=parsed,
            note=body.note,
            actor=acting.actor,
            now_us=acting.now_us,
            change=body.change(),
            origin=acting.origin,
        )

    await acting.run("incident.update", work, subject=incident_id)
    return await _story(acting, parsed)


@router.post("/{incident_id}/reports", summary="Settle a report")
async def settle(acting: Writing, incident_id: str, body: SettleIn) -> StoryOut:
    """Write down that a report was sent, or why it is not needed."""
    parsed = read_id("inc", incident_id, "incident_unknown")

    async def work(connection: AsyncConnection) -> None:
        await settle_report(
            connection,
            incident_id=parsed,
            settled=body.settled(),
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("incident.settle_report", work, subject=incident_id)
    return await _story(acting, parsed)


@router.post("/{incident_id}/close", summary="Close an incident")
async def close(acting: Writing, incident_id: str, body: NoteIn) -> StoryOut:
    """Close an incident for good, with what was learnt."""
    parsed = read_id("inc", incident_id, "incident_unknown")

    async def work(connection: AsyncConnection) -> None:
        await close_incident(
            connection,
            incident_id=parsed,
            note=body.note,
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("incident.close", work, subject=incident_id)
    return await _story(acting, parsed)


async def _story(acting: Acting, incident_id: UUID) -> StoryOut:
    async def work(connection: AsyncConnection) -> StoryOut:
        found = await find_incident(connection, incident_id=incident_id)
        notes = await list_notes(connection, incident_id=incident_id)
        reports = await list_reports(connection, incident_id=incident_id)
        return StoryOut(
            **_fields(found),
            notes=[_note(one) for one in notes],
            reports=[_report(one, acting.now_us) for one in reports],
        )

    return await acting.run("incident.view", work, subject=public_id("inc", incident_id))


def _fields(incident: Incident) -> dict[str, object]:
    closed_at = incident.closed_at
    return {
        "id": public_id("inc", incident.id),
        "kind": incident.kind,
        "noticed_by": incident.noticed_by,
        "noticed_at": rfc3339(to_microseconds(incident.noticed_at)),
        "first_contact": incident.first_contact,
        "malicious": incident.malicious,
        "sensitive": incident.sensitive,
        "persons": incident.persons,
        "opened_by": incident.opened_by,
        "opened_at": rfc3339(to_microseconds(incident.opened_at)),
        "closed_by": incident.closed_by,
        "closed_at": None if closed_at is None else rfc3339(to_microseconds(closed_at)),
    }


def _note(note: Note) -> NoteOut:
    return NoteOut(at=rfc3339(to_microseconds(note.created_at)), by=note.actor, note=note.note)


def _report(report: Report, now_us: int) -> ReportOut:
    return ReportOut(
        recipient=report.recipient,
        report=report.report,
        due_at=rfc3339(to_microseconds(report.due_at)),
        outcome=report.outcome,
        overdue=report.outcome is None and is_overdue(report.due_at, now_us=now_us),
    )
