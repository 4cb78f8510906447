"""Invite a further device: an old one shows a code, or the counter prints one.

The new one answers with it and with the proof of its own key.
"""

from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.enrol_device import NewDevice
from wallet.auth.guess_limits import allow, fail, subjects_of
from wallet.auth.open_session import RESIDENT, open_session
from wallet.auth.rules import Method, show
from wallet.core.clock import to_datetime
from wallet.core.ids import keyed_hash, new_secret
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.persons import lock_person
from wallet.people.sign_in import SignedIn, add_device
from wallet.people.tables import device_invitation

EXPIRES_S: Final = {"device": 300, "counter": 1_800}
"""A screen shows its code to the phone beside it; what the counter prints is used at home."""

UNKNOWN: Final = Refusal("invitation_unknown")
"""For a code that nobody was given, was used, or is too old."""

InvitedBy = Literal["device", "counter"]

_SWEEP: Final = text("""
DELETE FROM device_invitation WHERE code_hash = ANY (ARRAY(
    SELECT code_hash FROM device_invitation WHERE expires_at < :now
    ORDER BY expires_at LIMIT 2 FOR UPDATE SKIP LOCKED))
""")

_VOID: Final = text("""
UPDATE device_invitation SET used_at = :now WHERE person_id = :person_id AND used_at IS NULL
""")

_USE: Final = text("""
UPDATE device_invitation SET used_at = :now
WHERE code_hash = :code_hash AND used_at IS NULL AND expires_at > :now
RETURNING person_id, invited_by
""")


async def invite_device(
    connection: AsyncConnection,
    *,
    person_id: UUID,
    invited_by: InvitedBy,
    pepper: bytes,
    now_us: int,
) -> str:
    """Return a code with which one new device can be added; earlier ones of the person are void.

    The caller has asked for a step-up, or stands at the counter and has seen a document. Raises
    :class:`RefusedError` ``person_unknown``.
    """
    now = to_datetime(now_us)
    await lock_person(connection, person_id=person_id)
    await connection.execute(_SWEEP, {"now": now})
    await connection.execute(_VOID, {"person_id": person_id, "now": now})
    code = new_secret("invite_")
    await connection.execute(
        device_invitation.insert().values(
            code_hash=_hash(code, pepper),
            person_id=person_id,
            invited_by=invited_by,
            created_at=now,
            expires_at=now + timedelta(seconds=EXPIRES_S[invited_by]),
        )
    )
    return code


async def accept_invitation(
    connection: AsyncConnection,
    *,
    code: str,
    new: NewDevice,
    address: str | None,
    pepper: bytes,
    now_us: int,
) -> SignedIn | Refusal:
    """Add the device whose key was proved to whoever invited it, and open its session.

    The old devices are told, and everything cools off. Refuses with :data:`UNKNOWN` and
    ``too_many_tries``; the caller commits whatever the answer is. Raises :class:`RefusedError`
    ``device_key_invalid``, ``device_key_taken`` and ``devices_too_many``.
    """
    counted_for = subjects_of(pepper=pepper, address=address)
    refusal = await allow(connection, kind="enrol", subjects=counted_for, now_us=now_us)
    if refusal is not None:
        return refusal
    values = {"code_hash": _hash(code, pepper), "now": to_datetime(now_us)}
    row = (await connection.execute(_USE, values)).one_or_none()
    if row is None:
        await fail(connection, kind="enrol", subjects=counted_for, now_us=now_us)
        return UNKNOWN
    try:
        person = await lock_person(connection, person_id=row.person_id)
    except RefusedError:
        return UNKNOWN
    because = "recovery" if row.invited_by == "counter" else "device"
    device_id = await add_device(
        connection, person_id=person.id, new=new, because=because, now_us=now_us
    )
    tokens = await open_session(
        connection,
        principal_id=person.id,
        device_id=device_id,
        shown=show(Method.DEVICE_KEY, at_us=now_us),
        terms=RESIDENT,
        pepper=pepper,
        now_us=now_us,
    )
    return SignedIn(person.id, device_id, tokens)


def _hash(code: str, pepper: bytes) -> bytes:
    return keyed_hash(f"device invitation {code}", pepper=pepper)
