"""``wallet stop``: stop money, and let it flow again."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.cli.shell import ORIGIN, JsonOption, audited, emit, read_id, shell_actor, with_engine
from wallet.core.clock import JST, MICROSECONDS, rfc3339, system_clock, to_microseconds
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError
from wallet.core.runtime import Runtime
from wallet.ops import stop
from wallet.ops.queries import Stop, find_open_stop, find_stop, list_stops
from wallet.ops.rules import SCOPES_TOLD

group = typer.Typer(no_args_is_help=True, help="Stop money, and let it flow again.")

ScopeOption = Annotated[str, typer.Option(help=SCOPES_TOLD)]
ReasonOption = Annotated[
    str, typer.Option(help="Why, without names; kept for ever beside the name of who did it")
]

_LATEST = 10


@group.command("engage")
def stop_engage(
    *,
    scope: ScopeOption,
    reason: ReasonOption,
    drill: Annotated[bool, typer.Option("--drill", help="Log the times; stop nothing")] = False,
    notice: Annotated[
        int | None,
        typer.Option(
            "--next-notice", min=1, max=10_080, help="Minutes until the public hears more"
        ),
    ] = None,
    incident: Annotated[str, typer.Option(help="inc_ and 32 hex digits: what this is about")] = "",
    as_json: JsonOption = False,
) -> None:
    """Stop money in a scope; once this returns, no later batch commits any of it."""
    now_us = system_clock()
    what: dict[str, Any] = {
        "scope": scope,
        "reason": reason,
        "actor": shell_actor(),
        "now_us": now_us,
        "incident_id": read_id("inc", incident) if incident else None,
        "origin": ORIGIN,
    }
    if drill:
        _drill(what, as_json=as_json)
        return
    notice_us = None if notice is None else now_us + notice * 60 * MICROSECONDS

    async def work(engine: AsyncEngine, _: Runtime) -> bool:
        return await write(engine, partial(stop.engage, **what, next_notice_us=notice_us))

    changed = with_engine(audited("stop.engage", work))
    sentence = f"Stopped: {scope}" if changed else f"Was stopped already: {scope}"
    emit({"scope": scope, "engaged": True, "changed": changed}, sentence, as_json=as_json)


def _drill(what: dict[str, Any], *, as_json: bool) -> None:
    async def work(engine: AsyncEngine, _: Runtime) -> Stop:
        return await stop.drill(engine, **what)

    drilled = with_engine(audited("stop.drill", work))
    milliseconds = _milliseconds(drilled)
    sentence = (
        f"Drill: {drilled.scope} would have been stopped after {milliseconds:,.1f} ms."
        " Nothing was stopped."
    )
    emit(_as_dict(drilled), sentence, as_json=as_json)


@group.command("release")
def stop_release(
    *,
    scope: ScopeOption,
    reason: ReasonOption,
    second: Annotated[
        str, typer.Option(help="Who confirms, in a rehearsal; on live money somebody else does")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Ask that money in a scope flow again; it does when another person has confirmed that."""

    async def work(engine: AsyncEngine, runtime: Runtime) -> tuple[Stop | None, bool]:
        if second and runtime.settings.livemode:
            raise RefusedError(
                "second_only_in_rehearsal",
                problem="On live money the other person confirms at the operations console.",
            )
        return await _release(engine, scope=scope, reason=reason, second=second)

    told, changed = with_engine(audited("stop.request_release", work))
    if told is None:
        sentence = f"Was not stopped: {scope}"
    elif told.released_at is None:
        sentence = (
            f"Asked for: {scope} is stopped until another person confirms it."
            f" The stop is {public_id('stp', told.id)}."
        )
    else:
        sentence = f"Flows again: {scope}" if changed else f"Was not stopped: {scope}"
    value = {
        "scope": scope,
        "engaged": told is not None and told.released_at is None,
        "changed": changed,
        "stop": None if told is None else _as_dict(told),
    }
    emit(value, sentence, as_json=as_json)


async def _release(
    engine: AsyncEngine, *, scope: str, reason: str, second: str
) -> tuple[Stop | None, bool]:
    """Ask for the release and, where a second person is named, confirm it.

    Returns what became of the stop, and whether anything flows again.
    """
    found = await _find(engine, scope)
    if found is None:
        return None, False
    common: dict[str, Any] = {"stop_id": found.id, "now_us": system_clock(), "origin": ORIGIN}
    if not second or found.release_requested_by is None:
        request = partial(stop.request_release, **common, reason=reason, actor=shell_actor())
        await write(engine, request)
    changed = False
    if second:
        changed = await write(
            engine, partial(stop.confirm_release, **common, actor=shell_actor(second))
        )
    async with read(engine) as connection:
        return await find_stop(connection, stop_id=found.id), changed


async def _find(engine: AsyncEngine, scope: str) -> Stop | None:
    stop.check_scope(scope)
    async with read(engine) as connection:
        found = await find_open_stop(connection, scope=scope)
        if found is None and scope in await stop.engaged_scopes(connection):
            raise RefusedError(
                "stop_without_story",
                scope=scope,
                problem="An older version stopped it. Engage it once more, and then release it.",
            )
    return found


@group.command("status")
def stop_status(*, as_json: JsonOption = False) -> None:
    """Show what is stopped right now, and the latest stops and drills."""

    async def work(engine: AsyncEngine, _: Runtime) -> tuple[list[str], list[Stop]]:
        async with read(engine) as connection:
            return await _status(connection)

    scopes, latest = with_engine(work)
    lines = ["Stopped: " + ", ".join(scopes) if scopes else "Nothing is stopped."]
    lines += [_line(one) for one in latest]
    value = {"engaged": scopes, "latest": [_as_dict(one) for one in latest]}
    emit(value, "\n".join(lines), as_json=as_json)


async def _status(connection: AsyncConnection) -> tuple[list[str], list[Stop]]:
    return await stop.engaged_scopes(connection), await list_stops(connection, limit=_LATEST)


def _line(one: Stop) -> str:
    begun = f"{_clock(one.engaged_at)}  {one.state:<17}  {one.scope}  by {one.engaged_by}"
    if one.released_at is not None:
        begun += f", released {_clock(one.released_at)} by {one.release_requested_by}"
        begun += f" and {one.released_by}"
    elif one.release_requested_by is not None:
        begun += f", release asked for by {one.release_requested_by}"
    return f"{begun}: {one.reason}"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(JST):%Y-%m-%d %H:%M:%S}"


def _milliseconds(one: Stop) -> float:
    if one.effective_at is None:
        return 0.0
    return (one.effective_at - one.engaged_at).total_seconds() * 1_000


def _as_dict(one: Stop) -> dict[str, Any]:
    return {
        "id": public_id("stp", one.id),
        "scope": one.scope,
        "state": one.state,
        "reason": one.reason,
        "engaged_by": one.engaged_by,
        "engaged_at": _moment(one.engaged_at),
        "effective_at": _moment(one.effective_at),
        "next_notice_at": _moment(one.next_notice_at),
        "incident": None if one.incident_id is None else public_id("inc", one.incident_id),
        "release_requested_by": one.release_requested_by,
        "release_requested_at": _moment(one.release_requested_at),
        "released_by": one.released_by,
        "released_at": _moment(one.released_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(to_microseconds(moment))
