"""The base dates of the Payment Services Act: what was unused, and what must be secured for it.

On 31 March and 30 September, at 23:59:59 in Japan, whoever issues prepaid instruments writes down
what is unused of them (Art. 3(2), 14). Transfers never change, so a report is the same whenever it
is made: nothing has to be frozen. Only paid money counts; what was added for free never does. The
city itself is exempt and secures nothing; its figures stand there because people ask for them.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import MICROSECONDS
from wallet.core.refusals import RefusedError
from wallet.ledger.chart import TRANSFER_BUYER_REFUND, TRANSFER_ISSUE
from wallet.programmes.legal import Regime, regime_of
from wallet.programmes.legal_settings import LegalSettings
from wallet.programmes.terms import Terms

_JST_S: Final = 9 * 3_600
_SPRING, _AUTUMN = (3, 31), (9, 30)

# A hold has moved nothing yet (2), and what voids one never does (8).
_REPORT: Final = text("""
WITH paid AS (
    SELECT account_id, programme_id FROM purse WHERE funding = 'paid'
), moved AS (
    SELECT p.programme_id, t.amount, t.code, t.timestamp
    FROM paid AS p JOIN transfer AS t ON t.credit_account_id = p.account_id
    WHERE t.timestamp < :until AND t.flags & 10 = 0
    UNION ALL
    SELECT p.programme_id, -t.amount, t.code, t.timestamp
    FROM paid AS p JOIN transfer AS t ON t.debit_account_id = p.account_id
    WHERE t.timestamp < :until AND t.flags & 10 = 0
), summed AS (
    SELECT programme_id, sum(amount) AS unused_yen,
           sum(amount) FILTER (WHERE timestamp < :since) AS unused_before_yen,
           sum(amount) FILTER (WHERE code = :issue AND timestamp >= :since) AS issued_yen,
           sum(amount) FILTER (WHERE code = :issue AND timestamp >= :before AND timestamp < :since)
               AS issued_before_yen,
           -sum(amount) FILTER (WHERE code = :refund AND timestamp >= :since) AS refunded_yen
    FROM moved GROUP BY programme_id
)
SELECT g.code, g.terms, coalesce(s.unused_yen, 0)::bigint AS unused_yen,
       coalesce(s.unused_before_yen, 0)::bigint AS unused_before_yen,
       coalesce(s.issued_yen, 0)::bigint AS issued_yen,
       coalesce(s.issued_before_yen, 0)::bigint AS issued_before_yen,
       coalesce(s.refunded_yen, 0)::bigint AS refunded_yen
FROM programme AS g LEFT JOIN summed AS s ON s.programme_id = g.id
WHERE g.created_at < to_timestamp(:until / 1000000.0)
ORDER BY g.number
""")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A programme's paid money on a base date.

    ``issued_yen`` and ``refunded_yen`` are of the half-year that ends with it, ``…_before_yen`` of
    the half-year before and its base date.
    """

    programme: str
    name: str
    regime: Regime
    unused_yen: int
    issued_yen: int
    refunded_yen: int
    unused_before_yen: int
    issued_before_yen: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an issuer owes the law on a base date; the sums are of what is regulated (L-3 to L-8).

    ``deposit_yen`` must be secured; ``alarm`` when what is unused comes near to where that begins.
    ``refund_room_yen`` is what could still have been refunded in the half-year, 0 when there is
    none left, and ``refunds_exceeded`` when it was more than allowed.
    """

    base_date: date
    rows: tuple[Row, ...]
    unused_yen: int
    deposit_yen: int
    alarm: bool
    refunded_yen: int
    refund_room_yen: int
    refunds_exceeded: bool


async def report(
    connection: AsyncConnection, *, base_date: date, settings: LegalSettings, today: date
) -> Report:
    """Return the report of a base date, from the ledger.

    Raises :class:`RefusedError` ``base_date_invalid`` for any other day, and ``day_to_come`` until
    the day is over in Japan.
    """
    if not is_base_date(base_date):
        raise RefusedError("base_date_invalid", day=str(base_date))
    if base_date >= today:
        raise RefusedError("day_to_come", day=str(base_date))
    previous = base_date_before(base_date)
    values = {
        "until": _end_of_us(base_date),
        "since": _end_of_us(previous),
        "before": _end_of_us(base_date_before(previous)),
        "issue": TRANSFER_ISSUE,
        "refund": TRANSFER_BUYER_REFUND,
    }
    rows = (await connection.execute(_REPORT, values)).mappings()
    return report_of([_row(row) for row in rows], base_date=base_date, settings=settings)


def report_of(rows: Iterable[Row], *, base_date: date, settings: LegalSettings) -> Report:
    """Return the report of the programmes' figures; pure."""
    rows = tuple(rows)
    regulated = [row for row in rows if row.regime is Regime.REGULATED]
    unused_yen = sum(row.unused_yen for row in regulated)
    refunded_yen = sum(row.refunded_yen for row in regulated)
    allowed_yen = refunds_allowed_yen(
        issued_before_yen=sum(row.issued_before_yen for row in regulated),
        unused_before_yen=sum(row.unused_before_yen for row in regulated),
        settings=settings,
    )
    return Report(
        base_date=base_date,
        rows=rows,
        unused_yen=unused_yen,
        deposit_yen=deposit_yen(unused_yen, settings=settings),
        alarm=is_near(unused_yen, settings=settings),
        refunded_yen=refunded_yen,
        refund_room_yen=max(0, allowed_yen - refunded_yen),
        refunds_exceeded=refunded_yen > allowed_yen,
    )


def is_base_date(day: date) -> bool:
    """Whether a day is 31 March or 30 September."""
    return (day.month, day.day) in {_SPRING, _AUTUMN}


def base_date_before(day: date) -> date:
    """Return the last base date before a day."""
    if (day.month, day.day) > _AUTUMN:
        return date(day.year, *_AUTUMN)
    if (day.month, day.day) > _SPRING:
        return date(day.year, *_SPRING)
    return date(day.year - 1, *_AUTUMN)


def deposit_yen(unused_yen: int, *, settings: LegalSettings) -> int:
    """Return what must be secured: half of what is unused, upwards, once that is too much (L-4)."""
    return -(-unused_yen // 2) if unused_yen > settings.number("L-3.unused_yen") else 0


def is_near(unused_yen: int, *, settings: LegalSettings) -> bool:
    """Whether what is unused has come near to where securing begins, or is beyond it."""
    limit_yen = settings.number("L-3.unused_yen") * settings.number("L-3.alarm_percent")
    return unused_yen * 100 >= limit_yen


def refunds_allowed_yen(
    *, issued_before_yen: int, unused_before_yen: int, settings: LegalSettings
) -> int:
    """Return what may be refunded in a half-year, by the one before it (L-8).

    Whichever of the two is more: a share of what was issued in it, or of what was unused then.
    """
    by_issue = issued_before_yen * settings.number("L-8.issued_percent") // 100
    return max(by_issue, unused_before_yen * settings.number("L-8.unused_percent") // 100)


def _end_of_us(day: date) -> int:
    """Return the first microsecond after a day in Japan."""
    days = day.toordinal() + 1 - date(1970, 1, 1).toordinal()
    return (days * 86_400 - _JST_S) * MICROSECONDS


def _row(row: RowMapping) -> Row:
    terms = msgspec.convert(row["terms"], Terms)
    figures = {name: row[name] for name in Row.__struct_fields__ if name.endswith("_yen")}
    return Row(programme=row["code"], name=terms.name, regime=regime_of(terms), **figures)
