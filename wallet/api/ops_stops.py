"""``/ops/v1/stops``: the emergency stop. One person stops, two let it flow again, drills are free.

None of these doors asks whether anything is stopped: the way out does not lead through it.
"""

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import AwareDatetime, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_forms import In, Line, Out, WhyIn, read_id
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.api.problems import ProblemError
from wallet.auth.staff_queries import hold_members
from wallet.auth.staff_rules import Permission, are_linked
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import RefusedError
from wallet.ops import stop as stops
from wallet.ops.queries import Stop, find_incident, find_open_stop, find_stop, list_stops

router = APIRouter(prefix="/ops/v1/stops", tags=["staff: emergency stop"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.STOP_READ))]
Engaging = Annotated[Acting, Depends(needs(Permission.STOP_ENGAGE))]
Releasing = Annotated[Acting, Depends(needs(Permission.STOP_RELEASE))]

IncidentId = Annotated[str, Field(pattern=r"^inc_[0-9a-f]{32}$")]


class StopOut(Out):
    """The story of a stop or a drill."""

    id: str
    scope: str
    state: str
    reason: str
    engaged_by: str
    engaged_at: str
    effective_at: str | None
    next_notice_at: str | None
    incident_id: str | None
    release_reason: str | None
    release_requested_by: str | None
    release_requested_at: str | None
    released_by: str | None
    released_at: str | None


class StopListOut(Out):
    """The latest stops and drills."""

    data: list[StopOut]


class EngageIn(WhyIn):
    """What to stop and why; ``next_notice_at`` is when the public hears more."""

    scope: Annotated[Line, Field(min_length=1, max_length=100)]
    next_notice_at: AwareDatetime | None = None
    incident_id: IncidentId | None = None


class DrillIn(WhyIn):
    """What to pretend to stop."""

    scope: Annotated[Line, Field(min_length=1, max_length=100)]


class AnnounceIn(In):
    """When the public hears more."""

    next_notice_at: AwareDatetime


@router.get("", summary="List stops and drills")
async def list_(acting: Reading) -> StopListOut:
    """Return the latest stops and drills."""
    async with read(acting.office.engine) as connection:
        return StopListOut(data=[_stop(one) for one in await list_stops(connection)])


@router.post("", status_code=201, summary="Stop money")
async def engage(acting: Engaging, body: EngageIn) -> StopOut:
    """Stop money in a scope; once this has answered, no later batch commits any of it."""
    incident_id = None
    if body.incident_id is not None:
        incident_id = read_id("inc", body.incident_id, "incident_unknown")

    async def work(connection: AsyncConnection) -> None:
        if incident_id is not None:
            await find_incident(connection, incident_id=incident_id)
        await stops.engage(
            connection,
            scope=body.scope,
            reason=body.reason,
            actor=acting.actor,
            now_us=acting.now_us,
            next_notice_us=_microseconds(body.next_notice_at),
            incident_id=incident_id,
            origin=acting.origin,
        )

    await acting.run("stop.engage", work, reason=body.reason)
    async with read(acting.office.engine) as connection:
        found = await find_open_stop(connection, scope=body.scope)
    if found is None:  # Two colleagues were quick enough to lift it meanwhile.
        raise ProblemError("stop_released")
    return _stop(found)


@router.post("/drills", status_code=201, summary="Rehearse a stop")
async def drill(acting: Engaging, body: DrillIn) -> StopOut:
    """Go through a stop up to its effect, stop nothing, and log how long it took."""
    rehearse = partial(
        stops.drill,
        acting.office.engine,
        scope=body.scope,
        reason=body.reason,
        actor=acting.actor,
        now_us=acting.now_us,
        origin=acting.origin,
    )
    return _stop(await acting.noting("stop.drill", rehearse, reason=body.reason))


@router.post("/{stop_id}/announce", status_code=204, summary="Say when the public hears more")
async def announce(acting: Engaging, stop_id: str, body: AnnounceIn) -> None:
    """Have the public page say when there will be more to hear."""
    parsed = read_id("stp", stop_id, "stop_unknown")

    async def work(connection: AsyncConnection) -> None:
        await stops.announce(
            connection,
            stop_id=parsed,
            next_notice_us=to_microseconds(body.next_notice_at),
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("stop.announce", work, subject=stop_id)


@router.post("/{stop_id}/request-release", status_code=202, summary="Ask to lift a stop")
async def request_release(acting: Releasing, stop_id: str, body: WhyIn) -> StopOut:
    """Ask that money flow again; it does once a colleague confirms."""
    parsed = read_id("stp", stop_id, "stop_unknown")

    async def work(connection: AsyncConnection) -> None:
        await stops.request_release(
            connection,
            stop_id=parsed,
            reason=body.reason,
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("stop.request_release", work, subject=stop_id, reason=body.reason)
    return await _get(acting, parsed)


@router.post("/{stop_id}/confirm-release", summary="Lift a stop that a colleague asked to lift")
async def confirm_release(acting: Releasing, stop_id: str) -> StopOut:
    """Let money flow again. Two accounts of one person or one family are not two people."""
    parsed = read_id("stp", stop_id, "stop_unknown")

    async def work(connection: AsyncConnection) -> None:
        found = await find_stop(connection, stop_id=parsed, for_update=True)
        await check_two(connection, acting, found)
        await stops.confirm_release(
            connection,
            stop_id=parsed,
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("stop.release", work, subject=stop_id)
    return await _get(acting, parsed)


async def check_two(connection: AsyncConnection, acting: Acting, found: Stop) -> None:
    """Raise ``four_eyes`` when who asked is the caller by another account, or their family."""
    asker_id = parse_public_id("stf", found.release_requested_by or "")
    if asker_id is None:  # Nobody has asked, or somebody at the shell.
        return
    members = await hold_members(connection, {asker_id, acting.member.id})
    if are_linked(members[asker_id], members[acting.member.id]):
        raise RefusedError("four_eyes")


async def _get(acting: Acting, stop_id: UUID) -> StopOut:
    async with read(acting.office.engine) as connection:
        return _stop(await find_stop(connection, stop_id=stop_id))


def _stop(stop: Stop) -> StopOut:
    return StopOut(
        id=public_id("stp", stop.id),
        scope=stop.scope,
        state=stop.state,
        reason=stop.reason,
        engaged_by=stop.engaged_by,
        engaged_at=rfc3339(to_microseconds(stop.engaged_at)),
        effective_at=_moment(stop.effective_at),
        next_notice_at=_moment(stop.next_notice_at),
        incident_id=None if stop.incident_id is None else public_id("inc", stop.incident_id),
        release_reason=stop.release_reason,
        release_requested_by=stop.release_requested_by,
        release_requested_at=_moment(stop.release_requested_at),
        released_by=stop.released_by,
        released_at=_moment(stop.released_at),
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(to_microseconds(moment))


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)
