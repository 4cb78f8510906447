"""What the counter and the help desk may see of people: found by what they say, and masked.

Nobody can be searched for by a part of anything: a contact, a support code, a card's printed
number or an id finds the one person it belongs to, or nobody.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.ids import parse_public_id
from wallet.people.contacts import find_owner, list_contacts
from wallet.people.persons import Person, find_person
from wallet.people.rules import (
    ContactKind,
    masked,
    read_contact,
    read_printed_number,
    read_support_code,
)

WALLETS_SHOWN_MAX: Final = 20

_BY_SUPPORT_CODE: Final = text("SELECT id FROM person WHERE support_code = :value")

_BY_CARD: Final = text("""
SELECT w.person_id FROM card AS c JOIN wallet AS w ON w.id = c.wallet_id
WHERE c.printed_number = :value AND w.person_id IS NOT NULL
""")

_WALLETS: Final = text("""
SELECT id, state FROM wallet WHERE person_id = :person_id ORDER BY id LIMIT :most
""")

# One step in each direction: who stands by the person, and by whom the person stands.
_STAND_BY: Final = text("""
SELECT g.guardian_id FROM guardianship AS g JOIN wallet AS w ON w.id = g.wallet_id
WHERE w.person_id = :person_id AND g.until IS NULL
UNION
SELECT w.person_id FROM guardianship AS g JOIN wallet AS w ON w.id = g.wallet_id
WHERE g.guardian_id = :person_id AND g.until IS NULL
UNION
SELECT h.helper_id FROM helper AS h JOIN wallet AS w ON w.id = h.wallet_id
WHERE w.person_id = :person_id AND h.revoked_at IS NULL
UNION
SELECT w.person_id FROM helper AS h JOIN wallet AS w ON w.id = h.wallet_id
WHERE h.helper_id = :person_id AND h.revoked_at IS NULL
""")


class SearchBy(StrEnum):
    """What somebody at the counter or on the telephone says of themselves."""

    PERSON_ID = "person_id"
    SUPPORT_CODE = "support_code"
    EMAIL = "email"
    PHONE = "phone"
    CARD_NUMBER = "card_number"


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """A person for those who help them; ``contacts`` are masked."""

    id: UUID
    tier: str
    state: str
    frozen_because: str | None
    resident: bool | None
    opened_at: datetime
    contacts: Mapping[ContactKind, str]
    wallets: list[tuple[UUID, str]]


async def search_person(
    connection: AsyncConnection, *, by: SearchBy, value: str, pepper: bytes
) -> UUID | None:
    """Return whom a value belongs to, exactly; None for nobody and for no such form."""
    if by is SearchBy.PERSON_ID:
        person_id = parse_public_id("per", value)
        found = None if person_id is None else await find_person(connection, person_id=person_id)
        return None if found is None else found.id
    if by is SearchBy.SUPPORT_CODE:
        code = read_support_code(value)
        return None if code is None else await _one(connection, _BY_SUPPORT_CODE, code)
    if by is SearchBy.CARD_NUMBER:
        number = read_printed_number(value)
        return await _one(connection, _BY_CARD, number) if number else None
    contact = read_contact(ContactKind(by.value), value)
    return None if contact is None else await find_owner(connection, contact=contact, pepper=pepper)


async def view_person(
    connection: AsyncConnection, *, person_id: UUID, pepper: bytes
) -> PersonView | None:
    """Return a person as those who help them may see them, None when there is none."""
    person = await find_person(connection, person_id=person_id)
    if person is None:
        return None
    contacts = await list_contacts(connection, person_id=person_id, pepper=pepper)
    values = {"person_id": person_id, "most": WALLETS_SHOWN_MAX}
    wallets = [(row.id, row.state) for row in await connection.execute(_WALLETS, values)]
    return _view(person, {kind: masked(one) for kind, one in contacts.items()}, wallets)


async def stand_by(connection: AsyncConnection, *, person_id: UUID) -> frozenset[UUID]:
    """Return the person with their guardians, wards, helpers, and those whom they help."""
    rows = await connection.execute(_STAND_BY, {"person_id": person_id})
    return frozenset({person_id, *(one for one in rows.scalars() if one is not None)})


async def _one(connection: AsyncConnection, statement: TextClause, value: str) -> UUID | None:
    found: UUID | None = (
        await connection.execute(statement, {"value": value})
    ).scalar_one_or_none()
    return found


def _view(
    person: Person, contacts: Mapping[ContactKind, str], wallets: list[tuple[UUID, str]]
) -> PersonView:
    return PersonView(
        id=person.id,
        tier=person.tier,
        state=person.state,
        frozen_because=person.frozen_because,
        resident=person.resident,
        opened_at=person.opened_at,
        contacts=contacts,
        wallets=wallets,
    )
