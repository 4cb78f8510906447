"""Open a session once its holder has shown who they are, and note what they show later."""

import secrets
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.rules import Shown, merge
from wallet.auth.tables import session
from wallet.auth.tokens import SALT_BYTES, TokenKind, Tokens, make_token
from wallet.core.clock import MICROSECONDS, to_datetime, to_microseconds
from wallet.core.ids import new_id
from wallet.core.refusals import RefusedError

ACCESS_S: Final = 600
DAY_S: Final = 86_400


class Terms(msgspec.Struct, frozen=True):
    """How long a session lasts in all, and how long without a rotation; seconds."""

    lasts_s: int
    idle_s: int


RESIDENT: Final = Terms(lasts_s=365 * DAY_S, idle_s=30 * DAY_S)
"""A phone in use never signs out by itself within a year; one in a drawer does in a month."""

STAFF: Final = Terms(lasts_s=DAY_S, idle_s=3_600)
"""NIST SP 800-63B-4, AAL2: 24 hours in all, an hour idle."""

_SUPERSEDE = text("""
UPDATE session SET revoked_at = :now, revoked_because = 'superseded'
WHERE device_id = :device_id AND revoked_at IS NULL
""")

_LOCK = text("""
SELECT id, salt, generation, rotated_at, idle_s, expires_at, authenticated FROM session
WHERE id = :session_id AND revoked_at IS NULL AND expires_at > :now FOR NO KEY UPDATE
""")

_NOTE = text("""
UPDATE session SET generation = generation + 1, rotated_at = :now,
                   authenticated = CAST(:authenticated AS jsonb)
WHERE id = :session_id
""")


async def open_session(
    connection: AsyncConnection,
    *,
    principal_id: UUID,
    device_id: UUID | None,
    shown: tuple[Shown, ...],
    terms: Terms,
    pepper: bytes,
    now_us: int,
) -> Tokens:
    """Open a session in the caller's transaction and return its first tokens.

    A device has one session at a time: older ones end as ``superseded``. ``device_id`` None is a
    browser of staff, whose tokens are bound to no key.
    """
    now = to_datetime(now_us)
    if device_id is not None:
        await connection.execute(_SUPERSEDE, {"device_id": device_id, "now": now})
    session_id, salt = new_id(now_us=now_us), secrets.token_bytes(SALT_BYTES)
    expires_at = now + timedelta(seconds=terms.lasts_s)
    await connection.execute(
        session.insert().values(
            id=session_id,
            principal_id=principal_id,
            device_id=device_id,
            salt=salt,
            generation=1,
            rotated_at=now,
            idle_s=terms.idle_s,
            authenticated=msgspec.to_builtins(merge((), shown)),
            opened_at=now,
            expires_at=expires_at,
        )
    )
    row = {"id": session_id, "salt": salt, "idle_s": terms.idle_s, "expires_at": expires_at}
    return tokens_of(row, generation=1, rotated_at=now, pepper=pepper, now_us=now_us)


async def note_shown(
    connection: AsyncConnection,
    *,
    session_id: UUID,
    shown: tuple[Shown, ...],
    pepper: bytes,
    now_us: int,
) -> Tokens:
    """Add what was shown to a session and return new tokens: the old ones end (ASVS 7.2.4).

    The old pair lives on for the moment in which answers cross, as after a refresh. Raises
    :class:`RefusedError` ``unauthenticated`` for a session that has ended.
    """
    now = to_datetime(now_us)
    values = {"session_id": session_id, "now": now}
    row = (await connection.execute(_LOCK, values)).mappings().one_or_none()
    if row is None:
        raise RefusedError("unauthenticated")
    merged = merge(msgspec.convert(row["authenticated"], tuple[Shown, ...]), shown)
    authenticated = msgspec.json.encode(merged).decode()
    await connection.execute(_NOTE, {**values, "authenticated": authenticated})
    return tokens_of(
        row, generation=row["generation"] + 1, rotated_at=now, pepper=pepper, now_us=now_us
    )


def tokens_of(
    row: Any,  # noqa: ANN401 - a row of the session, or its columns
    *,
    generation: int,
    rotated_at: datetime,
    pepper: bytes,
    now_us: int,
) -> Tokens:
    """Return the tokens of a generation that began at ``rotated_at``."""
    access, refresh = (
        make_token(
            kind, session_id=row["id"], generation=generation, salt=row["salt"], pepper=pepper
        )
        for kind in TokenKind
    )
    ends_at = min(rotated_at + timedelta(seconds=row["idle_s"]), row["expires_at"])
    return Tokens(
        session_id=row["id"],
        access_token=access,
        refresh_token=refresh,
        expires_in_s=max(0, _seconds_until(rotated_at + timedelta(seconds=ACCESS_S), now_us)),
        refresh_expires_in_s=max(0, _seconds_until(ends_at, now_us)),
    )


def _seconds_until(moment: datetime, now_us: int) -> int:
    return (to_microseconds(moment) - now_us) // MICROSECONDS
