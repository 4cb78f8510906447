"""Coupons for those who use them: which there are, and which one a wallet uses next."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import japanese_day
from wallet.core.refusals import Refusal
from wallet.programmes.coupons import Coupon, has_uses_left, is_open
from wallet.programmes.terms import Terms

_PROGRAMMES: Final = text("""
SELECT id, code, CAST(terms AS text) FROM programme
WHERE terms ? 'coupons' AND state = 'live' ORDER BY code
""")

_WALLET: Final = text("SELECT coalesce(person_id, id), coupon FROM wallet WHERE id = :wallet_id")

_USES: Final = text("""
SELECT holder_id, rule, uses FROM bonus_total
WHERE holder_id = ANY(CAST(:holder_ids AS uuid[])) AND rule = ANY(CAST(:keys AS text[]))
  AND period = ''
""")

_CHOOSE: Final = text("UPDATE wallet SET coupon = :key WHERE id = :wallet_id")


class CouponSeen(msgspec.Struct, frozen=True):
    """A coupon as its holder sees it. ``is_good`` says whether it may be used today."""

    programme: str
    name: str
    coupon: Coupon
    is_chosen: bool
    is_good: bool

    @property
    def key(self) -> str:
        """The name under which a wallet chooses it."""
        return self.coupon.key(self.programme)


async def list_coupons(
    connection: AsyncConnection, *, wallet_id: UUID, now_us: int
) -> list[CouponSeen]:
    """Return the coupons that a wallet may use today, and the one it has chosen in any case.

    What is for those who know its code is not shown before they have typed it in.
    """
    return [
        one
        for one in await _look_up(connection, wallet_id, now_us)
        if one.is_chosen or (one.is_good and one.coupon.entry_code is None)
    ]


async def choose_coupon(
    connection: AsyncConnection,
    *,
    wallet_id: UUID,
    key: str | None = None,
    entry_code: str | None = None,
    now_us: int,
) -> CouponSeen | Refusal:
    """Have the wallet's next payment that the coupon fits use it, instead of any other.

    It is named by its key, or by the code that opens it.
    """
    for one in await _look_up(connection, wallet_id, now_us):
        by_code = one.coupon.entry_code is not None and one.coupon.entry_code == entry_code
        if by_code or (one.key == key and (one.coupon.entry_code is None or one.is_chosen)):
            if not one.is_good:
                return Refusal("coupon_over")
            await connection.execute(_CHOOSE, {"wallet_id": wallet_id, "key": one.key})
            return msgspec.structs.replace(one, is_chosen=True)
    return Refusal("coupon_unknown")


async def drop_coupon(connection: AsyncConnection, *, wallet_id: UUID) -> None:
    """Have the wallet use no coupon."""
    await connection.execute(_CHOOSE, {"wallet_id": wallet_id, "key": None})


async def _look_up(
    connection: AsyncConnection, wallet_id: UUID, now_us: int
) -> Sequence[CouponSeen]:
    holder_id, chosen = (await connection.execute(_WALLET, {"wallet_id": wallet_id})).one()
    found = [
        (programme_id, code, terms, coupon)
        for programme_id, code, raw in await connection.execute(_PROGRAMMES)
        for terms in (msgspec.json.decode(raw, type=Terms),)
        for coupon in terms.coupons
    ]
    if not found:
        return ()
    keys = [coupon.key(code) for _, code, _, coupon in found]
    uses = await _uses(connection, {holder_id, *(one[0] for one in found)}, keys)
    day = japanese_day(now_us)
    return [
        CouponSeen(
            code,
            terms.name,
            coupon,
            is_chosen=key == chosen,
            is_good=is_open(coupon, day=day)
            and terms.spending.first_day <= day <= terms.spending.last_day
            and has_uses_left(
                coupon,
                uses=uses.get((holder_id, key), 0),
                uses_in_all=uses.get((programme_id, key), 0),
            ),
        )
        for (programme_id, code, terms, coupon), key in zip(found, keys, strict=True)
    ]


async def _uses(
    connection: AsyncConnection, holder_ids: Iterable[UUID], keys: Sequence[str]
) -> dict[tuple[UUID, str], int]:
    values = {"holder_ids": list(holder_ids), "keys": list(keys)}
    rows = await connection.execute(_USES, values)
    return {(row[0], row[1]): row[2] for row in rows}
