"""Who calls: a phone or a browser of staff, by its session and the proof of its key.

The session is read anew for each request, so what was revoked a moment ago opens nothing. A
request with a proof shows possession at that moment; everything else was shown when the session
was opened or raised, and grows old.
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.auth.open_session import ACCESS_S
from wallet.auth.proofs import (
    PROOF_REPLAYED,
    UNAUTHENTICATED,
    Proof,
    ProofRefusedError,
    burn_proof,
    verify_proof,
)
from wallet.auth.refresh_session import GRACE_S
from wallet.auth.rules import Method, Shown, merge, show
from wallet.auth.tokens import Token, TokenKind, is_genuine, parse_token
from wallet.core.clock import to_datetime, to_microseconds
from wallet.core.database import read, write
from wallet.core.refusals import Refusal

READING: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing; a proof of any other is burnt."""

_FIND = text("""
SELECT s.id, s.principal_id, s.device_id, s.salt, s.generation, s.rotated_at, s.authenticated,
       d.public_key, d.app_version, d.cooling_until
FROM session AS s LEFT JOIN device AS d ON d.id = s.device_id
WHERE s.id = :session_id AND s.revoked_at IS NULL AND d.revoked_at IS NULL AND s.expires_at > :now
""")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, what they have shown and when; ``device_id`` None is a browser of staff.

    ``cooling_until_us`` is until when the device may do little, None when that is over.
    """

    principal_id: UUID
    device_id: UUID | None
    session_id: UUID
    classes: tuple[Shown, ...]
    app_version: str | None
    cooling_until_us: int | None


async def authenticate(
    engine: AsyncEngine,
    *,
    pepper: bytes,
    authorization: str | None,
    proof: str | None,
    method: str,
    path: str,
    body: bytes | None,
    now_us: int,
) -> Caller | Refusal:
    """Return who a request comes from.

    ``authorization`` is the header, ``DPoP at_…`` from a phone and ``Bearer at_…`` from a browser
    of staff; ``proof`` the header ``DPoP``; ``path`` without the query, as the client wrote it;
    ``body`` the bytes of a request that changes something, None standing for none.

    Refuses with ``unauthenticated``, in the same words whatever is wrong, and with
    ``proof_replayed`` when the proof of a write was used before. The proof is burnt before the
    request is looked at: a client that tries again makes a new one.
    """
    scheme, _, credential = (authorization or "").partition(" ")
    token = parse_token(credential, kind=TokenKind.ACCESS)
    row = None if token is None else await _find(engine, token, now_us)
    if token is None or row is None or not is_current(row, token, pepper=pepper, now_us=now_us):
        return UNAUTHENTICATED
    if row["device_id"] is None:
        return caller_from(row, (), now_us) if scheme.lower() == "bearer" else UNAUTHENTICATED
    shown_proof = proof if scheme.lower() == "dpop" else None
    try:
        verified = verify_proof(
            shown_proof or "",
            method=method,
            url_path=path,
            public_key=row["public_key"],
            access_token=credential,
            body=None if method in READING else body or b"",
            now_us=now_us,
        )
    except ProofRefusedError:
        return UNAUTHENTICATED
    if method not in READING and not await _burn(engine, verified, now_us):
        return PROOF_REPLAYED
    return caller_from(row, show(Method.DEVICE_KEY, at_us=now_us), now_us)


async def _find(engine: AsyncEngine, token: Token, now_us: int) -> Any:  # noqa: ANN401 - a row
    values = {"session_id": token.session_id, "now": to_datetime(now_us)}
    async with read(engine) as connection:
        return (await connection.execute(_FIND, values)).mappings().one_or_none()


async def _burn(engine: AsyncEngine, proof: Proof, now_us: int) -> bool:
    return await write(
        engine, lambda connection: burn_proof(connection, proof=proof, now_us=now_us, alone=True)
    )


def is_current(
    row: Any,  # noqa: ANN401 - a row of the query above
    token: Token,
    *,
    pepper: bytes,
    now_us: int,
) -> bool:
    """Whether a token is ours and of this generation, or of the last while answers cross."""
    lives_s = {row["generation"]: ACCESS_S, row["generation"] - 1: GRACE_S}.get(token.generation, 0)
    now, rotated_at = to_datetime(now_us), row["rotated_at"]
    return now < rotated_at + timedelta(seconds=lives_s) and is_genuine(
        token, salt=row["salt"], pepper=pepper
    )


def caller_from(
    row: Any,  # noqa: ANN401 - as above
    proved: tuple[Shown, ...],
    now_us: int,
) -> Caller:
    """Return the caller of a session's row, with what the request itself has ``proved``."""
    cooling_until: datetime | None = row["cooling_until"]
    cools = cooling_until is not None and cooling_until > to_datetime(now_us)
    return Caller(
        principal_id=row["principal_id"],
        device_id=row["device_id"],
        session_id=row["id"],
        classes=merge(msgspec.convert(row["authenticated"], tuple[Shown, ...]), proved),
        app_version=row["app_version"],
        cooling_until_us=to_microseconds(cooling_until) if cooling_until and cools else None,
    )
