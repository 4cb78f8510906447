"""The emergency stop: a row that every batch of money reads under a share lock.

Engaging takes the table's lock, which waits for batches already under way and is not overtaken
by later ones; once it has committed, no later batch can commit money in its scope. Whatever is no
batch looks at a board that is at most two seconds old (:mod:`wallet.ops.board`).

One person engages. To release takes two: one asks, another confirms. Neither passes through what
is stopped, so a stop of everything can be lifted like any other.
"""

import asyncio
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core import outbox
from wallet.core.clock import MICROSECONDS, to_datetime
from wallet.core.database import read, write
from wallet.core.ids import new_id, public_id
from wallet.core.refusals import RefusedError
from wallet.core.scrub import scrub
from wallet.ops.audit import REASON_CHARACTERS_MAX, Entry, append, own_words
from wallet.ops.queries import Stop, find_incident, find_stop
from wallet.ops.rules import scope_kind
from wallet.ops.tables import stop_event

OBEY: Final = "SELECT scopes{more} FROM stop_control WHERE id = 1 FOR SHARE"
"""What every batch of money runs first: the engaged scopes, kept from changing until the
transaction ends. ``more`` is for further columns that the batch wants from the same round trip."""

PATIENCE_S: Final = 30
"""How long a stop waits for batches under way: longer than any of them can last, for the database
ends a transaction that has been idle for twenty seconds. Meanwhile no new one begins."""

_BE_PATIENT = text(
    f"SELECT set_config('lock_timeout', '{PATIENCE_S}s', true),"
    f" set_config('statement_timeout', '{PATIENCE_S + 1}s', true)"
)
_LOCK = text("LOCK TABLE stop_control IN EXCLUSIVE MODE")
_SCOPES = text("SELECT scopes FROM stop_control WHERE id = 1")
_SET = text("UPDATE stop_control SET scopes = :scopes WHERE id = 1")

# Whoever engages once more says that it must go on: a release that was asked for is off.
_ENGAGE = text("""
INSERT INTO stop (id, scope, drill, reason, engaged_by, engaged_at, next_notice_at, incident_id)
VALUES (:id, :scope, false, :reason, :actor, :now, :next_notice_at, :incident_id)
ON CONFLICT (scope) WHERE released_at IS NULL AND NOT drill
DO UPDATE SET release_reason = NULL, release_requested_by = NULL, release_requested_at = NULL,
              next_notice_at = coalesce(EXCLUDED.next_notice_at, stop.next_notice_at),
              incident_id = coalesce(EXCLUDED.incident_id, stop.incident_id)
RETURNING id
""")
_EFFECTIVE = text("""
UPDATE stop SET effective_at = :effective_at WHERE id = :id AND effective_at IS NULL
""")
_DRILL = text("""
INSERT INTO stop (id, scope, drill, reason, engaged_by, engaged_at, effective_at, incident_id)
VALUES (:id, :scope, true, :reason, :actor, :now, :effective_at, :incident_id)
""")
_ANNOUNCE = text("UPDATE stop SET next_notice_at = :next_notice_at WHERE id = :id")
_REQUEST = text("""
UPDATE stop SET release_reason = :reason, release_requested_by = :actor,
                release_requested_at = :now
WHERE id = :id
""")
_RELEASE = text("UPDATE stop SET released_by = :actor, released_at = :now WHERE id = :id")


async def engaged_scopes(connection: AsyncConnection) -> list[str]:
    """Return the engaged scopes in alphabetical order, for display."""
    return sorted((await connection.execute(_SCOPES)).scalar_one())


def check_scope(scope: str) -> None:
    """Raise :class:`RefusedError` ``stop_scope_unknown`` unless there is such a scope."""
    if scope_kind(scope) is None:
        raise RefusedError("stop_scope_unknown", scope=scope[:80])


async def engage(
    connection: AsyncConnection,
    *,
    scope: str,
    reason: str,
    actor: str,
    now_us: int,
    next_notice_us: int | None = None,
    incident_id: UUID | None = None,
    origin: str | None = None,
) -> bool:
    """Stop money in ``scope``; return False when it was stopped already.

    ``actor`` and ``origin`` are as in :class:`~wallet.ops.audit.Entry`; at ``next_notice_us`` the
    public will hear more. Raises :class:`RefusedError` ``stop_scope_unknown``,
    ``stop_reason_missing`` or ``incident_unknown``. Takes effect when the caller's transaction
    commits.
    """
    reason = _check(scope, reason)
    began_s = asyncio.get_running_loop().time()
    if incident_id is not None:
        await find_incident(connection, incident_id=incident_id)
    await connection.execute(_BE_PATIENT)
    values = {
        "id": new_id(now_us=now_us),
        "scope": scope,
        "reason": reason,
        "actor": actor,
        "now": to_datetime(now_us),
        "next_notice_at": None if next_notice_us is None else to_datetime(next_notice_us),
        "incident_id": incident_id,
    }
    # The story's row before the lock, here and in a release: nobody waits for both crosswise.
    stop_id: UUID = (await connection.execute(_ENGAGE, values)).scalar_one()
    changed = await _set(connection, scope, engaged=True)
    effective_us = now_us + _since_us(began_s)
    await connection.execute(_EFFECTIVE, {"id": stop_id, "effective_at": to_datetime(effective_us)})
    await _note(connection, "engage", scope, actor, reason, now_us)
    if changed:
        await _tell(connection, "stop.engaged", stop_id, scope, now_us)
    details: dict[str, int | str] = {"scope": scope, "changed": int(changed)}
    entry = _entry("stop.engage", stop_id, actor, origin, reason, details)
    await append(connection, entry=entry, now_us=now_us)
    return changed


async def drill(
    engine: AsyncEngine,
    *,
    scope: str,
    reason: str,
    actor: str,
    now_us: int,
    incident_id: UUID | None = None,
    origin: str | None = None,
) -> Stop:
    """Go through a stop up to the moment of its effect, stop nothing, and log the times.

    Payments wait for as long as the lock is held, milliseconds, and none is refused. Raises as
    :func:`engage` does.
    """
    reason = _check(scope, reason)
    began_s = asyncio.get_running_loop().time()
    async with read(engine) as connection:  # What was locked is let go before anything is written.
        if incident_id is not None:
            await find_incident(connection, incident_id=incident_id)
        await connection.execute(_BE_PATIENT)
        await connection.execute(_LOCK)
        await connection.execute(_SCOPES)
        waited_us = _since_us(began_s)
    stop_id = new_id(now_us=now_us)
    values = {
        "id": stop_id,
        "scope": scope,
        "reason": reason,
        "actor": actor,
        "now": to_datetime(now_us),
        "effective_at": to_datetime(now_us + waited_us),
        "incident_id": incident_id,
    }
    details: dict[str, int | str] = {"scope": scope, "waited_us": waited_us}
    entry = _entry("stop.drill", stop_id, actor, origin, reason, details)

    async def log(connection: AsyncConnection) -> Stop:
        await connection.execute(_DRILL, values)
        drilled = await find_stop(connection, stop_id=stop_id)
        await append(connection, entry=entry, now_us=now_us)
        return drilled

    return await write(engine, log)


async def announce(
    connection: AsyncConnection,
    *,
    stop_id: UUID,
    next_notice_us: int,
    actor: str,
    now_us: int,
    origin: str | None = None,
) -> None:
    """Tell the public when it will hear more of a stop.

    Raises :class:`RefusedError` ``stop_unknown`` or ``stop_released``.
    """
    await _find_engaged(connection, stop_id)
    moment = to_datetime(next_notice_us)
    await connection.execute(_ANNOUNCE, {"id": stop_id, "next_notice_at": moment})
    entry = _entry(
        "stop.announce", stop_id, actor, origin, None, {"next_notice_us": next_notice_us}
    )
    await append(connection, entry=entry, now_us=now_us)


async def request_release(
    connection: AsyncConnection,
    *,
    stop_id: UUID,
    reason: str,
    actor: str,
    now_us: int,
    origin: str | None = None,
) -> None:
    """Ask that a stop be lifted; nothing flows before somebody else confirms it.

    Raises :class:`RefusedError` ``stop_unknown``, ``stop_released`` when it is over,
    ``release_requested`` when somebody has asked already, or ``stop_reason_missing``.
    """
    reason = _reason(reason)
    stop = await _find_engaged(connection, stop_id)
    if stop.release_requested_by is not None:
        raise RefusedError("release_requested", by=stop.release_requested_by)
    values = {"id": stop_id, "reason": reason, "actor": actor, "now": to_datetime(now_us)}
    await connection.execute(_REQUEST, values)
    entry = _entry("stop.request_release", stop_id, actor, origin, reason, {"scope": stop.scope})
    await append(connection, entry=entry, now_us=now_us)


async def confirm_release(
    connection: AsyncConnection,
    *,
    stop_id: UUID,
    actor: str,
    now_us: int,
    origin: str | None = None,
) -> bool:
    """Let money in a stop's scope flow again, as somebody else has asked for.

    Returns False when it flowed already.
    Raises :class:`RefusedError` ``stop_unknown``, ``stop_released``, ``release_not_requested``, or
    ``four_eyes`` when the actor is the one who asked. Takes effect when the caller's transaction
    commits.
    """
    await connection.execute(_BE_PATIENT)
    stop = await _find_engaged(connection, stop_id)
    if stop.release_requested_by is None or stop.release_reason is None:
        raise RefusedError("release_not_requested")
    if stop.release_requested_by == actor:
        raise RefusedError("four_eyes")
    await connection.execute(_RELEASE, {"id": stop_id, "actor": actor, "now": to_datetime(now_us)})
    changed = await _set(connection, stop.scope, engaged=False)
    await _note(connection, "release", stop.scope, actor, stop.release_reason, now_us)
    await _tell(connection, "stop.released", stop_id, stop.scope, now_us)
    details: dict[str, int | str] = {"scope": stop.scope, "requested_by": stop.release_requested_by}
    entry = _entry("stop.release", stop_id, actor, origin, stop.release_reason, details)
    await append(connection, entry=entry, now_us=now_us)
    return changed


async def _find_engaged(connection: AsyncConnection, stop_id: UUID) -> Stop:
    stop = await find_stop(connection, stop_id=stop_id, for_update=True)
    if stop.drill or stop.released_at is not None:
        raise RefusedError("stop_released")
    return stop


async def _set(connection: AsyncConnection, scope: str, *, engaged: bool) -> bool:
    """Wait for the batches under way and write the row that later ones read."""
    await connection.execute(_LOCK)
    before = set((await connection.execute(_SCOPES)).scalar_one())
    after = before | {scope} if engaged else before - {scope}
    if after != before:
        await connection.execute(_SET, {"scopes": sorted(after)})
    return after != before


async def _note(
    connection: AsyncConnection, action: str, scope: str, actor: str, reason: str, now_us: int
) -> None:
    await connection.execute(
        stop_event.insert().values(
            id=new_id(now_us=now_us),
            scope=scope,
            action=action,
            actor=actor,
            reason=reason,
            created_at=to_datetime(now_us),
        )
    )


async def _tell(
    connection: AsyncConnection, kind: str, stop_id: UUID, scope: str, now_us: int
) -> None:
    await outbox.tell(
        connection, kind=kind, body={"stop_id": stop_id, "scope": scope}, now_us=now_us
    )


def _entry(
    action: str,
    stop_id: UUID,
    actor: str,
    origin: str | None,
    reason: str | None,
    details: dict[str, int | str],
) -> Entry:
    # A code may look like something personal, and that must not keep anybody from stopping it.
    fit = {k: scrub(v) if isinstance(v, str) else v for k, v in details.items()}
    return Entry(
        action=action,
        actor=actor,
        subject=public_id("stp", stop_id),
        reason=reason,
        origin=origin,
        details=fit,
    )


def _check(scope: str, reason: str) -> str:
    check_scope(scope)
    return _reason(reason)


def _reason(reason: str) -> str:
    """Return the reason as it is kept: what is personal in it is masked."""
    kept = None if len(reason) > REASON_CHARACTERS_MAX else own_words(reason)
    if kept is None:
        raise RefusedError("stop_reason_missing", characters_max=REASON_CHARACTERS_MAX)
    return kept


def _since_us(began_s: float) -> int:
    return int((asyncio.get_running_loop().time() - began_s) * MICROSECONDS)
