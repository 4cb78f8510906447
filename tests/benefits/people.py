"""People who claim: proven or not, with wards and with those who help them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from wallet.benefits.claim import know_beneficiary
from wallet.benefits.secrets import beneficiary_hash
from wallet.core.database import read, write
from wallet.people.guardians import add_guardianship
from wallet.people.persons import Person, find_person, open_person
from wallet.people.rules import Tier


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """Somebody, and the wallet they have."""

    person: Person
    wallet_id: UUID


async def make_claimant(engine: AsyncEngine, *, tier: Tier = Tier.COUNTER) -> Claimant:
    """Open a person; proven at the counter unless another tier is asked for."""
    opened = await write(
        engine, lambda connection: open_person(connection, tier=tier, now_us=NOW_US)
    )
    async with read(engine) as connection:
        person = await find_person(connection, person_id=opened.person_id)
    assert person is not None
    return Claimant(person=person, wallet_id=opened.wallet_id)


async def know(engine: AsyncEngine, who: Claimant, ref: str) -> bool:
    """Keep, as the counter does, who a reference is."""

    async def work(connection: AsyncConnection) -> bool:
        return await know_beneficiary(
            connection,
            beneficiary_hash=beneficiary_hash(ref, pepper=PEPPER),
            person_id=who.person.id,
            proven_by="counter",
            now_us=NOW_US,
        )

    return await write(engine, work)


async def guard(engine: AsyncEngine, guardian_id: UUID, ward_wallet_id: UUID) -> None:
    """Make somebody the guardian of a wallet."""
    await write(
        engine,
        lambda connection: add_guardianship(
            connection,
            guardian_id=guardian_id,
            wallet_id=ward_wallet_id,
            kind="child",
            now_us=NOW_US,
        ),
    )
