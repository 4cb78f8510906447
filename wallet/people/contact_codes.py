"""Codes that are sent to an e-mail address or a telephone, to see that somebody reads it there.

Such a code shows that a contact works. It is no factor: it opens no account, not even the one that
the contact belongs to. Who asks for a code for a contact that somebody else has hears the same
answer after the same work, and the message, which only the contact's owner reads, tells them that
they have an account already; no code fits the number that was given out.

The message goes to the outbox sealed, for the sender to open with :func:`open_message`.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.guess_limits import Subjects, allow, fail, subjects_of
from wallet.core.clock import to_datetime
from wallet.core.ids import keyed_hash, new_id
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal
from wallet.core.sealing import seal, unseal
from wallet.people.rules import Contact, ContactKind
from wallet.people.tables import contact_code

EXPIRES_S: Final = 600
"""At most ten minutes (OWASP ASVS 5.0, 6.5.5)."""

CODE_DIGITS: Final = 6
SENT: Final = "contact.code_sent"
"""Kind of the outbox event with a sealed message."""

WRONG: Final = Refusal("contact_code_wrong")
"""The one answer to a wrong, used, late or worn-out code, and to one that was never sent."""

CONTACT_PURPOSE: Final = "contact"
"""What contacts are sealed for, here and in their own table."""

_MESSAGE_PURPOSE: Final = "contact message"
_MAC_BYTES: Final = 32

_TAKEN = text("""
SELECT EXISTS (SELECT FROM contact WHERE kind = :kind AND value_hash = :value_hash
               AND person_id IS DISTINCT FROM CAST(:person_id AS uuid))
""")

# A try is counted before it is looked at, so however many arrive at once, five are looked at.
_TRY = text("""
UPDATE contact_code SET failures = failures + 1
WHERE id = :id AND thumbprint = :thumbprint AND used_at IS NULL AND expires_at > :now
  AND failures < 5 AND person_id IS NOT DISTINCT FROM CAST(:person_id AS uuid)
RETURNING kind, value_sealed, value_hash, code_mac
""")

_USE = text("UPDATE contact_code SET used_at = :now WHERE id = :id AND used_at IS NULL")

_SWEEP = text("""
DELETE FROM contact_code WHERE id = ANY (ARRAY(
    SELECT id FROM contact_code WHERE expires_at < :now
    ORDER BY expires_at LIMIT 2 FOR UPDATE SKIP LOCKED))
""")


class Message(msgspec.Struct, frozen=True):
    """What a sender is to send, and to whom; ``code`` None tells them they have an account."""

    kind: ContactKind
    to: str
    code: str | None


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: by the thumbprint of a device key that was just proved, and from where.

    ``person_id`` is None for somebody whom the city does not know yet.
    """

    thumbprint: bytes
    person_id: UUID | None = None
    address: str | None = None


async def send_code(
    connection: AsyncConnection, *, to: Contact, asker: Asker, pepper: bytes, now_us: int
) -> UUID | Refusal:
    """Have a code sent and return the number it goes by, or ``too_many_tries``.

    The caller commits whatever the answer is, since refused tries count as well. The same
    statements run whether the contact is somebody's or nobody's.
    """
    value_hash = contact_hash(to, pepper=pepper)
    counted_for = _subjects(value_hash, asker, pepper)
    refusal = await allow(connection, kind="contact_start", subjects=counted_for, now_us=now_us)
    if refusal is not None:
        return refusal
    owner = {"kind": to.kind, "value_hash": value_hash, "person_id": asker.person_id}
    taken: bool = (await connection.execute(_TAKEN, owner)).scalar_one()
    code_id, now = new_id(now_us=now_us), to_datetime(now_us)
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    mac = _mac(code_id, code, pepper)
    await connection.execute(_SWEEP, {"now": now})
    await connection.execute(
        contact_code.insert().values(
            id=code_id,
            value_sealed=seal_contact(to, owner=code_id, pepper=pepper),
            thumbprint=asker.thumbprint,
            code_mac=secrets.token_bytes(_MAC_BYTES) if taken else mac,
            created_at=now,
            expires_at=now + timedelta(seconds=EXPIRES_S),
            **owner,
        )
    )
    message = Message(to.kind, to.value, None if taken else code)
    await tell(connection, kind=SENT, body=_sealed_message(code_id, message, pepper), now_us=now_us)
    await fail(connection, kind="contact_start", subjects=counted_for, now_us=now_us)
    return code_id


async def use_code(
    connection: AsyncConnection,
    *,
    code_id: UUID,
    code: str,
    asker: Asker,
    pepper: bytes,
    now_us: int,
) -> Contact | Refusal:
    """Use a code up and return the contact it was sent to, or :data:`WRONG`.

    It works once, for the device key and the person that asked for it, within
    :data:`EXPIRES_S`, and is dead after five wrong tries. Refuses with ``too_many_tries`` as well.
    The caller commits whatever the answer is.
    """
    values: dict[str, Any] = {
        "id": code_id,
        "thumbprint": asker.thumbprint,
        "person_id": asker.person_id,
        "now": to_datetime(now_us),
    }
    row = (await connection.execute(_TRY, values)).mappings().one_or_none()
    counted_for = _subjects(None if row is None else row["value_hash"], asker, pepper)
    refusal = await allow(connection, kind="contact_code", subjects=counted_for, now_us=now_us)
    if refusal is not None:
        return refusal
    expected = bytes(_MAC_BYTES) if row is None else row["code_mac"]
    fits = hmac.compare_digest(_mac(code_id, code, pepper), expected)
    if row is None or not fits:
        await fail(connection, kind="contact_code", subjects=counted_for, now_us=now_us)
        return WRONG
    await connection.execute(_USE, values)
    return unseal_contact(row["value_sealed"], kind=row["kind"], owner=code_id, pepper=pepper)


def contact_hash(contact: Contact, *, pepper: bytes) -> bytes:
    """Return the keyed hash by which a contact is found again, however it was spelt."""
    return keyed_hash(f"contact {contact.kind} {contact.key}", pepper=pepper)


def seal_contact(contact: Contact, *, owner: UUID, pepper: bytes) -> bytes:
    """Return the contact encrypted for the row of ``owner``."""
    plain = msgspec.json.encode([contact.value, contact.key])
    return seal(plain, purpose=CONTACT_PURPOSE, owner=owner.bytes, pepper=pepper)


def unseal_contact(sealed: bytes, *, kind: str, owner: UUID, pepper: bytes) -> Contact:
    """Return what :func:`seal_contact` was given."""
    plain = unseal(sealed, purpose=CONTACT_PURPOSE, owner=owner.bytes, pepper=pepper)
    value, key = msgspec.json.decode(plain, type=tuple[str, str])
    return Contact(ContactKind(kind), value, key)


def open_message(body: dict[str, Any], *, pepper: bytes) -> Message:
    """Return the message in the body of an event :data:`SENT`."""
    owner = UUID(body["contact_code_id"])
    sealed = base64.b64decode(body["sealed"])
    plain = unseal(sealed, purpose=_MESSAGE_PURPOSE, owner=owner.bytes, pepper=pepper)
    return msgspec.json.decode(plain, type=Message)


def _sealed_message(code_id: UUID, message: Message, pepper: bytes) -> dict[str, Any]:
    sealed = seal(
        msgspec.json.encode(message), purpose=_MESSAGE_PURPOSE, owner=code_id.bytes, pepper=pepper
    )
    return {"contact_code_id": code_id, "sealed": base64.b64encode(sealed).decode("ascii")}


def _mac(code_id: UUID, code: str, pepper: bytes) -> bytes:
    content = code_id.bytes + code.encode("utf-8", "replace")
    return hashlib.blake2b(
        content, key=pepper, digest_size=_MAC_BYTES, person=b"contact code"
    ).digest()


def _subjects(value_hash: bytes | None, asker: Asker, pepper: bytes) -> Subjects:
    account = None if value_hash is None else value_hash.hex()
    return subjects_of(pepper=pepper, account=account, address=asker.address)
