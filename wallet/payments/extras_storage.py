"""The SQL of bonuses and coupons: what is counted against caps, and what is written of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection, array_literal

_READ_TOTALS: Final = """
SELECT t.holder_id, t.rule, t.period, t.amount_yen, t.uses
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS asked (holder_id, rule, period)
JOIN bonus_total AS t ON t.holder_id = ANY (ARRAY[asked.holder_id])
    AND t.rule = ANY (ARRAY[asked.rule]) AND t.period = ANY (ARRAY[asked.period])
"""

# After holders' spending and before any balance, in one order: so payments and refunds lock them.
LOCK_TOTALS: Final = """
SELECT t.holder_id
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS asked (holder_id, rule, period)
JOIN bonus_total AS t ON t.holder_id = ANY (ARRAY[asked.holder_id])
    AND t.rule = ANY (ARRAY[asked.rule]) AND t.period = ANY (ARRAY[asked.period])
ORDER BY t.holder_id, t.rule, t.period FOR NO KEY UPDATE OF t
"""

# Bonuses and what is counted of them, as a part of a statement that writes what they are for. What
# many bonuses have in common, their kind, is sent once. Totals were read and not locked: one that
# somebody else has written meanwhile is not as it was, or is there already, and then the batch must
# not commit.
_GIVE: Final = """
granted AS (
    INSERT INTO bonus_grant (id, payment_id, programme_id, rule, wallet_id, holder_id, amount_yen,
                             state, usable_on, created_at)
    SELECT g.id, g.payment_id, ({0}::uuid[])[g.kind], ({1}::text[])[g.kind], g.wallet_id,
           g.holder_id, g.amount_yen, ({2}::text[])[g.kind], ({3}::date[])[g.kind], {4}
    FROM unnest({5}::uuid[], {6}::uuid[], {7}::uuid[], {8}::uuid[], {9}::text::bigint[],
                {10}::text::int[])
         AS g (id, payment_id, wallet_id, holder_id, amount_yen, kind)
), begun AS (
    INSERT INTO bonus_total (holder_id, rule, period, amount_yen, uses)
    SELECT c.holder_id, c.rule, c.period, c.amount_yen, c.uses
    FROM unnest({11}::uuid[], {12}::text[], {13}::text[], {14}::text::bigint[], {15}::text::int[],
                {16}::text::bigint[], {17}::text::int[])
         AS c (holder_id, rule, period, amount_yen, uses, old_amount_yen, old_uses)
    WHERE c.old_uses < 0
), counted AS (
    UPDATE bonus_total AS t SET amount_yen = c.amount_yen, uses = c.uses
    FROM unnest({11}::uuid[], {12}::text[], {13}::text[], {14}::text::bigint[], {15}::text::int[],
                {16}::text::bigint[], {17}::text::int[])
         AS c (holder_id, rule, period, amount_yen, uses, old_amount_yen, old_uses)
    WHERE t.holder_id = ANY (ARRAY[c.holder_id]) AND t.rule = ANY (ARRAY[c.rule])
      AND t.period = ANY (ARRAY[c.period])
      AND t.amount_yen = c.old_amount_yen AND t.uses = c.old_uses
    RETURNING 1
)
"""
_VALUES: Final = 18
_NONE_YET: Final = -1

IS_COUNTED: Final = "(SELECT count(*) FROM counted) = ${}"
"""Whether every total was as it was read; the number is what :func:`values_of` returns last."""

# A coupon that was used is chosen no more, unless another one was chosen meanwhile.
_INSERT_USES: Final = """
WITH used AS (
    INSERT INTO coupon_use (payment_id, programme_id, coupon, wallet_id, holder_id, amount_yen,
                            created_at)
    SELECT payment_id, programme_id, coupon, wallet_id, holder_id, amount_yen, $7
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text::bigint[])
         AS new (payment_id, programme_id, coupon, wallet_id, holder_id, amount_yen)
)
UPDATE wallet AS w SET coupon = NULL
FROM unnest($3::text[], $4::uuid[]) AS used (coupon, wallet_id)
WHERE w.id = ANY (ARRAY[used.wallet_id]) AND w.coupon = used.coupon
"""

TotalKey = tuple[UUID, str, str]
"""Whose, of which bonus or coupon, in which period."""


class Total(msgspec.Struct, frozen=True, gc=False):
    """Yen of a bonus or coupon so far, and how often."""

    amount_yen: int = 0
    uses: int = 0


NO_TOTAL: Final = Total()


class Totals:
    """What is counted against caps, as a batch goes on."""

    def __init__(self, found: Mapping[TotalKey, Total]) -> None:
        self._found = found
        self._now = dict(found)

    def get(self, key: TotalKey) -> Total:
        """Return a total as it is by now."""
        return self._now.get(key, NO_TOTAL)

    def add(self, key: TotalKey, amount_yen: int) -> None:
        """Count one more."""
        total = self._now.get(key, NO_TOTAL)
        self._now[key] = Total(total.amount_yen + amount_yen, total.uses + 1)

    def changes(self) -> list[tuple[TotalKey, Total, Total | None]]:
        """Return what has changed, and what was found of it, in the order in which it is locked."""
        found = self._found
        return [
            (key, total, found.get(key))
            for key, total in sorted(self._now.items(), key=lambda one: one[0])
            if found.get(key) is not total
        ]


class Grant(msgspec.Struct, frozen=True, gc=False):
    """A bonus to write down; ``id`` is its transfer's. ``payment_id`` is None for an event's.

    Its ``kind`` is the programme whose budget gives it, its rule, its state, and the day from which
    it can be spent.
    """

    id: UUID
    payment_id: UUID | None
    wallet_id: UUID
    holder_id: UUID
    amount_yen: int
    kind: tuple[UUID, str, str, date]


class Use(msgspec.Struct, frozen=True, gc=False):
    """A coupon that a payment has used."""

    payment_id: UUID
    programme_id: UUID
    coupon: str
    wallet_id: UUID
    holder_id: UUID
    amount_yen: int


def give(first: int) -> str:
    """Return the part that writes bonuses, its parameters numbered from ``first`` on."""
    return _GIVE.format(*(f"${number}" for number in range(first, first + _VALUES)))


def values_of(grants: Sequence[Grant], totals: Totals, *, now: datetime) -> list[Any]:
    """Return the parameters of :func:`give`, and how many totals it must find as they were read."""
    kinds: dict[tuple[UUID, str, str, date], int] = {}
    numbers = [kinds.setdefault(grant.kind, len(kinds) + 1) for grant in grants]
    changes = totals.changes()
    before = [found for _, _, found in changes]
    return [
        [kind[0] for kind in kinds],
        [kind[1] for kind in kinds],
        [kind[2] for kind in kinds],
        [kind[3] for kind in kinds],
        now,
        [grant.id for grant in grants],
        [grant.payment_id for grant in grants],
        [grant.wallet_id for grant in grants],
        [grant.holder_id for grant in grants],
        array_literal([grant.amount_yen for grant in grants]),
        array_literal(numbers),
        [key[0] for key, _, _ in changes],
        [key[1] for key, _, _ in changes],
        [key[2] for key, _, _ in changes],
        array_literal([total.amount_yen for _, total, _ in changes]),
        array_literal([total.uses for _, total, _ in changes]),
        array_literal([0 if one is None else one.amount_yen for one in before]),
        array_literal([_NONE_YET if one is None else one.uses for one in before]),
        len(before) - before.count(None),
    ]


async def read_totals(
    connection: Connection, keys: Collection[TotalKey], *, shared: Collection[TotalKey] = ()
) -> Totals:
    """Return the totals as they are; whoever writes them makes sure that they still are.

    Those that everybody counts in are ``shared`` and locked: read only, they would be found changed
    by nearly every batch of a rush, until it ran out of attempts.
    """
    if not keys:
        return Totals({})
    if shared:
        await connection.fetch(LOCK_TOTALS, *map(list, zip(*shared, strict=True)))
    rows = await connection.fetch(_READ_TOTALS, *map(list, zip(*keys, strict=True)))
    return Totals({(row[0], row[1], row[2]): Total(row[3], row[4]) for row in rows})


async def insert_uses(connection: Connection, uses: Sequence[Use], *, now: datetime) -> None:
    """Write coupons that were used; they are no more their wallets' next ones."""
    await connection.execute(
        _INSERT_USES,
        [use.payment_id for use in uses],
        [use.programme_id for use in uses],
        [use.coupon for use in uses],
        [use.wallet_id for use in uses],
        [use.holder_id for use in uses],
        array_literal([use.amount_yen for use in uses]),
        now,
    )
