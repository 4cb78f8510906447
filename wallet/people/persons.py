"""The rows of people: written, found and locked; what they mean is in the verbs."""

import secrets
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.ids import keyed_hash, new_id
from wallet.core.refusals import RefusedError
from wallet.people.open_wallets import NewWallet, insert_wallets
from wallet.people.rules import SUPPORT_ALPHABET, SUPPORT_CHARACTERS, Tier
from wallet.people.tiers import limits_of

_DRAWS_MAX: Final = 10

_INSERT = text("""
INSERT INTO person (id, tier, state, support_code, opened_at)
VALUES (:id, :tier, 'active', :support_code, :now)
ON CONFLICT (support_code) DO NOTHING
""")

_COLUMNS: Final = """
id, tier, state, frozen_because, resident, subject_hash, support_code, cooling_until, opened_at
"""

_FIND = text(f"SELECT {_COLUMNS} FROM person WHERE id = :person_id")  # noqa: S608 - our columns
_LOCK = text(f"SELECT {_COLUMNS} FROM person WHERE id = :person_id FOR NO KEY UPDATE")  # noqa: S608 - as above
_FIND_BY_SUBJECT = text(f"SELECT {_COLUMNS} FROM person WHERE subject_hash = :subject_hash")  # noqa: S608 - as above

_SET_TIER = text("UPDATE person SET tier = :tier WHERE id = :person_id AND tier < :tier")

# A limit that its holder has lowered stays as it is; one that was the old tier's rises.
_RAISE_WALLETS = text("""
UPDATE wallet SET tier = :tier,
    holder = CASE WHEN :resident THEN 'resident' ELSE holder END,
    payment_limit_yen = CASE WHEN payment_limit_yen = :old_payment_yen THEN :payment_yen
                             ELSE payment_limit_yen END,
    daily_limit_yen = CASE WHEN daily_limit_yen = :old_day_yen THEN :day_yen
                           ELSE daily_limit_yen END
WHERE person_id = :person_id AND tier <= :tier
""")


_IS_HELD = text("""
SELECT EXISTS (SELECT FROM device AS d LEFT JOIN pin AS p ON p.device_id = d.id
               WHERE d.principal_id = :person_id AND d.revoked_at IS NULL
                 AND (d.verified_key IS NOT NULL OR p.device_id IS NOT NULL))
""")


class Person(msgspec.Struct, frozen=True):
    """A person as the city knows them: by how well, and by no name."""

    id: UUID
    tier: Tier
    state: str
    frozen_because: str | None
    resident: bool | None
    subject_hash: bytes | None
    support_code: str
    cooling_until: datetime | None
    opened_at: datetime

    def cools_off(self, *, now_us: int) -> bool:
        """Whether a change of how they sign in was not long ago."""
        return self.cooling_until is not None and self.cooling_until > to_datetime(now_us)


class Opened(msgspec.Struct, frozen=True):
    """A new person and their wallet."""

    person_id: UUID
    wallet_id: UUID


async def open_person(connection: AsyncConnection, *, tier: Tier, now_us: int) -> Opened:
    """Write a new person with a wallet whose limits are the tier's, and return their ids."""
    opened = Opened(new_id(now_us=now_us), new_id(now_us=now_us))
    for _ in range(_DRAWS_MAX):
        row = {
            "id": opened.person_id,
            "tier": tier,
            "support_code": _draw_support_code(),
            "now": to_datetime(now_us),
        }
        if (await connection.execute(_INSERT, row)).rowcount:
            break
    else:
        message = "no free support code was drawn; eight characters no longer suffice"
        raise RuntimeError(message)
    limits = limits_of(tier)
    wallet = NewWallet(
        opened.wallet_id,
        "visitor",
        limits.payment_yen,
        limits.day_yen,
        person_id=opened.person_id,
        tier=tier,
    )
    await insert_wallets(connection, wallets=[wallet], now_us=now_us)
    return opened


async def find_person(connection: AsyncConnection, *, person_id: UUID) -> Person | None:
    """Return a person, None when there is no such one, as for a member of staff."""
    row = (await connection.execute(_FIND, {"person_id": person_id})).one_or_none()
    return None if row is None else _person(*row)


async def lock_person(connection: AsyncConnection, *, person_id: UUID) -> Person:
    """Return a person, locked until the transaction ends; raises ``person_unknown``.

    A closed one is as good as unknown.
    """
    row = (await connection.execute(_LOCK, {"person_id": person_id})).one_or_none()
    if row is None or row.state == "closed":
        raise RefusedError("person_unknown")
    return _person(*row)


async def find_by_subject(connection: AsyncConnection, *, subject_hash: bytes) -> Person | None:
    """Return whom the identity app means, None for nobody whom the city has met."""
    row = (await connection.execute(_FIND_BY_SUBJECT, {"subject_hash": subject_hash})).one_or_none()
    return None if row is None or row.state == "closed" else _person(*row)


async def raise_tier(
    connection: AsyncConnection, *, person: Person, tier: Tier, resident: bool = False
) -> None:
    """Let a person and their wallets rise to a tier; nobody ever falls by it."""
    old, new = limits_of(person.tier), limits_of(tier)
    values = {"person_id": person.id, "tier": tier}
    await connection.execute(_SET_TIER, values)
    await connection.execute(
        _RAISE_WALLETS,
        {
            **values,
            "resident": resident,
            "old_payment_yen": old.payment_yen,
            "old_day_yen": old.day_yen,
            "payment_yen": new.payment_yen,
            "day_yen": new.day_yen,
        },
    )


async def settle_tier(connection: AsyncConnection, *, person_id: UUID) -> None:
    """Let a visitor rise to T1 whose phone has shown that its user holds it, by PIN or finger."""
    person = await lock_person(connection, person_id=person_id)
    held = (await connection.execute(_IS_HELD, {"person_id": person_id})).scalar_one()
    if person.tier is Tier.VISITOR and held:
        await raise_tier(connection, person=person, tier=Tier.DEVICE)


def subject_hash(subject: str, *, pepper: bytes) -> bytes:
    """Return all that is kept of the identity app's name for somebody.

    The issuer is no part of it: its spelling has changed before, and people would then be new.
    """
    return keyed_hash(f"identity subject {subject}", pepper=pepper)


def _draw_support_code() -> str:
    return "".join(secrets.choice(SUPPORT_ALPHABET) for _ in range(SUPPORT_CHARACTERS))


def _person(identifier: UUID, tier: str, *rest: object) -> Person:
    return Person(identifier, Tier(tier), *rest)  # type: ignore[arg-type] # as selected
