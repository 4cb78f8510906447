"""Refresh a session: the next pair of tokens for the last one, once, and the end of a stolen one.

The generation is moved on by one conditional UPDATE, so of parallel refreshes one rotates and the
others find it done. For :data:`GRACE_S` seconds the generation before gets the same successor,
because answers get lost on the way to a phone. Anything older was copied: the session ends.
"""

from datetime import timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.open_session import tokens_of
from wallet.auth.proofs import (
    PROOF_REPLAYED,
    UNAUTHENTICATED,
    ProofRefusedError,
    burn_proof,
    verify_proof,
)
from wallet.auth.tokens import Token, TokenKind, Tokens, is_genuine, parse_token
from wallet.core.clock import to_datetime
from wallet.core.database import write
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal

GRACE_S: Final = 60

_FIND = text("""
SELECT s.id, s.principal_id, s.device_id, s.salt, s.idle_s, s.expires_at, d.public_key
FROM session AS s LEFT JOIN device AS d ON d.id = s.device_id
WHERE s.id = :session_id AND s.revoked_at IS NULL AND d.revoked_at IS NULL
  AND s.expires_at > :now AND s.rotated_at + make_interval(secs => s.idle_s) > :now
""")

_ROTATE = text("""
UPDATE session SET generation = generation + 1, rotated_at = :now
WHERE id = :session_id AND generation = :generation AND revoked_at IS NULL
RETURNING generation, rotated_at
""")

# Read after the failed rotation, so it sees what the winner of the race has committed.
_STATE = text("SELECT generation, rotated_at, revoked_at FROM session WHERE id = :session_id")

_END = text("""
UPDATE session SET revoked_at = :now, revoked_because = 'refresh_reused'
WHERE id = :session_id AND revoked_at IS NULL
""")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request for tokens as it came in: its path and body are what the proof is of."""

    refresh_token: str
    proof: str | None
    method: str
    path: str
    body: bytes


async def refresh_session(
    engine: AsyncEngine, *, request: Request, pepper: bytes, now_us: int
) -> Tokens | Refusal:
    """Return the next tokens, or ``unauthenticated`` in the same words whatever is wrong.

    A session that is bound to a device wants its proof too, so who has stolen only the token can
    neither use it nor end the session with it. Refuses with ``proof_replayed`` as well. A
    generation older than the last ends the session and tells its holder by the outbox event
    ``security.refresh_reused``.
    """
    token = parse_token(request.refresh_token, kind=TokenKind.REFRESH)
    if token is None:
        return UNAUTHENTICATED

    async def work(connection: AsyncConnection) -> Tokens | Refusal:
        return await _refresh(connection, token, request, pepper=pepper, now_us=now_us)

    return await write(engine, work)


async def _refresh(
    connection: AsyncConnection, token: Token, request: Request, *, pepper: bytes, now_us: int
) -> Tokens | Refusal:
    now = to_datetime(now_us)
    values = {"session_id": token.session_id, "generation": token.generation, "now": now}
    row = (await connection.execute(_FIND, values)).mappings().one_or_none()
    if row is None or not is_genuine(token, salt=row["salt"], pepper=pepper):
        return UNAUTHENTICATED
    refusal = await _check_proof(connection, row, request, now_us)
    if refusal is not None:
        return refusal
    state = (await connection.execute(_ROTATE, values)).one_or_none()
    if state is None:
        state = (await connection.execute(_STATE, values)).one()
        if state.revoked_at is not None or token.generation >= state.generation:
            return UNAUTHENTICATED
        in_grace = now < state.rotated_at + timedelta(seconds=GRACE_S)
        if token.generation != state.generation - 1 or not in_grace:
            await _end(connection, row, now_us)
            return UNAUTHENTICATED
    return tokens_of(
        row,
        generation=state.generation,
        rotated_at=state.rotated_at,
        pepper=pepper,
        now_us=now_us,
    )


async def _check_proof(
    connection: AsyncConnection,
    row: Any,  # noqa: ANN401 - a row of the query above
    request: Request,
    now_us: int,
) -> Refusal | None:
    """Return why the request does not come from the session's device; burn its proof if it does."""
    if row["device_id"] is None:
        return None
    try:
        proof = verify_proof(
            request.proof or "",
            method=request.method,
            url_path=request.path,
            public_key=row["public_key"],
            access_token=None,
            body=request.body,
            now_us=now_us,
        )
    except ProofRefusedError:
        return UNAUTHENTICATED
    fresh = await burn_proof(connection, proof=proof, now_us=now_us)
    return None if fresh else PROOF_REPLAYED


async def _end(
    connection: AsyncConnection,
    row: Any,  # noqa: ANN401 - a row of the query above
    now_us: int,
) -> None:
    """End the family: two hold what only one was given, and nobody knows which is the thief."""
    await connection.execute(_END, {"session_id": row["id"], "now": to_datetime(now_us)})
    body = {name: row[name] for name in ("principal_id", "device_id")}
    await tell(
        connection,
        kind="security.refresh_reused",
        body={**body, "session_id": row["id"]},
        now_us=now_us,
    )
