"""What has been stopped, and what was done about incidents: reads."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.refusals import RefusedError
from wallet.ops.rules import IncidentFacts, IncidentKind

PAGE_MAX: Final = 100

StopState = Literal["drill", "engaged", "release_requested", "released"]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """The story of a stop or a drill."""

    id: UUID
    scope: str
    drill: bool
    reason: str
    engaged_by: str
    engaged_at: datetime
    effective_at: datetime | None
    next_notice_at: datetime | None
    incident_id: UUID | None
    release_reason: str | None
    release_requested_by: str | None
    release_requested_at: datetime | None
    released_by: str | None
    released_at: datetime | None

    @property
    def state(self) -> StopState:
        """Where the story stands; a drill is over when it is written."""
        if self.drill:
            return "drill"
        if self.released_at is not None:
            return "released"
        return "engaged" if self.release_requested_at is None else "release_requested"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report that is owed, and what became of it."""

    recipient: str
    report: str
    due_at: datetime
    outcome: Literal["sent", "not_needed"] | None
    settled_by: str | None
    settled_at: datetime | None


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an incident's timeline."""

    created_at: datetime
    actor: str
    note: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as it stands."""

    id: UUID
    kind: IncidentKind
    noticed_by: str
    noticed_at: datetime
    first_contact: str | None
    malicious: bool
    sensitive: bool
    persons: int | None
    opened_by: str
    opened_at: datetime
    closed_by: str | None
    closed_at: datetime | None

    @property
    def facts(self) -> IncidentFacts:
        """What decides on the reports."""
        return IncidentFacts(
            kind=self.kind,
            noticed_at=self.noticed_at,
            malicious=self.malicious,
            sensitive=self.sensitive,
            persons=self.persons,
        )


_STOP: Final = ", ".join(Stop.__struct_fields__)
_REPORT: Final = ", ".join(Report.__struct_fields__)
_NOTE: Final = ", ".join(Note.__struct_fields__)
_INCIDENT: Final = ", ".join(Incident.__struct_fields__)

# The columns are the constants above.
_FIND_STOP: Final = f"SELECT {_STOP} FROM stop WHERE id = :id"  # noqa: S608
_FIND_OPEN_STOP: Final = text(f"""
SELECT {_STOP} FROM stop WHERE scope = :scope AND released_at IS NULL AND NOT drill
""")  # noqa: S608
_LIST_STOPS: Final = text(f"SELECT {_STOP} FROM stop ORDER BY id DESC LIMIT :limit")  # noqa: S608
_FIND_INCIDENT: Final = f"SELECT {_INCIDENT} FROM incident WHERE id = :id"  # noqa: S608
_LIST_INCIDENTS: Final = text(f"""
SELECT {_INCIDENT} FROM incident WHERE closed_at IS NULL OR :closed_too
ORDER BY id DESC LIMIT :limit
""")  # noqa: S608
_LIST_REPORTS: Final = text(f"""
SELECT {_REPORT} FROM incident_report WHERE incident_id = :id ORDER BY due_at, recipient, report
""")  # noqa: S608
_LIST_NOTES: Final = text(f"""
SELECT {_NOTE} FROM incident_entry WHERE incident_id = :id ORDER BY id
""")  # noqa: S608


async def find_stop(
    connection: AsyncConnection, *, stop_id: UUID, for_update: bool = False
) -> Stop:
    """Return a stop; raises :class:`RefusedError` ``stop_unknown``."""
    found = await connection.execute(_locking(_FIND_STOP, for_update=for_update), {"id": stop_id})
    row = found.mappings().one_or_none()
    if row is None:
        raise RefusedError("stop_unknown")
    return Stop(**row)


async def find_open_stop(connection: AsyncConnection, *, scope: str) -> Stop | None:
    """Return the stop of a scope that has not been released, if there is one."""
    found = await connection.execute(_FIND_OPEN_STOP, {"scope": scope})
    row = found.mappings().one_or_none()
    return None if row is None else Stop(**row)


async def list_stops(connection: AsyncConnection, *, limit: int = PAGE_MAX) -> list[Stop]:
    """Return stops and drills, the latest first."""
    rows = await connection.execute(_LIST_STOPS, {"limit": min(limit, PAGE_MAX)})
    return [Stop(**row) for row in rows.mappings()]


async def find_incident(
    connection: AsyncConnection, *, incident_id: UUID, for_update: bool = False
) -> Incident:
    """Return an incident; raises :class:`RefusedError` ``incident_unknown``."""
    found = await connection.execute(
        _locking(_FIND_INCIDENT, for_update=for_update), {"id": incident_id}
    )
    row = found.mappings().one_or_none()
    if row is None:
        raise RefusedError("incident_unknown")
    return msgspec.convert(dict(row), Incident)


async def list_incidents(
    connection: AsyncConnection, *, closed_too: bool = False, limit: int = PAGE_MAX
) -> list[Incident]:
    """Return incidents, the latest first."""
    values = {"closed_too": closed_too, "limit": min(limit, PAGE_MAX)}
    rows = await connection.execute(_LIST_INCIDENTS, values)
    return [msgspec.convert(dict(row), Incident) for row in rows.mappings()]


async def list_reports(connection: AsyncConnection, *, incident_id: UUID) -> list[Report]:
    """Return the reports of an incident, the most urgent first."""
    rows = await connection.execute(_LIST_REPORTS, {"id": incident_id})
    return [Report(**row) for row in rows.mappings()]


async def list_notes(connection: AsyncConnection, *, incident_id: UUID) -> list[Note]:
    """Return the timeline of an incident in its order."""
    rows = await connection.execute(_LIST_NOTES, {"id": incident_id})
    return [Note(**row) for row in rows.mappings()]


def _locking(statement: str, *, for_update: bool) -> TextClause:
    return text(f"{statement} FOR UPDATE" if for_update else statement)
