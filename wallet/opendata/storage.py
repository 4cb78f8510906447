"""The SQL of the numbers: whole tables, in one snapshot, and nothing that is not in the ledger.

Kinds of accounts and transfers are told apart by the chart of accounts (wallet/ledger/chart.py). A
transfer moves money when it is not itself a hold or the voiding of one.
"""

from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.ledger import chart
from wallet.opendata.rules import DORMANT_DAYS, Cell, Flows, Period

_CHART: Final[dict[str, int]] = {
    "purse": chart.ACCOUNT_PURSE,
    "clearing": chart.ACCOUNT_CLEARING,
    "budget": chart.ACCOUNT_BUDGET,
    "reserve": chart.ACCOUNT_BONUS_RESERVE,
    "payable": chart.ACCOUNT_PAYABLE,
    "issue": chart.TRANSFER_ISSUE,
    "expiry": chart.TRANSFER_EXPIRY,
    "gift": chart.TRANSFER_GIFT,
    "coupon": chart.TRANSFER_COUPON,
    "refund": chart.TRANSFER_REFUND,
}

# What went into each purse and came out of it, until the end of the period: the amount is negative
# for what came out. The other account's kind says what it was. What a budget pays a shop for a
# coupon goes in and out at once; what a shop gives back of a purse that is over expires at once.
_ENTRIES: Final = """
WITH moved AS (
    SELECT t.timestamp, t.code, t.amount, t.user_data_64 AS sets, t.debit_account_id,
           t.credit_account_id, t.user_data_128 AS about, t.user_data_32 AS number,
           d.code AS from_code, c.code AS to_code
    FROM transfer AS t
    JOIN account AS d ON d.id = t.debit_account_id
    JOIN account AS c ON c.id = t.credit_account_id
    WHERE t.flags & 10 = 0 AND t.timestamp < :to_us
      AND (d.code = :purse OR c.code = :purse OR t.code IN (:coupon, :refund))
), entry AS (
    SELECT p.programme_id, p.wallet_id, m.timestamp, m.code, CAST(0 AS bigint) AS sets,
           -m.amount AS amount, m.to_code AS other, m.credit_account_id AS other_id,
           m.timestamp >= :from_us AS is_in
    FROM moved AS m JOIN purse AS p ON p.account_id = m.debit_account_id
    UNION ALL
    SELECT p.programme_id, p.wallet_id, m.timestamp, m.code, m.sets, m.amount, m.from_code,
           m.debit_account_id, m.timestamp >= :from_us
    FROM moved AS m JOIN purse AS p ON p.account_id = m.credit_account_id
    UNION ALL
    SELECT g.id, y.wallet_id, m.timestamp, m.code, 0, x.amount, x.other, x.other_id,
           m.timestamp >= :from_us
    FROM moved AS m
    JOIN programme AS g ON g.number = m.number
    LEFT JOIN refund AS r ON r.id = m.about
    JOIN payment AS y ON y.id = coalesce(r.payment_id, m.about)
    CROSS JOIN LATERAL (VALUES
        (m.amount, m.from_code, m.debit_account_id), (-m.amount, m.to_code, m.credit_account_id)
    ) AS x (amount, other, other_id)
    WHERE m.from_code <> :purse AND m.to_code <> :purse
)
"""

_HOLDERS: Final = text(f"""{_ENTRIES}
, held AS (
    SELECT programme_id, wallet_id,
           sum(sets) FILTER (WHERE is_in AND code = :issue AND other = :clearing) AS sold_sets,
           sum(amount) FILTER (WHERE is_in AND amount > 0 AND other = :clearing) AS sold_yen,
           sum(amount) FILTER (WHERE is_in AND amount > 0
                               AND other IN (:clearing, :budget, :reserve)) AS issued_yen,
           -sum(amount) FILTER (WHERE is_in AND other = :payable) AS redeemed_yen,
           -sum(amount) FILTER (WHERE is_in AND amount < 0 AND other = :budget
                                AND code IN (:expiry, :refund)) AS expired_yen,
           -sum(amount) FILTER (WHERE is_in AND amount < 0 AND code NOT IN (:expiry, :refund)
                                AND other IN (:clearing, :budget)) AS refunded_yen,
           sum(amount) AS outstanding_yen,
           bool_or(is_in) AS has_moved
    FROM entry GROUP BY 1, 2
), known AS (
    SELECT h.*, coalesce(r.area_code, 'unknown') AS area,
           CASE WHEN r.birth_year IS NULL THEN 'unknown'
                WHEN CAST(:year AS int) - r.birth_year >= 90 THEN '90+'
                ELSE (CAST(:year AS int) - r.birth_year) / 10 || '0-'
                     || (CAST(:year AS int) - r.birth_year) / 10 || '9'
           END AS age
    FROM held AS h
    JOIN wallet AS w ON w.id = h.wallet_id
    LEFT JOIN resident_profile AS r ON r.person_id = w.person_id
)
SELECT g.code AS programme,
       CASE WHEN grouping(k.age) = 0 THEN 'age' WHEN grouping(k.area) = 0 THEN 'area'
            ELSE 'total' END AS dimension,
       coalesce(k.age, k.area, 'all') AS cell,
       count(k.wallet_id) AS wallets,
       count(*) FILTER (WHERE k.has_moved) AS moved_wallets,
       coalesce(sum(k.sold_sets), 0)::bigint AS sold_sets,
       coalesce(sum(k.sold_yen), 0)::bigint AS sold_yen,
       coalesce(sum(k.issued_yen), 0)::bigint AS issued_yen,
       coalesce(sum(k.redeemed_yen), 0)::bigint AS redeemed_yen,
       coalesce(sum(k.expired_yen), 0)::bigint AS expired_yen,
       coalesce(sum(k.refunded_yen), 0)::bigint AS refunded_yen,
       coalesce(sum(k.outstanding_yen), 0)::bigint AS outstanding_yen
FROM programme AS g LEFT JOIN known AS k ON k.programme_id = g.id
GROUP BY g.number, GROUPING SETS ((g.code), (g.code, k.age), (g.code, k.area))
HAVING grouping(k.age, k.area) = 3 OR count(k.wallet_id) > 0
ORDER BY g.number
""")  # noqa: S608 - parts of ours

_SHOPS: Final = text(f"""{_ENTRIES}
SELECT g.code AS programme, s.id AS shop_id,
       CASE WHEN s.small THEN 'small' WHEN s.chain THEN 'chain' ELSE 'large' END AS size,
       (-sum(e.amount))::bigint AS redeemed_yen
FROM entry AS e
JOIN shop AS s ON s.payable_account_id = e.other_id
JOIN programme AS g ON g.id = e.programme_id
WHERE e.is_in AND e.other = :payable
GROUP BY g.code, s.id, s.small, s.chain
""")  # noqa: S608 - parts of ours

_PAYERS: Final = text(f"""{_ENTRIES}
SELECT g.code AS programme,
       CASE WHEN s.small THEN 'small' WHEN s.chain THEN 'chain' ELSE 'large' END AS size,
       count(DISTINCT e.wallet_id) AS wallets
FROM entry AS e
JOIN shop AS s ON s.payable_account_id = e.other_id
JOIN programme AS g ON g.id = e.programme_id
WHERE e.is_in AND e.other = :payable
GROUP BY 1, 2
""")  # noqa: S608 - parts of ours

_FLOWS: Final = text(f"""{_ENTRIES}
, held AS (
    SELECT programme_id, wallet_id, sum(amount) AS outstanding_yen,
           sum(amount) FILTER (WHERE NOT is_in) AS opening_yen,
           sum(CAST(amount AS numeric) * (:to_us - timestamp)) FILTER (WHERE is_in) AS weighted,
           -sum(amount) FILTER (WHERE is_in AND amount < 0 AND other = :payable) AS payments_yen,
           sum(amount) FILTER (WHERE is_in AND amount > 0 AND other = :payable) AS back_yen,
           -sum(amount) FILTER (WHERE is_in AND amount < 0 AND code = :gift) AS gifts_yen,
           sum(amount) FILTER (WHERE is_in AND amount > 0
                               AND other IN (:clearing, :budget, :reserve)) AS issued_yen,
           -sum(amount) FILTER (WHERE is_in AND amount < 0 AND other = :budget
                                AND code IN (:expiry, :refund)) AS expired_yen,
           coalesce(max(timestamp) FILTER (WHERE amount < 0 AND (other = :payable OR code = :gift)),
                    0) AS left_at
    FROM entry GROUP BY 1, 2
)
SELECT coalesce(g.code, '') AS programme,
       coalesce(sum(h.payments_yen), 0)::bigint AS payments_yen,
       coalesce(sum(h.back_yen), 0)::bigint AS payments_back_yen,
       coalesce(sum(h.gifts_yen), 0)::bigint AS gifts_yen,
       coalesce(sum(h.issued_yen), 0)::bigint AS issued_yen,
       coalesce(sum(h.expired_yen), 0)::bigint AS expired_yen,
       coalesce(sum(coalesce(h.payments_yen, 0) - coalesce(h.back_yen, 0))
                FILTER (WHERE w.holder = 'visitor'), 0)::bigint AS visitors_yen,
       coalesce(sum(h.outstanding_yen), 0)::bigint AS outstanding_yen,
       (coalesce(sum(h.opening_yen), 0)
        + coalesce(sum(h.weighted), 0) / (CAST(:to_us AS bigint) - :from_us))::bigint
           AS outstanding_average_yen,
       coalesce(sum(h.outstanding_yen) FILTER (WHERE h.left_at < :dormant_us), 0)::bigint
           AS dormant_yen
FROM held AS h
JOIN wallet AS w ON w.id = h.wallet_id
JOIN programme AS g ON g.id = h.programme_id
GROUP BY GROUPING SETS ((), (g.code))
""")  # noqa: S608 - parts of ours

_TAKINGS_LEFT: Final = text("""
SELECT coalesce(sum(amount) FILTER (WHERE code = :shop_to_shop), 0)::bigint,
       coalesce(sum(amount) FILTER (WHERE code = :cash_out), 0)::bigint
FROM transfer
WHERE flags & 10 = 0 AND timestamp >= :from_us AND timestamp < :to_us
  AND code IN (:shop_to_shop, :cash_out)
""")

_FIRST: Final = text("SELECT min(timestamp) FROM transfer")

_DAY_US: Final = 86_400_000_000


async def first_transfer_us(connection: AsyncConnection) -> int | None:
    """Return when the first transfer was booked, None before there is one."""
    first: int | None = (await connection.execute(_FIRST)).scalar_one()
    return first


async def read_holders(connection: AsyncConnection, period: Period) -> list[Cell]:
    """Return every programme's total, and its cells by age and by area, as they come."""
    values = {**_bounds(period), "year": period.until.year}
    rows = (await connection.execute(_HOLDERS, values)).mappings()
    return [Cell(**row) for row in rows]


async def read_takings(
    connection: AsyncConnection, period: Period
) -> tuple[list[tuple[str, str, int]], dict[tuple[str, str], int]]:
    """Return what each shop took of each programme, by its size, and how many wallets paid there.

    The first are (programme, size, yen), one for each shop.
    """
    shops = (await connection.execute(_SHOPS, _bounds(period))).all()
    payers = (await connection.execute(_PAYERS, _bounds(period))).all()
    takings = [(row.programme, row.size, row.redeemed_yen) for row in shops]
    return takings, {(row.programme, row.size): row.wallets for row in payers}


async def read_flows(connection: AsyncConnection, period: Period) -> dict[str, Flows]:
    """Return what is measured of each programme, and of all of them under no name."""
    values = {**_bounds(period), "dormant_us": period.to_us - DORMANT_DAYS * _DAY_US}
    rows = (await connection.execute(_FLOWS, values)).mappings()
    flows = {}
    for row in rows:
        fields: dict[str, Any] = dict(row)
        programme = str(fields.pop("programme"))
        flows[programme] = Flows(**fields)
    return flows


async def read_takings_left(connection: AsyncConnection, period: Period) -> tuple[int, int]:
    """Return what shops paid to shops, and what they had paid out, in yen."""
    values = {
        "from_us": period.from_us,
        "to_us": period.to_us,
        "shop_to_shop": chart.TRANSFER_SHOP_TO_SHOP,
        "cash_out": chart.TRANSFER_CASH_OUT,
    }
    shop_to_shop_yen, cash_out_yen = (await connection.execute(_TAKINGS_LEFT, values)).one()
    return shop_to_shop_yen, cash_out_yen


def _bounds(period: Period) -> dict[str, int]:
    return {**_CHART, "from_us": period.from_us, "to_us": period.to_us}
