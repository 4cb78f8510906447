"""Bonuses and coupons: drafts of programmes that give, and what came of it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from tests.factories.city import City
from tests.factories.payments import change
from tests.factories.programmes import make_programme, spending
from wallet.core.clock import to_datetime
from wallet.core.database import read
from wallet.core.ids import align_id, new_id
from wallet.programmes.bonus import Bonus
from wallet.programmes.coupons import Coupon
from wallet.programmes.rules import Spending
from wallet.programmes.terms import ProgrammeDraft

_GRANTS = text("""
SELECT rule, amount_yen, state FROM bonus_grant WHERE wallet_id = :wallet_id ORDER BY id
""")
_LEFT = text("""
SELECT (b.credits_posted - b.debits_posted)::bigint
FROM programme AS g JOIN balance AS b ON b.account_id = g.budget_account_id
WHERE g.code = :code
""")

_NOTE = """
INSERT INTO bonus_due (id, programme_id, event, bonus, wallet_id, base_yen, occurred_at, created_at)
SELECT :id, id, :event, CAST(:bonus AS text), :wallet_id, :base_yen, :now, :now
FROM programme WHERE code = :programme
"""


def bonus(
    code: str = "back",
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Bonus:
    """Return a bonus of 10 percent of every payment, with ``changes``."""
    return Bonus(code=code, **{"percent": 10, **changes})


def coupon(
    code: str = "spring",
    **changes: Any,  # noqa: ANN401 - as above
) -> Coupon:
    """Return a coupon of 300 yen off a payment of 500 or more, once a person, with ``changes``."""
    return Coupon(code=code, name="春の割引", **{"off_yen": 300, "minimum_yen": 500, **changes})


async def make_giving(
    city: City,
    code: str,
    *bonuses: Bonus,
    coupons: Sequence[Coupon] = (),
    budget_yen: int = 1_000_000,
    **changes: Any,  # noqa: ANN401 - fields of its spending
) -> str:
    """Create a programme of free money with the bonuses and coupons, and return its code."""
    rules: Spending = spending(**changes)
    draft = ProgrammeDraft(
        code=code,
        name="地域コイン",
        spending=rules,
        budget_yen=budget_yen,
        bonuses=tuple(bonuses),
        coupons=tuple(coupons),
    )
    await make_programme(city.teller, draft)
    return code


async def pick(city: City, wallet_id: UUID, coupon_key: str) -> None:
    """Have a wallet use a coupon next."""
    await change(
        city, "UPDATE wallet SET coupon = :key WHERE id = :id", key=coupon_key, id=wallet_id
    )


async def grants_of(city: City, wallet_id: UUID) -> list[tuple[str, int, str]]:
    """Return a wallet's bonuses: of which rule, how much, and in which state."""
    async with read(city.engine) as connection:
        rows = await connection.execute(_GRANTS, {"wallet_id": wallet_id})
        return [(row[0], row[1], row[2]) for row in rows]


async def budget_left(city: City, code: str) -> int:
    """Return what is left in a programme's budget, in yen."""
    async with read(city.engine) as connection:
        left: int = (await connection.execute(_LEFT, {"code": code})).scalar_one()
        return left


async def note_event(
    city: City,
    wallet_id: UUID,
    programme: str,
    *,
    event: str = "charge",
    base_yen: int = 1_000,
    bonus: str | None = None,
) -> UUID:
    """Write down an event as the room does in which it happens, and return its id."""
    due_id = align_id(new_id(now_us=city.clock()))
    await change(
        city,
        _NOTE,
        id=due_id,
        programme=programme,
        event=event,
        bonus=bonus,
        wallet_id=wallet_id,
        base_yen=base_yen,
        now=to_datetime(city.clock()),
    )
    return due_id
