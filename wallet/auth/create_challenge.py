"""Create a challenge: what somebody must show before an operation, bound to that very operation."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.rules import INCLUDED, Acr, Operation, Requirement, op_hash, satisfies
from wallet.auth.step_up_storage import Challenge, insert_step_up
from wallet.core.clock import to_datetime
from wallet.core.ids import new_id
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError

EXPIRES_S: Final = 120
NONCE_BYTES: Final = 32

PUSHES_MAX: Final = 3
PUSH_WINDOW_S: Final = 600
"""Whoever is rung often enough says yes in the end; so nobody is rung a fourth time."""

_ENROLLED = text("""
SELECT EXISTS (SELECT FROM device WHERE principal_id = :principal_id AND revoked_at IS NULL)
           AS device,
       EXISTS (SELECT FROM device AS d LEFT JOIN pin AS p ON p.device_id = d.id
               WHERE d.principal_id = :principal_id AND d.revoked_at IS NULL
                 AND (d.verified_key IS NOT NULL OR p.device_id IS NOT NULL)) AS pin,
       EXISTS (SELECT FROM totp WHERE principal_id = :principal_id AND confirmed_at IS NOT NULL)
           AS totp,
       EXISTS (SELECT FROM password WHERE principal_id = :principal_id) AS password,
       EXISTS (SELECT FROM passkey WHERE principal_id = :principal_id AND revoked_at IS NULL)
           AS passkey
""")

_LOCK_DEVICES = text("""
SELECT id FROM device WHERE principal_id = :principal_id AND revoked_at IS NULL
ORDER BY id FOR NO KEY UPDATE
""")

_PUSHES = text("""
SELECT count(*) FROM step_up
WHERE principal_id = :principal_id AND created_at > :since AND number_match IS NOT NULL
""")


def make_challenge(
    *,
    principal_id: UUID,
    device_id: UUID | None,
    operation: Operation,
    fields: Mapping[str, Any],
    summary: Mapping[str, Any],
    requirement: Requirement,
    now_us: int,
    push: bool = False,
) -> Challenge:
    """Return a challenge that is not written yet; see :func:`create_challenge`."""
    now = to_datetime(now_us)
    return Challenge(
        id=new_id(now_us=now_us),
        principal_id=principal_id,
        device_id=device_id,
        operation=operation,
        op_hash=op_hash(fields),
        nonce=secrets.token_bytes(NONCE_BYTES),
        summary=dict(summary),
        required=requirement.require,
        max_age_s=requirement.max_age_s,
        number_match=f"{secrets.randbelow(100):02}" if push else None,
        created_at=now,
        expires_at=now + timedelta(seconds=EXPIRES_S),
    )


async def create_challenge(
    connection: AsyncConnection,
    *,
    challenge: Challenge,
    now_us: int,
    offered: frozenset[Acr] = frozenset(),
) -> Challenge:
    """Write a challenge in the caller's transaction, tell its holder's phone, and return it.

    ``offered`` are levels that the door can reach beyond what is enrolled here, such as ``jpki``
    through the identity app. Raises :class:`RefusedError` ``factor_not_enrolled`` when nothing
    enrolled or offered would do (which is never a reason to let anybody through), and
    ``push_too_often`` for the fourth push within :data:`PUSH_WINDOW_S` seconds.
    """
    levels = await enrolled_levels(connection, principal_id=challenge.principal_id) | offered
    if not satisfies(levels, challenge.required):
        raise RefusedError("factor_not_enrolled", acr_values=list(challenge.required))
    if challenge.number_match is not None:
        await _check_pushes(connection, challenge)
    await insert_step_up(connection, challenge)
    await tell(
        connection,
        kind="step_up.requested",
        body={
            "challenge_id": challenge.id,
            "principal_id": challenge.principal_id,
            "device_id": challenge.device_id,
        },
        now_us=now_us,
    )
    return challenge


async def enrolled_levels(connection: AsyncConnection, *, principal_id: UUID) -> frozenset[Acr]:
    """Return the levels that a principal can reach with what is enrolled, on some device."""
    row = (await connection.execute(_ENROLLED, {"principal_id": principal_id})).mappings().one()
    return levels_of(**row)


def levels_of(
    *, device: bool, pin: bool, totp: bool, password: bool, passkey: bool
) -> frozenset[Acr]:
    """Return the levels that somebody can reach who has enrolled these."""
    levels = {
        Acr.DEV: device,
        Acr.PIN: pin,
        Acr.OTP: totp and (pin or password),
        Acr.PHR: passkey,
    }
    return frozenset().union(*(INCLUDED[level] for level, there in levels.items() if there))


async def _check_pushes(connection: AsyncConnection, challenge: Challenge) -> None:
    """Count the principal's recent pushes, with the devices locked so that nobody counts beside."""
    values = {"principal_id": challenge.principal_id}
    await connection.execute(_LOCK_DEVICES, values)
    since = challenge.created_at - timedelta(seconds=PUSH_WINDOW_S)
    pushes = (await connection.execute(_PUSHES, {**values, "since": since})).scalar_one()
    if pushes >= PUSHES_MAX:
        raise RefusedError("push_too_often", retry_after_s=PUSH_WINDOW_S)
