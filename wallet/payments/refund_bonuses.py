"""What a payment had brought goes back with it: bonuses to their budgets, a coupon to its holder.

A bonus is taken from where it still is: set aside, or in its holder's purses of free money of that
programme, the latest to expire first. What has been spent is missing, and noted; the next refund of
the same payment tries again. Caps count only what was kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from wallet.core.clock import JST
from wallet.core.database import Connection, array_literal
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.ledger.chart import TRANSFER_BONUS_REVERSED
from wallet.ledger.rules import Transfer, TransferCode
from wallet.ledger.work import Batch
from wallet.payments.extras_storage import LOCK_TOTALS
from wallet.payments.refund_rules import LAST_NUMBER, Leg, bonus_to_take, is_over
from wallet.payments.refund_storage import Paid
from wallet.payments.rules import BONUS_NUMBER
from wallet.programmes.rules import Funding, Purse

_LOCK_GRANTS: Final = """
SELECT b.id, b.rule, b.wallet_id, b.holder_id, b.amount_yen, b.reversed_yen, b.state, b.created_at,
       g.id, g.number, g.budget_account_id
FROM (
    SELECT * FROM bonus_grant WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
) AS b
JOIN programme AS g ON g.id = ANY (ARRAY[b.programme_id])
WHERE b.state <> 'reversed'
"""

_LOCK_USES: Final = """
SELECT payment_id, programme_id, coupon, holder_id, amount_yen, reversed_yen FROM coupon_use
WHERE payment_id = ANY($1::uuid[]) ORDER BY payment_id FOR NO KEY UPDATE
"""

_REVERSE: Final = """
UPDATE bonus_grant AS b SET reversed_yen = new.reversed_yen,
       state = CASE WHEN new.reversed_yen = b.amount_yen THEN 'reversed' ELSE b.state END
FROM unnest($1::uuid[], $2::text::bigint[]) AS new (id, reversed_yen)
WHERE b.id = ANY (ARRAY[new.id])
"""

_REVERSE_USES: Final = """
UPDATE coupon_use AS u SET reversed_yen = new.reversed_yen
FROM unnest($1::uuid[], $2::text::bigint[]) AS new (payment_id, reversed_yen)
WHERE u.payment_id = ANY (ARRAY[new.payment_id])
"""

_UNCOUNT: Final = """
UPDATE bonus_total AS t SET amount_yen = greatest(0, t.amount_yen - old.amount_yen),
       uses = greatest(0, t.uses - old.uses)
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text::bigint[], $5::text::int[])
     AS old (holder_id, rule, period, amount_yen, uses)
WHERE t.holder_id = ANY (ARRAY[old.holder_id])
  AND t.rule = ANY (ARRAY[old.rule]) AND t.period = ANY (ARRAY[old.period])
"""


TotalKey = tuple[UUID, str, str]
"""Whose, of which bonus or coupon, in which period: what caps are counted by."""


class Grant(msgspec.Struct, frozen=True, gc=False):
    """A bonus that a payment has brought, locked, and the accounts of the programme that gave it.

    The programme's reserve has its id.
    """

    id: UUID
    rule: str
    wallet_id: UUID
    holder_id: UUID
    amount_yen: int
    reversed_yen: int
    state: str
    created_at: datetime
    programme_id: UUID
    number: int
    budget_account_id: UUID

    @property
    def keys(self) -> Sequence[TotalKey]:
        """The totals it may count in."""
        month = f"{self.created_at.astimezone(JST):%Y-%m}"
        return [(self.holder_id, self.rule, period) for period in (month, "")]


class Use(msgspec.Struct, frozen=True, gc=False):
    """A coupon that was used on a payment, locked."""

    payment_id: UUID
    programme_id: UUID
    coupon: str
    holder_id: UUID
    amount_yen: int
    reversed_yen: int

    @property
    def keys(self) -> Sequence[TotalKey]:
        """The totals it may count in."""
        return [(self.holder_id, self.coupon, ""), (self.programme_id, self.coupon, "")]


class Bonuses:
    """What a batch of refunds knows of bonuses and coupons, and what its decisions change."""

    __slots__ = ("account_ids", "grants", "taken_back", "uncounted", "uses", "uses_back")

    def __init__(self, grants: Mapping[UUID, list[Grant]], uses: Mapping[UUID, Use]) -> None:
        self.grants = dict(grants)
        self.uses = dict(uses)
        self.account_ids: set[UUID] = set()
        for grant in (one for several in grants.values() for one in several):
            self.account_ids.add(grant.budget_account_id)
            if grant.state == "pending":
                self.account_ids.add(grant.programme_id)
        self.taken_back: dict[UUID, int] = {}
        self.uses_back: dict[UUID, int] = {}
        self.uncounted: dict[TotalKey, tuple[int, int]] = {}

    def give_coupon_back(self, paid: Paid, amount_yen: int, legs: Iterable[Leg]) -> None:
        """Note what has come back of a coupon; all of it: it may be used again."""
        use = self.uses.get(paid.id)
        if use is None or not amount_yen:
            return
        self.uses[paid.id] = replace(use, reversed_yen=use.reversed_yen + amount_yen)
        self.uses_back[paid.id] = self.uses[paid.id].reversed_yen
        is_whole = not any(leg.left_yen for leg in legs)
        self._uncount(use.keys, amount_yen, uses=int(is_whole))

    def note(self, grant: Grant, taken_yen: int) -> Grant:
        """Note what was taken of a bonus and return it as it is now."""
        changed = replace(grant, reversed_yen=grant.reversed_yen + taken_yen)
        self.taken_back[grant.id] = changed.reversed_yen
        self._uncount(grant.keys, taken_yen, uses=int(changed.reversed_yen == grant.amount_yen))
        return changed

    def _uncount(self, keys: Iterable[TotalKey], amount_yen: int, *, uses: int) -> None:
        for key in keys:
            yen, times = self.uncounted.get(key, (0, 0))
            self.uncounted[key] = (yen + amount_yen, times + uses)

    async def record(self, connection: Connection) -> None:
        """Write what has changed."""
        for statement, changed in (
            (_REVERSE, self.taken_back),
            (_REVERSE_USES, self.uses_back),
        ):
            if changed:
                await connection.execute(statement, list(changed), array_literal(changed.values()))
        if self.uncounted:
            holders, rules, periods = map(list, zip(*self.uncounted, strict=True))
            amounts, uses = zip(*self.uncounted.values(), strict=True)
            await connection.execute(
                _UNCOUNT, holders, rules, periods, array_literal(amounts), array_literal(uses)
            )


async def gather_bonuses(connection: Connection, payment_ids: Sequence[UUID]) -> Bonuses:
    """Lock what the payments have brought, and the totals it counts in.

    After holders' spending and before any balance, as everywhere.
    """
    bonus_ids = [
        numbered_id(payment_id, number)
        for payment_id in payment_ids
        for number in range(BONUS_NUMBER, LAST_NUMBER + 1)
    ]
    grants: dict[UUID, list[Grant]] = {}
    for row in await connection.fetch(_LOCK_GRANTS, bonus_ids):
        payment_id = UUID(int=row[0].int & ~LAST_NUMBER)
        grants.setdefault(payment_id, []).append(Grant(*row))
    uses = {row[0]: Use(*row) for row in await connection.fetch(_LOCK_USES, payment_ids)}
    keys = {key for several in grants.values() for one in several for key in one.keys}
    keys.update(key for one in uses.values() for key in one.keys)
    if keys:
        await connection.fetch(LOCK_TOTALS, *map(list, zip(*sorted(keys), strict=True)))
    return Bonuses(grants, uses)


def take_back(
    bonuses: Bonuses,
    paid: Paid,
    *,
    refund_id: UUID,
    left_yen: int,
    purses: Iterable[Purse],
    day: date,
    batch: Batch,
) -> tuple[int, int]:
    """Take bonuses back, when ``left_yen`` of a payment stay paid; return what was and is missing.

    ``purses`` are those of the wallet that has paid.
    """
    transfers: list[Transfer] = []
    grants: list[Grant] = []
    all_missing_yen = 0
    for grant in bonuses.grants.get(paid.id, []):
        missing_yen = bonus_to_take(
            bonus_yen=grant.amount_yen,
            taken_yen=grant.reversed_yen,
            amount_yen=paid.amount_yen,
            left_yen=left_yen,
        )
        taken_yen = 0
        for account_id in _sources(grant, purses, day):
            number = BONUS_NUMBER + len(transfers)
            yen = min(missing_yen - taken_yen, batch.book.available(account_id))
            if yen <= 0 or number > LAST_NUMBER:
                continue
            transfers.append(_reversal(grant, numbered_id(refund_id, number), account_id, yen))
            _create(transfers[-1], batch)
            taken_yen += yen
        grants.append(bonuses.note(grant, taken_yen) if taken_yen else grant)
        all_missing_yen += missing_yen - taken_yen
    bonuses.grants[paid.id] = grants
    return sum(one.amount for one in transfers), all_missing_yen


def _sources(grant: Grant, purses: Iterable[Purse], day: date) -> list[UUID]:
    """Return the accounts that a bonus may still be in, the first to be asked first."""
    if grant.state == "pending":
        return [grant.programme_id]
    own = [
        purse
        for purse in purses
        if purse.programme_id == grant.programme_id
        and purse.funding == Funding.FREE
        and not is_over(purse, day=day)
    ]
    own.sort(key=lambda purse: purse.expires_on, reverse=True)
    return [purse.account_id for purse in own]


def _reversal(grant: Grant, transfer_id: UUID, account_id: UUID, amount_yen: int) -> Transfer:
    return Transfer(
        transfer_id,
        account_id,
        grant.budget_account_id,
        amount_yen,
        LEDGER_JPY,
        TRANSFER_BONUS_REVERSED,
        user_data_128=grant.wallet_id,
        user_data_32=grant.number,
    )


def _create(transfer: Transfer, batch: Batch) -> None:
    (result,) = batch.book.create_transfers([transfer])
    if result.code is not TransferCode.CREATED:
        message = f"the ledger refused to take a bonus back: {result.code}"
        raise RuntimeError(message)
