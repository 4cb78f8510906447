"""The SQL of reserving, which runs in the teller's batches: every look-up is by key."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.clock import to_datetime, to_microseconds
from wallet.core.database import Connection
from wallet.vouchers.purchase_rules import Holder, Offer, ReserveRequest, Stock

_FIND_REPEATS: Final = """
SELECT p.id, p.programme_id, p.wallet_id, p.person_id, p.idempotency_key, p.units, p.price_yen,
       p.face_yen, p.state, p.application_id, p.round, p.created_at, p.deadline
FROM unnest($1::uuid[], $2::text[]) AS asked (wallet_id, idempotency_key)
JOIN purchase AS p
  ON p.wallet_id = asked.wallet_id AND p.idempotency_key = asked.idempotency_key
"""

# What is in the purses stays as it is: whoever moves money of a wallet locks it first, as we did.
_FIND_HOLDERS: Final = """
SELECT w.id, w.person_id, w.tier, p.resident, held.yen + reserved.yen AS held_yen
FROM wallet AS w
LEFT JOIN person AS p ON p.id = w.person_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.credits_posted - b.debits_posted), 0)::bigint AS yen
    FROM purse AS u JOIN balance AS b ON b.account_id = u.account_id WHERE u.wallet_id = w.id
) AS held
CROSS JOIN LATERAL (
    SELECT coalesce(sum(face_yen) FILTER (WHERE state = 'reserved'), 0)::bigint AS yen
    FROM purchase WHERE wallet_id = w.id
) AS reserved
WHERE w.id = ANY($1::uuid[])
"""

_COUNT_RESERVED: Final = """
SELECT asked.wallet_id, asked.programme_id, held.units
FROM unnest($1::uuid[], $2::uuid[]) AS asked (wallet_id, programme_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(units) FILTER (WHERE state = 'reserved'), 0)::int AS units
    FROM purchase WHERE wallet_id = asked.wallet_id AND programme_id = asked.programme_id
) AS held
"""

_LOCK_OFFERS: Final = """
SELECT w.application_id, w.round, w.frame, a.wallet_id, a.person_id, w.units, w.units_bought,
       w.state, w.deadline
FROM win AS w JOIN application AS a ON a.id = w.application_id
WHERE w.application_id = ANY($1::uuid[])
ORDER BY w.application_id, w.round FOR NO KEY UPDATE OF w
"""

_LOCK_STOCK: Final = """
SELECT programme_id, mode, units_total, units_reserved, units_sold, opens_at, closes_at,
       pay_within_s, min_tier, residents_only
FROM stock WHERE programme_id = ANY($1::uuid[]) ORDER BY programme_id FOR NO KEY UPDATE
"""

_INSERT: Final = """
INSERT INTO purchase (id, programme_id, wallet_id, person_id, idempotency_key, units, price_yen,
                      face_yen, state, application_id, round, created_at, deadline)
SELECT new.id, new.programme_id, new.wallet_id, new.person_id, new.key, new.units, new.price_yen,
       new.face_yen, 'reserved', new.application_id, new.round, $12, new.deadline
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int[], $7::bigint[],
            $8::bigint[], $9::uuid[], $10::smallint[], $11::timestamptz[])
     AS new (id, programme_id, wallet_id, person_id, key, units, price_yen, face_yen,
             application_id, round, deadline)
"""

_RESERVE: Final = """
UPDATE stock AS s SET units_reserved = s.units_reserved + new.units
FROM unnest($1::uuid[], $2::int[]) AS new (programme_id, units)
WHERE s.programme_id = new.programme_id
"""

_TAKE_UP: Final = """
UPDATE win AS w SET units_bought = new.units_bought,
                    state = CASE WHEN w.units = new.units_bought THEN 'bought' ELSE w.state END
FROM unnest($1::uuid[], $2::smallint[], $3::int[]) AS new (application_id, round, units_bought)
WHERE w.application_id = new.application_id AND w.round = new.round
"""


class Purchase(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Units kept for a wallet until ``deadline_us``, or what has become of them."""

    id: UUID
    programme_id: UUID
    wallet_id: UUID
    person_id: UUID
    idempotency_key: str
    units: int
    price_yen: int
    face_yen: int
    state: str
    application_id: UUID | None
    round: int | None
    created_us: int
    deadline_us: int


async def find_repeats(
    connection: Connection, requests: Sequence[ReserveRequest]
) -> dict[tuple[UUID, str], Purchase]:
    """Return what was reserved before under the wallets' keys."""
    rows = await connection.fetch(
        _FIND_REPEATS,
        [request.wallet_id for request in requests],
        [request.idempotency_key for request in requests],
    )
    found = {}
    for row in rows:
        values = dict(row)
        created_us = to_microseconds(values.pop("created_at"))
        deadline_us = to_microseconds(values.pop("deadline"))
        purchase = Purchase(**values, created_us=created_us, deadline_us=deadline_us)
        found[purchase.wallet_id, purchase.idempotency_key] = purchase
    return found


async def find_holders(connection: Connection, wallet_ids: Collection[UUID]) -> dict[UUID, Holder]:
    """Return who holds the wallets, and what is in them or reserved for them, in yen."""
    rows = await connection.fetch(_FIND_HOLDERS, list(wallet_ids))
    return {row[0]: Holder(*row[1:]) for row in map(tuple, rows)}


async def count_reserved(
    connection: Connection, pairs: Collection[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], int]:
    """Return how many units are reserved for each (wallet, programme)."""
    rows = await connection.fetch(
        _COUNT_RESERVED, [wallet for wallet, _ in pairs], [programme for _, programme in pairs]
    )
    return {(row[0], row[1]): row[2] for row in map(tuple, rows)}


async def lock_offers(
    connection: Connection, application_ids: Collection[UUID]
) -> dict[UUID, Offer]:
    """Lock what applications have won and return the last round's offer of each."""
    if not application_ids:
        return {}
    offers = {}
    for row in await connection.fetch(_LOCK_OFFERS, list(application_ids)):
        values = dict(row)
        deadline = values.pop("deadline")
        deadline_us = None if deadline is None else to_microseconds(deadline)
        offers[row["application_id"]] = Offer(**values, deadline_us=deadline_us)
    return offers


async def lock_stock(connection: Connection, programme_ids: Collection[UUID]) -> dict[UUID, Stock]:
    """Lock what is on sale; the last lock of a batch, as everybody who buys wants it."""
    stock = {}
    for row in await connection.fetch(_LOCK_STOCK, list(programme_ids)):
        values = dict(row)
        opens_us = to_microseconds(values.pop("opens_at"))
        closes_us = to_microseconds(values.pop("closes_at"))
        stock[row["programme_id"]] = Stock(**values, opens_us=opens_us, closes_us=closes_us)
    return stock


async def insert_purchases(
    connection: Connection, purchases: Sequence[Purchase], *, now_us: int
) -> None:
    """Write the purchases in one statement."""
    await connection.execute(
        _INSERT,
        [one.id for one in purchases],
        [one.programme_id for one in purchases],
        [one.wallet_id for one in purchases],
        [one.person_id for one in purchases],
        [one.idempotency_key for one in purchases],
        [one.units for one in purchases],
        [one.price_yen for one in purchases],
        [one.face_yen for one in purchases],
        [one.application_id for one in purchases],
        [one.round for one in purchases],
        [to_datetime(one.deadline_us) for one in purchases],
        to_datetime(now_us),
    )


async def reserve_units(connection: Connection, units: Mapping[UUID, int]) -> None:
    """Count the units of each programme as reserved; the table refuses one too many."""
    await connection.execute(_RESERVE, list(units), list(units.values()))


async def take_up_offers(connection: Connection, offers: Collection[Offer]) -> None:
    """Write how much of locked offers was taken up."""
    if offers:
        await connection.execute(
            _TAKE_UP,
            [offer.application_id for offer in offers],
            [offer.round for offer in offers],
            [offer.units_bought for offer in offers],
        )
