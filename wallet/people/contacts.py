"""Contacts: kept sealed, found by a keyed hash, one person's at a time, changed only with proof.

A contact tells a person things. It lets nobody in, and changing it takes what changing any way of
signing in takes, because the person hears of trouble there.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.authenticate import Caller
from wallet.auth.use_step_up import Approval
from wallet.core.clock import to_datetime
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.changes import permit_change
from wallet.people.contact_codes import (
    Asker,
    contact_hash,
    seal_contact,
    unseal_contact,
    use_code,
)
from wallet.people.rules import Contact, ContactKind

_KEEP: Final = text("""
INSERT INTO contact (person_id, kind, value_sealed, value_hash, verified_at)
VALUES (:person_id, :kind, :value_sealed, :value_hash, :now)
ON CONFLICT (person_id, kind)
DO UPDATE SET value_sealed = EXCLUDED.value_sealed, value_hash = EXCLUDED.value_hash,
              verified_at = EXCLUDED.verified_at
""")

_FIND_OWNER: Final = text("""
SELECT person_id FROM contact WHERE kind = :kind AND value_hash = :value_hash
""")

_LIST: Final = text("""
SELECT kind, value_sealed FROM contact WHERE person_id = :person_id ORDER BY kind
""")


async def keep_contact(
    connection: AsyncConnection, *, person_id: UUID, contact: Contact, pepper: bytes, now_us: int
) -> None:
    """Keep a contact that was seen to work, in place of the person's old one of its kind.

    Raises :class:`RefusedError` ``contact_in_use`` when it is somebody else's by now.
    """
    row = {
        "person_id": person_id,
        "kind": contact.kind,
        "value_sealed": seal_contact(contact, owner=person_id, pepper=pepper),
        "value_hash": contact_hash(contact, pepper=pepper),
        "now": to_datetime(now_us),
    }
    try:
        async with connection.begin_nested():
            await connection.execute(_KEEP, row)
    except IntegrityError as error:
        if "uq_contact_kind_value_hash" not in str(error.orig):
            raise
        raise RefusedError("contact_in_use") from None


async def change_contact(
    connection: AsyncConnection,
    *,
    caller: Caller,
    approval: Approval | None,
    code_id: UUID,
    code: str,
    asker: Asker,
    pepper: bytes,
    now_us: int,
) -> Contact | Refusal:
    """Give a person the contact that a code was sent to.

    The code is looked at first, so that a slip of the finger costs no confirmation. Refuses with
    ``contact_code_wrong`` and ``too_many_tries``; the caller commits whatever the answer is. Raises
    :class:`RefusedError` ``contact_in_use``, and as :func:`~wallet.people.changes.permit_change`.
    """
    contact = await use_code(
        connection, code_id=code_id, code=code, asker=asker, pepper=pepper, now_us=now_us
    )
    if isinstance(contact, Refusal):
        return contact
    await permit_change(
        connection, caller=caller, approval=approval, because="contact", now_us=now_us
    )
    await keep_contact(
        connection,
        person_id=caller.principal_id,
        contact=contact,
        pepper=pepper,
        now_us=now_us,
    )
    return contact


async def find_owner(
    connection: AsyncConnection, *, contact: Contact, pepper: bytes
) -> UUID | None:
    """Return whose contact it is; the same statement whether it is anybody's or nobody's."""
    values = {"kind": contact.kind, "value_hash": contact_hash(contact, pepper=pepper)}
    owner: UUID | None = (await connection.execute(_FIND_OWNER, values)).scalar_one_or_none()
    return owner


async def list_contacts(
    connection: AsyncConnection, *, person_id: UUID, pepper: bytes
) -> Mapping[ContactKind, Contact]:
    """Return the person's contacts, opened, by kind."""
    rows = await connection.execute(_LIST, {"person_id": person_id})
    return {
        ContactKind(kind): unseal_contact(sealed, kind=kind, owner=person_id, pepper=pepper)
        for kind, sealed in rows
    }
