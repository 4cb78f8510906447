"""Enrol a device: from now on a phone is known by the key it keeps, and later by a second one.

The door has verified a proof by the device key before (:mod:`wallet.auth.proofs`), so whoever
enrols holds it. The second key is one that the phone lends only to its user's finger, face or
screen lock; it signs the thumbprint of the first to show that both are in one hand.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.proofs import is_signed, load_key, thumbprint_of
from wallet.auth.tables import device
from wallet.core.clock import to_datetime
from wallet.core.ids import new_id
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError

COOLING_S: Final = 12 * 3_600
"""Little can be done for 12 hours after a change of how one signs in (MAS circular, 2024-10)."""

DEVICES_MAX: Final = 5

# Two enrolments of one principal wait for each other here once there is a device; what the first
# has added, the second sees only in a statement of its own.
_LOCK_DEVICES = text("""
SELECT id FROM device WHERE principal_id = :principal_id ORDER BY id FOR NO KEY UPDATE
""")

_DEVICES = text("""
SELECT id, thumbprint, cooling_until, revoked_at FROM device
WHERE principal_id = :principal_id ORDER BY id
""")

_SET_VERIFIED_KEY = text("""
UPDATE device SET verified_key = :verified_key WHERE id = :device_id
RETURNING thumbprint
""")

_COOL = text("""
UPDATE device SET cooling_until = :until
WHERE principal_id = :principal_id AND revoked_at IS NULL
  AND (cooling_until IS NULL OR cooling_until < :until)
""")


class VerifiedKey(msgspec.Struct, frozen=True, gc=False):
    """The second key and its ES256 (r and s) over the thumbprint of the first."""

    public_key: bytes
    signature: bytes


class NewDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device to enrol: its key as 65 bytes (SEC 1), and what its holder will know it by."""

    public_key: bytes
    verified_key: VerifiedKey | None
    name: str
    app_version: str


class Enrolled(msgspec.Struct, frozen=True):
    """The device there is now; ``cools_off`` when its holder had devices before it."""

    device_id: UUID
    cools_off: bool


async def enrol_device(
    connection: AsyncConnection, *, principal_id: UUID, new: NewDevice, now_us: int
) -> Enrolled:
    """Enrol a device in the caller's transaction; a repeat with the same key finds it enrolled.

    The first device of a principal may do everything at once. Any further one cools off, and the
    older ones are told by the outbox event ``security.device_added``. Raises :class:`RefusedError`
    ``device_key_invalid``, ``device_key_taken`` (by somebody else, or revoked: make a new key) or
    ``devices_too_many``.
    """
    _check_keys(new)
    thumbprint = thumbprint_of(new.public_key)
    rows = await _lock_devices(connection, principal_id)
    older = [row for row in rows if row.revoked_at is None]
    for row in older:
        if row.thumbprint == thumbprint:
            return Enrolled(row.id, cools_off=row.cooling_until is not None)
    if len(older) >= DEVICES_MAX:
        raise RefusedError("devices_too_many", devices_max=DEVICES_MAX)
    cools_off = bool(rows)
    enrolled = Enrolled(new_id(now_us=now_us), cools_off=cools_off)
    await _insert(connection, enrolled, principal_id, new, thumbprint, now_us)
    if cools_off:
        body = {"principal_id": principal_id, "device_id": enrolled.device_id}
        told = {**body, "told_device_ids": [row.id for row in older]}
        await tell(connection, kind="security.device_added", body=told, now_us=now_us)
    return enrolled


async def change_verified_key(
    connection: AsyncConnection,
    *,
    principal_id: UUID,
    device_id: UUID,
    verified_key: VerifiedKey,
    now_us: int,
) -> None:
    """Give a device another second key, as when its holder's finger was enrolled anew.

    It is a change of how one signs in: the door has asked for what that takes, and all devices of
    the principal cool off. Raises :class:`RefusedError` ``device_unknown`` or
    ``device_key_invalid``.
    """
    rows = await _lock_devices(connection, principal_id)
    thumbprints = {row.id: row.thumbprint for row in rows if row.revoked_at is None}
    if device_id not in thumbprints:
        raise RefusedError("device_unknown")
    _check_verified_key(verified_key, thumbprints[device_id])
    await connection.execute(
        _SET_VERIFIED_KEY, {"device_id": device_id, "verified_key": verified_key.public_key}
    )
    await start_cooling_off(
        connection, principal_id=principal_id, because="verified_key", now_us=now_us
    )


async def start_cooling_off(
    connection: AsyncConnection, *, principal_id: UUID, because: str, now_us: int
) -> None:
    """Let all devices of a principal cool off, since how they sign in has changed; tell them.

    Call it in the transaction of the change: of a device, a PIN, a passkey, recovery, a contact.
    ``because`` names what has changed, in the outbox event ``security.sign_in_changed``.
    """
    until = to_datetime(now_us) + timedelta(seconds=COOLING_S)
    await connection.execute(_COOL, {"principal_id": principal_id, "until": until})
    await tell(
        connection,
        kind="security.sign_in_changed",
        body={"principal_id": principal_id, "because": because},
        now_us=now_us,
    )


async def _lock_devices(connection: AsyncConnection, principal_id: UUID) -> Sequence[Any]:
    values = {"principal_id": principal_id}
    await connection.execute(_LOCK_DEVICES, values)
    return (await connection.execute(_DEVICES, values)).all()


async def _insert(
    connection: AsyncConnection,
    enrolled: Enrolled,
    principal_id: UUID,
    new: NewDevice,
    thumbprint: bytes,
    now_us: int,
) -> None:
    now = to_datetime(now_us)
    row: dict[str, Any] = {
        "id": enrolled.device_id,
        "principal_id": principal_id,
        "public_key": new.public_key,
        "thumbprint": thumbprint,
        "verified_key": new.verified_key.public_key if new.verified_key else None,
        "name": new.name,
        "app_version": new.app_version,
        "enrolled_at": now,
        "cooling_until": now + timedelta(seconds=COOLING_S) if enrolled.cools_off else None,
    }
    try:
        async with connection.begin_nested():
            await connection.execute(device.insert().values(row))
    except IntegrityError as error:
        if "uq_device_thumbprint" not in str(error.orig):
            raise
        raise RefusedError("device_key_taken") from None


def _check_keys(new: NewDevice) -> None:
    try:
        load_key(new.public_key)
    except ValueError:
        raise RefusedError("device_key_invalid") from None
    if new.verified_key is not None:
        _check_verified_key(new.verified_key, thumbprint_of(new.public_key))
        if new.verified_key.public_key == new.public_key:
            raise RefusedError("device_key_invalid")


def _check_verified_key(verified_key: VerifiedKey, thumbprint: bytes) -> None:
    if not is_signed(
        thumbprint, signature=verified_key.signature, public_key=verified_key.public_key
    ):
        raise RefusedError("device_key_invalid")
