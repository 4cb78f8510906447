"""People who have enrolled, with the phones they did it on."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import Phone
from tests.soft_device import SoftDevice
from wallet.auth.proofs import thumbprint_of
from wallet.core.database import read, write
from wallet.core.refusals import Refusal
from wallet.people.contact_codes import SENT, Asker, Message, open_message, send_code
from wallet.people.enrol import FirstDevice, Newcomer, enrol_device_person, enrol_visitor
from wallet.people.persons import Person, find_person
from wallet.people.rules import Contact, ContactKind, Tier, read_contact

PIN = "270519"

T = TypeVar("T")

_MESSAGE = text(
    "SELECT body FROM outbox WHERE kind = :kind AND body->>'contact_code_id' = :id ORDER BY seq"
)


@dataclass(frozen=True, kw_only=True)
class Resident:
    """Somebody who has enrolled: their phone, their wallet, their tier then."""

    phone: Phone
    wallet_id: UUID
    tier: Tier

    @property
    def id(self) -> UUID:
        """The person's id."""
        return self.phone.principal_id


def contact(value: str, kind: ContactKind = ContactKind.EMAIL) -> Contact:
    """Return a contact, or fail the test."""
    found = read_contact(kind, value)
    assert found is not None, value
    return found


def asker(soft: SoftDevice, *, person_id: UUID | None = None, address: str | None = None) -> Asker:
    """Return who asks by a phone's key."""
    return Asker(
        thumbprint=thumbprint_of(soft.key.public_key), person_id=person_id, address=address
    )


def resident_of(newcomer: Newcomer | Refusal, soft: SoftDevice) -> Resident:
    """Return whoever has just enrolled, or fail the test."""
    assert isinstance(newcomer, Newcomer), newcomer
    phone = Phone(
        principal_id=newcomer.person_id,
        device_id=newcomer.device_id,
        tokens=newcomer.tokens,
        soft=soft,
    )
    return Resident(phone=phone, wallet_id=newcomer.wallet_id, tier=newcomer.tier)


async def make_resident(
    engine: AsyncEngine, *, now_us: int = NOW_US, pin: str | None = PIN
) -> Resident:
    """Enrol somebody by their phone."""
    soft = SoftDevice()
    newcomer = await within(
        engine,
        lambda connection: enrol_device_person(
            connection,
            device=FirstDevice(new=soft.new_device(), pin=pin),
            address=None,
            pepper=PEPPER,
            now_us=now_us,
        ),
    )
    return resident_of(newcomer, soft)


async def make_visitor(
    engine: AsyncEngine, email: str, *, now_us: int = NOW_US, pin: str | None = None
) -> Resident:
    """Enrol somebody by an e-mail address, on a phone that shows nothing but possession."""
    soft = SoftDevice()
    code_id = await sent(engine, email, soft, now_us=now_us)
    message = await message_of(engine, code_id)
    newcomer = await within(
        engine,
        lambda connection: enrol_visitor(
            connection,
            code_id=code_id,
            code=message.code or "",
            device=FirstDevice(new=soft.new_device(verified_key=None), pin=pin),
            asker=asker(soft),
            pepper=PEPPER,
            now_us=now_us,
        ),
    )
    return resident_of(newcomer, soft)


async def sent(
    engine: AsyncEngine,
    email: str,
    soft: SoftDevice,
    *,
    person_id: UUID | None = None,
    now_us: int = NOW_US,
) -> UUID:
    """Have a code sent and return the number it goes by, or fail the test."""
    code_id = await within(
        engine,
        lambda connection: send_code(
            connection,
            to=contact(email),
            asker=asker(soft, person_id=person_id),
            pepper=PEPPER,
            now_us=now_us,
        ),
    )
    assert isinstance(code_id, UUID), code_id
    return code_id


async def message_of(engine: AsyncEngine, code_id: UUID) -> Message:
    """Return the message that a sender would have sent."""
    values = {"kind": SENT, "id": str(code_id)}
    async with read(engine) as connection:
        body: dict[str, Any] = (await connection.execute(_MESSAGE, values)).scalar_one()
    return open_message(body, pepper=PEPPER)


async def person_of(engine: AsyncEngine, person_id: UUID) -> Person:
    """Return a person as they stand."""
    async with read(engine) as connection:
        person = await find_person(connection, person_id=person_id)
    assert person is not None
    return person


async def within(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run work in a transaction of its own."""
    return await write(engine, work)


async def row_of(engine: AsyncEngine, statement: str, **values: object) -> Mapping[str, Any]:
    """Return the one row that a statement finds."""
    async with read(engine) as connection:
        return dict((await connection.execute(text(statement), values)).mappings().one())
