"""Find whom a support code names, for somebody who wants to give; and count those who guess."""

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.guess_limits import Subjects, allow, fail, subjects_of, succeed
from wallet.core.refusals import Refusal
from wallet.people.rules import read_support_code
from wallet.points.codes import EventCode, gift_code_hash, read_event_code

KIND: Final = "claim_code"
"""Codes of people, gifts and events are counted together: who guesses at one guesses at all."""

UNKNOWN_RECEIVER: Final = Refusal("gift_receiver_unknown")

_FIND: Final = text("SELECT id FROM person WHERE support_code = :code AND state = 'active'")
_FIND_GIVEN: Final = text("""
SELECT g.receiver_id FROM gift AS g JOIN person AS p ON p.id = g.receiver_id
WHERE g.giver_id = :giver_id AND g.idempotency_key = :idempotency_key AND g.code_hash IS NULL
  AND p.support_code = :code
""")
_IS_GIFT: Final = text("SELECT EXISTS (SELECT FROM gift WHERE code_hash = :code_hash)")


def counted_for(
    *, person_id: UUID, device_id: UUID | None, address: str | None, pepper: bytes
) -> Subjects:
    """Return whom a try at any code here is counted for: the person's own phone."""
    return subjects_of(
        pepper=pepper, account=f"points {person_id.hex}", device_id=device_id, address=address
    )


async def find_receiver(
    connection: AsyncConnection, *, support_code: str, subjects: Subjects, now_us: int
) -> UUID | Refusal:
    """Return whom a support code names; commit whatever the answer is.

    Refuses with ``gift_receiver_unknown`` whether nobody has the code or somebody who is frozen,
    and with ``too_many_tries``.
    """
    refusal = await allow(connection, kind=KIND, subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    values = {"code": read_support_code(support_code)}
    person_id: UUID | None = (await connection.execute(_FIND, values)).scalar_one_or_none()
    if person_id is None:
        await fail(connection, kind=KIND, subjects=subjects, now_us=now_us)
        return UNKNOWN_RECEIVER
    await succeed(connection, kind=KIND, subjects=subjects, now_us=now_us)
    return person_id


async def find_given(
    connection: AsyncConnection, *, giver_id: UUID, idempotency_key: str, support_code: str
) -> UUID | None:
    """Return who was given something under this key by this very code, None before the first time.

    Whatever has become of them since, and however often the giver has guessed.
    """
    values = {
        "giver_id": giver_id,
        "idempotency_key": idempotency_key,
        "code": read_support_code(support_code),
    }
    found: UUID | None = (await connection.execute(_FIND_GIVEN, values)).scalar_one_or_none()
    return found


async def check_gift_code(
    connection: AsyncConnection, *, code: str, subjects: Subjects, pepper: bytes, now_us: int
) -> bytes | Refusal:
    """Return the hash of a gift's code; refuses as above with ``gift_code_unknown``."""
    refusal = await allow(connection, kind=KIND, subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    code_hash = gift_code_hash(code, pepper=pepper)
    if not (await connection.execute(_IS_GIFT, {"code_hash": code_hash})).scalar_one():
        await fail(connection, kind=KIND, subjects=subjects, now_us=now_us)
        return Refusal("gift_code_unknown")
    await succeed(connection, kind=KIND, subjects=subjects, now_us=now_us)
    return code_hash


async def check_event_code(
    connection: AsyncConnection, *, code: str, subjects: Subjects, pepper: bytes, now_us: int
) -> EventCode | Refusal:
    """Return what an event's code says; refuses as above with ``event_code_unknown``."""
    refusal = await allow(connection, kind=KIND, subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    said = read_event_code(code, pepper=pepper)
    if said is None:
        await fail(connection, kind=KIND, subjects=subjects, now_us=now_us)
        return Refusal("event_code_unknown")
    await succeed(connection, kind=KIND, subjects=subjects, now_us=now_us)
    return said
