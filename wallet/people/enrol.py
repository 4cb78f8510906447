"""Enrol somebody new: a visitor by a contact that works, or anybody by a phone that holds keys.

Whoever enrols gets a person, an empty wallet, their first device and its session in one go, and
may set their first factors with it. Nothing here looks for a person who is there already: a
contact or a device that is somebody's opens nothing of theirs.
"""

from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.enrol_device import NewDevice, enrol_device
from wallet.auth.guess_limits import allow, fail, subjects_of
from wallet.auth.open_session import RESIDENT, open_session
from wallet.auth.pin import set_pin
from wallet.auth.rules import Method, show
from wallet.auth.tokens import Tokens
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.contact_codes import Asker, use_code
from wallet.people.contacts import keep_contact
from wallet.people.persons import Opened, open_person
from wallet.people.rules import Contact, Tier

ENROLLED: Final = "person.enrolled"


class Newcomer(msgspec.Struct, frozen=True):
    """Somebody who has just enrolled."""

    person_id: UUID
    wallet_id: UUID
    device_id: UUID
    tier: Tier
    tokens: Tokens


class FirstDevice(msgspec.Struct, frozen=True, kw_only=True):
    """The phone somebody enrols with; the key was proved by whoever calls. A PIN is optional."""

    new: NewDevice
    pin: str | None = None

    @property
    def is_held_by_its_user(self) -> bool:
        """Whether more than possession will be shown on it: a finger, a face or a PIN."""
        return self.pin is not None or self.new.verified_key is not None


async def enrol_visitor(
    connection: AsyncConnection,
    *,
    code_id: UUID,
    code: str,
    device: FirstDevice,
    asker: Asker,
    pepper: bytes,
    now_us: int,
) -> Newcomer | Refusal:
    """Enrol the reader of a code that was sent to a contact.

    Refuses with ``contact_code_wrong`` and ``too_many_tries``; the caller commits whatever the
    answer is. Raises :class:`RefusedError` ``contact_in_use`` when somebody else has shown the
    same contact in between, and what :func:`~wallet.auth.enrol_device.enrol_device` and
    :func:`~wallet.auth.pin.set_pin` raise, with nothing done.
    """
    contact = await use_code(
        connection, code_id=code_id, code=code, asker=asker, pepper=pepper, now_us=now_us
    )
    if isinstance(contact, Refusal):
        return contact
    return await _enrol(connection, device=device, contact=contact, pepper=pepper, now_us=now_us)


async def enrol_device_person(
    connection: AsyncConnection,
    *,
    device: FirstDevice,
    address: str | None,
    pepper: bytes,
    now_us: int,
) -> Newcomer | Refusal:
    """Enrol the holder of a phone without asking who or where they are.

    Refuses with ``too_many_tries`` when too many have enrolled from the caller's network or in all
    the city; the caller commits whatever the answer is. Raises :class:`RefusedError`
    ``factor_missing`` for a phone that shows nothing but possession, and as
    :func:`enrol_visitor` does.
    """
    if not device.is_held_by_its_user:
        raise RefusedError("factor_missing")
    counted_for = subjects_of(pepper=pepper, address=address)
    refusal = await allow(connection, kind="enrol", subjects=counted_for, now_us=now_us)
    if refusal is not None:
        return refusal
    newcomer = await _enrol(connection, device=device, contact=None, pepper=pepper, now_us=now_us)
    await fail(connection, kind="enrol", subjects=counted_for, now_us=now_us)
    return newcomer


async def _enrol(
    connection: AsyncConnection,
    *,
    device: FirstDevice,
    contact: Contact | None,
    pepper: bytes,
    now_us: int,
) -> Newcomer:
    tier = Tier.DEVICE if device.is_held_by_its_user else Tier.VISITOR
    opened = await open_person(connection, tier=tier, now_us=now_us)
    if contact is not None:
        await keep_contact(
            connection, person_id=opened.person_id, contact=contact, pepper=pepper, now_us=now_us
        )
    enrolled = await enrol_device(
        connection, principal_id=opened.person_id, new=device.new, now_us=now_us
    )
    if device.pin is not None:
        await set_pin(
            connection,
            device_id=enrolled.device_id,
            pin=device.pin,
            known=() if contact is None else (contact.value,),
            pepper=pepper,
            now_us=now_us,
        )
    tokens = await open_session(
        connection,
        principal_id=opened.person_id,
        device_id=enrolled.device_id,
        shown=show(Method.DEVICE_KEY, at_us=now_us),
        terms=RESIDENT,
        pepper=pepper,
        now_us=now_us,
    )
    await _tell(connection, opened, tier, now_us)
    return Newcomer(opened.person_id, opened.wallet_id, enrolled.device_id, tier, tokens)


async def _tell(connection: AsyncConnection, opened: Opened, tier: Tier, now_us: int) -> None:
    body = {"principal_id": opened.person_id, "wallet_id": opened.wallet_id, "tier": tier}
    await tell(connection, kind=ENROLLED, body=body, now_us=now_us)
