"""Passwords: for recovery and for desktops, never on the way of a payment.

A password is knowledge and nothing more; what it opens, the levels decide.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.factor_events import tell
from wallet.auth.guess_limits import Subjects, allow, fail, forget, subjects_of, succeed
from wallet.auth.hash_gate import HashGate
from wallet.auth.password_quality import CHARACTERS_MAX, BreachList, Owner, judge, normalised
from wallet.core.clock import to_datetime
from wallet.core.database import write
from wallet.core.refusals import Refusal, RefusedError

WRONG: Final = Refusal("credentials_wrong")
"""The one answer to a wrong password, to an account without one, and to no such account."""

FindPrincipal = Callable[[AsyncConnection], Awaitable[UUID | None]]
"""Looks up whose account was named; None when there is no such account."""

_FIND: Final = text("SELECT hash FROM password WHERE principal_id = :principal_id")

_OWNS: Final = text("""
SELECT id FROM device WHERE principal_id = :principal_id AND revoked_at IS NULL
AND (id = CAST(:device_id AS uuid) OR thumbprint = CAST(:thumbprint AS bytea))
""")

_SET: Final = text("""
INSERT INTO password AS p (principal_id, hash, set_at) VALUES (:principal_id, :hash, :now)
ON CONFLICT (principal_id) DO UPDATE SET hash = EXCLUDED.hash, set_at = EXCLUDED.set_at
""")

# Unless it was changed meanwhile; set_at stays, for the password is the same.
_HASH_ANEW: Final = text("""
UPDATE password SET hash = :new WHERE principal_id = :principal_id AND hash = :old
""")


class Claimant(msgspec.Struct, frozen=True, kw_only=True):
    """Who says to be the owner of an account.

    ``account`` is its name as it was typed, in its canonical form. ``device_id`` is the device
    whose key has just been proved, if any, or ``thumbprint`` is that key's; only the account's own
    device has a counter of its own. ``address`` is where the request came from.
    """

    account: str
    device_id: UUID | None = None
    thumbprint: bytes | None = None
    address: str | None = None


class _Begun(msgspec.Struct, frozen=True):
    """A try that was counted: for whom, and what to check against, None for nothing."""

    subjects: Subjects
    principal_id: UUID | None
    encoded: str | None


async def set_password(
    engine: AsyncEngine,
    *,
    gate: HashGate,
    principal_id: UUID,
    password: str,
    owner: Owner,
    breached: BreachList | None,
    pepper: bytes,
    now_us: int,
) -> None:
    """Set a principal's password and open its counter again; the caller has asked for a step-up.

    Raises :class:`RefusedError` ``password_unusable``, ``password_too_short``,
    ``password_leaked`` or ``password_guessable``, and :class:`GateFullError`.
    """
    normal = normalised(password)
    if normal is None:
        raise RefusedError("password_unusable", characters_max=CHARACTERS_MAX)
    async with gate.place() as place:
        refusal = await place.run(judge, normal, owner=owner, breached=breached)
        if refusal is not None:
            raise RefusedError(refusal.code, **refusal.facts)
        encoded = await place.hash(normal)

    async def work(connection: AsyncConnection) -> None:
        values = {"principal_id": principal_id, "hash": encoded, "now": to_datetime(now_us)}
        await connection.execute(_SET, values)
        counted_for = subjects_of(pepper=pepper, account=principal_id.hex)
        await forget(connection, kind="password", subjects=counted_for)
        await tell(
            connection, principal_id=principal_id, factor="password", change="set", now_us=now_us
        )

    await write(engine, work)


async def check_password(
    engine: AsyncEngine,
    *,
    gate: HashGate,
    claimant: Claimant,
    find_principal: FindPrincipal,
    password: str,
    pepper: bytes,
    now_us: int,
) -> UUID | Refusal:
    """Return whose password it is, or :data:`WRONG`, or ``too_many_tries``.

    Raises :class:`GateFullError` before any query. Whatever account is named, known or not, the
    same queries are run and one hash of the same cost is computed.
    """
    normal = normalised(password)
    if normal is None:
        return WRONG
    begin = partial(
        _begin, claimant=claimant, find_principal=find_principal, pepper=pepper, now_us=now_us
    )
    async with gate.place() as place:
        begun = await write(engine, begin)
        if isinstance(begun, Refusal):
            return begun
        right = await place.verify(begun.encoded, normal)
        renewed = None
        if right and begun.encoded and gate.is_idle() and gate.is_outdated(begun.encoded):
            renewed = await place.hash(normal)
    await write(engine, partial(_end, begun=begun, right=right, renewed=renewed, now_us=now_us))
    return begun.principal_id if right and begun.principal_id else WRONG


async def _begin(
    connection: AsyncConnection,
    *,
    claimant: Claimant,
    find_principal: FindPrincipal,
    pepper: bytes,
    now_us: int,
) -> _Begun | Refusal:
    """Count the try; the same queries in the same order, whatever there is."""
    principal_id = await find_principal(connection)
    owner = {
        "principal_id": principal_id,
        "device_id": claimant.device_id,
        "thumbprint": claimant.thumbprint,
    }
    own_device_id = (await connection.execute(_OWNS, owner)).scalar_one_or_none()
    subjects = subjects_of(
        pepper=pepper,
        account=f"nobody {claimant.account}" if principal_id is None else principal_id.hex,
        device_id=own_device_id,
        address=claimant.address,
    )
    refusal = await allow(connection, kind="password", subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    found = await connection.execute(_FIND, {"principal_id": principal_id})
    return _Begun(subjects, principal_id, found.scalar_one_or_none())


async def _end(
    connection: AsyncConnection, *, begun: _Begun, right: bool, renewed: str | None, now_us: int
) -> None:
    settle = succeed if right else fail
    await settle(connection, kind="password", subjects=begun.subjects, now_us=now_us)
    if renewed is not None:
        values = {"principal_id": begun.principal_id, "old": begun.encoded, "new": renewed}
        await connection.execute(_HASH_ANEW, values)
