"""Use a challenge up for an operation that moves no money, in the transaction that does it."""

from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.rules import Requirement, StepUp, check_step_up
from wallet.core.clock import to_datetime
from wallet.core.refusals import RefusedError

_LOCK: Final = text("""
SELECT id, principal_id, op_hash, expires_at, passed_at, passed_acr, consumed_by FROM step_up
WHERE id = :challenge_id FOR NO KEY UPDATE
""")

_CONSUME: Final = text("""
UPDATE step_up SET consumed_at = :now, consumed_by = :consumed_by WHERE id = :challenge_id
""")


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge that was answered, and the operation that somebody now wants to do on it."""

    challenge_id: UUID
    principal_id: UUID
    op_hash: bytes
    requirement: Requirement
    consumed_by: UUID


async def use_step_up(connection: AsyncConnection, *, approval: Approval, now_us: int) -> None:
    """Use the challenge up, or raise why it does not let the operation through.

    Raises :class:`RefusedError` with the codes of :func:`~wallet.auth.rules.check_step_up`. Of two
    requests with one challenge the second finds it used. Undone with the caller's transaction.
    """
    values = {"challenge_id": approval.challenge_id}
    row = (await connection.execute(_LOCK, values)).mappings().one_or_none()
    refusal = check_step_up(
        None if row is None else msgspec.convert(dict(row), StepUp),
        principal_id=approval.principal_id,
        op_hash=approval.op_hash,
        requirement=approval.requirement,
        now=to_datetime(now_us),
    )
    if refusal is not None:
        raise RefusedError(refusal.code, **refusal.facts)
    used = {**values, "consumed_by": approval.consumed_by, "now": to_datetime(now_us)}
    await connection.execute(_CONSUME, used)
