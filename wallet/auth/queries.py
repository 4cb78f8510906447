"""What a principal may see of how they sign in: devices, sessions, the challenge that waits."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.rules import Acr, Operation, challenge_of
from wallet.core.clock import to_datetime

CHALLENGES_SHOWN_MAX: Final = 10

_DEVICES = text("""
SELECT id, name, app_version, enrolled_at, cooling_until, revoked_at, verified_key IS NOT NULL
FROM device WHERE principal_id = :principal_id ORDER BY enrolled_at, id
""")

_SESSIONS = text("""
SELECT id, device_id, opened_at, rotated_at, expires_at FROM session
WHERE principal_id = :principal_id AND revoked_at IS NULL AND expires_at > :now
  AND rotated_at + make_interval(secs => idle_s) > :now
ORDER BY opened_at, id
""")

_CHALLENGES = text("""
SELECT id, operation, op_hash, nonce, summary, required, number_match IS NOT NULL AS asks_number,
       expires_at
FROM step_up
WHERE principal_id = :principal_id
  AND created_at > CAST(:now AS timestamptz) - make_interval(mins => 10)
  AND (device_id IS NULL OR device_id = CAST(:device_id AS uuid))
  AND expires_at > :now AND passed_at IS NULL AND failures < 5
ORDER BY created_at DESC LIMIT :most
""")


class Device(msgspec.Struct, frozen=True):
    """A device as its holder knows it; revoked ones stay in the list."""

    id: UUID
    name: str
    app_version: str
    enrolled_at: datetime
    cooling_until: datetime | None
    revoked_at: datetime | None
    has_verified_key: bool


class Session(msgspec.Struct, frozen=True):
    """A session that is open."""

    id: UUID
    device_id: UUID | None
    opened_at: datetime
    rotated_at: datetime
    expires_at: datetime


class Waiting(msgspec.Struct, frozen=True):
    """A challenge that waits for an answer: what to show, what to sign, what will do."""

    id: UUID
    operation: Operation
    summary: dict[str, Any]
    challenge: bytes
    required: tuple[Acr, ...]
    asks_number: bool
    expires_at: datetime


async def list_devices(connection: AsyncConnection, *, principal_id: UUID) -> list[Device]:
    """Return the principal's devices, oldest first."""
    rows = await connection.execute(_DEVICES, {"principal_id": principal_id})
    return [Device(*row) for row in rows]


async def list_sessions(
    connection: AsyncConnection, *, principal_id: UUID, now_us: int
) -> list[Session]:
    """Return the principal's open sessions, oldest first."""
    values = {"principal_id": principal_id, "now": to_datetime(now_us)}
    return [Session(*row) for row in await connection.execute(_SESSIONS, values)]


async def list_challenges(
    connection: AsyncConnection, *, principal_id: UUID, device_id: UUID | None, now_us: int
) -> list[Waiting]:
    """Return the challenges that this device of the principal's may answer now, newest first."""
    values = {
        "principal_id": principal_id,
        "device_id": device_id,
        "now": to_datetime(now_us),
        "most": CHALLENGES_SHOWN_MAX,
    }
    rows = await connection.execute(_CHALLENGES, values)
    return [
        Waiting(
            id=row.id,
            operation=Operation(row.operation),
            summary=row.summary,
            challenge=challenge_of(nonce=row.nonce, op_hash=row.op_hash),
            required=tuple(Acr(level) for level in row.required),
            asks_number=row.asks_number,
            expires_at=row.expires_at,
        )
        for row in rows
    ]
