"""``wallet incident``: what went wrong, who was told, and which reports are owed."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.cli.shell import ORIGIN, JsonOption, audited, emit, read_id, shell_actor, with_engine
from wallet.core.clock import JST, rfc3339, system_clock, to_microseconds
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError
from wallet.core.runtime import Runtime
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
from wallet.ops.queries import Incident, Report, list_incidents, list_reports
from wallet.ops.rules import IncidentKind

group = typer.Typer(no_args_is_help=True, help="What went wrong, and which reports are owed.")

IdArgument = Annotated[str, typer.Argument(help="inc_ and 32 hex digits")]
NoteOption = Annotated[str, typer.Option(help="One line for the timeline, without names")]
ContactOption = Annotated[
    str | None, typer.Option("--first-contact", help="The office that was told first")
]
MaliciousOption = Annotated[
    bool | None, typer.Option("--malicious/--not-malicious", help="Somebody meant harm")
]
SensitiveOption = Annotated[
    bool | None, typer.Option("--sensitive/--not-sensitive", help="Sensitive data are concerned")
]
PersonsOption = Annotated[int | None, typer.Option(min=0, help="How many persons are concerned")]


@group.command("open")
def incident_open(  # noqa: PLR0913 - each is an option of the command
    *,
    kind: Annotated[IncidentKind, typer.Option(help="What kind of thing went wrong")],
    noticed_by: Annotated[str, typer.Option(help="A role or a way, such as 'a shop, by phone'")],
    note: NoteOption,
    noticed_at: Annotated[
        str, typer.Option(help="2026-11-25T10:20 in Japan, or with an offset; now if left out")
    ] = "",
    first_contact: ContactOption = None,
    malicious: MaliciousOption = None,
    sensitive: SensitiveOption = None,
    persons: PersonsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open an incident; from now on the clocks of its reports run."""
    now_us = system_clock()
    noticed = Noticed(
        kind=kind,
        noticed_by=noticed_by,
        noticed_us=_read_moment(noticed_at) if noticed_at else now_us,
        note=note,
        known=Change(
            first_contact=first_contact, malicious=malicious, sensitive=sensitive, persons=persons
        ),
    )
    opened = partial(
        open_incident, noticed=noticed, actor=shell_actor(), now_us=now_us, origin=ORIGIN
    )

    async def work(engine: AsyncEngine, _: Runtime) -> tuple[UUID, list[Report]]:
        incident_id = await write(engine, opened)
        async with read(engine) as connection:
            return incident_id, await list_reports(connection, incident_id=incident_id)

    incident_id, reports = with_engine(audited("incident.open", work))
    name = public_id("inc", incident_id)
    lines = [f"Open: {name}", *(_report_line(one, now_us=now_us) for one in reports)]
    value = {"id": name, "reports": [_report_dict(one) for one in reports]}
    emit(value, "\n".join(lines), as_json=as_json)


@group.command("note")
def incident_note(
    incident_id: IdArgument,
    *,
    note: NoteOption,
    first_contact: ContactOption = None,
    malicious: MaliciousOption = None,
    sensitive: SensitiveOption = None,
    persons: PersonsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a line to the timeline, and what has become known."""
    change = Change(
        first_contact=first_contact, malicious=malicious, sensitive=sensitive, persons=persons
    )
    verb = partial(update_incident, **_what(incident_id), note=note, change=change)
    _act("incident.update", verb)
    emit({"id": incident_id, "noted": True}, "Noted.", as_json=as_json)


@group.command("report")
def incident_report(
    incident_id: IdArgument,
    *,
    recipient: Annotated[str, typer.Option(help="To whom, as `wallet incident list` names it")],
    report: Annotated[str, typer.Option(help="Which, as `wallet incident list` names it")],
    note: NoteOption,
    not_needed: Annotated[
        bool, typer.Option("--not-needed", help="It is not owed after all; the note says why")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Record that a report was sent."""
    settled = Settled(
        recipient=recipient,
        report=report,
        outcome="not_needed" if not_needed else "sent",
        note=note,
    )
    _act("incident.settle_report", partial(settle_report, **_what(incident_id), settled=settled))
    emit({"id": incident_id, "outcome": settled.outcome}, "Recorded.", as_json=as_json)


@group.command("close")
def incident_close(
    incident_id: IdArgument, *, note: NoteOption, as_json: JsonOption = False
) -> None:
    """Close an incident, once every report is settled; the note says what was learnt."""
    _act("incident.close", partial(close_incident, **_what(incident_id), note=note))
    emit({"id": incident_id, "closed": True}, "Closed.", as_json=as_json)


def _what(incident_id: str) -> dict[str, Any]:
    """Return which incident it is about, who acts, when and from where."""
    return {
        "incident_id": read_id("inc", incident_id),
        "actor": shell_actor(),
        "now_us": system_clock(),
        "origin": ORIGIN,
    }


def _act(action: str, verb: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    async def work(engine: AsyncEngine, _: Runtime) -> None:
        await write(engine, verb)

    with_engine(audited(action, work))


@group.command("list")
def incident_list(
    *,
    closed_too: Annotated[
        bool, typer.Option("--all", help="Those that are closed as well")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the incidents, and for each of them the reports with their clocks."""
    now_us = system_clock()

    async def work(engine: AsyncEngine, _: Runtime) -> list[tuple[Incident, list[Report]]]:
        async with read(engine) as connection:
            found = await list_incidents(connection, closed_too=closed_too)
            return [(one, await list_reports(connection, incident_id=one.id)) for one in found]

    found = with_engine(work)
    lines = [line for one, reports in found for line in _lines(one, reports, now_us=now_us)]
    value = {"incidents": [_incident_dict(one, reports) for one, reports in found]}
    emit(value, "\n".join(lines) or "There are no incidents.", as_json=as_json)


def _lines(one: Incident, reports: list[Report], *, now_us: int) -> list[str]:
    state = "open" if one.closed_at is None else "closed"
    persons = "unknown" if one.persons is None else f"{one.persons:,}"
    return [
        f"{public_id('inc', one.id)}  {one.kind}, {state}",
        f"  noticed {_clock(one.noticed_at)} by {one.noticed_by}; persons {persons}",
        f"  first contact: {one.first_contact or 'not recorded'}",
        *(_report_line(report, now_us=now_us) for report in reports),
    ]


def _report_line(one: Report, *, now_us: int) -> str:
    if one.settled_at is not None:
        state = f"{one.outcome} {_clock(one.settled_at)}"
    else:
        late = "OVERDUE since" if is_overdue(one.due_at, now_us=now_us) else "due"
        state = f"{late} {_clock(one.due_at)}"
    return f"  {one.recipient} {one.report}: {state}"


def _incident_dict(one: Incident, reports: list[Report]) -> dict[str, Any]:
    return {
        **_plain(msgspec.structs.asdict(one)),
        "id": public_id("inc", one.id),
        "reports": [_report_dict(report) for report in reports],
    }


def _report_dict(one: Report) -> dict[str, Any]:
    return _plain(msgspec.structs.asdict(one))


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: rfc3339(to_microseconds(value)) if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(JST):%Y-%m-%d %H:%M}"


def _read_moment(written: str) -> int:
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise RefusedError("time_invalid", expected="2026-11-25T10:20", got=written[:40]) from None
    return to_microseconds(moment if moment.tzinfo else moment.replace(tzinfo=JST))
