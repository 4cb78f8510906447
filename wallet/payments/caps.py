"""A programme's caps on paying: what one payment, and one wallet in a day, may use of its money.

Most programmes have none, and then nothing here asks the database. What was spent today is read
from the ledger, under the lock that keeps the wallet's payments apart; a refund gives nothing back
to the day.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Final
from uuid import UUID

from wallet.core.clock import JST, to_microseconds
from wallet.core.database import Connection
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.payments.rules import Cap, cap_of
from wallet.programmes.rules import Draw, Programme, Purse

DayKey = tuple[UUID, UUID]
"""A wallet and a programme."""

_SPENT_TODAY: Final = """
SELECT asked.account_id, t.yen
FROM unnest($1::uuid[]) AS asked (account_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0)::bigint AS yen FROM transfer
    WHERE debit_account_id = asked.account_id AND timestamp >= $2 AND code = $3
) AS t
"""


async def gather_days(
    connection: Connection,
    *,
    purses: Mapping[UUID, Iterable[Purse]],
    programmes: Mapping[UUID, Programme],
    day: date,
) -> dict[DayKey, int]:
    """Return what was spent on a Japanese ``day``, by wallet, of programmes with a day's cap."""
    keys = {
        purse.account_id: (wallet_id, purse.programme_id)
        for wallet_id, held in purses.items()
        for purse in held
        if programmes[purse.programme_id].terms.caps.day_yen is not None
    }
    if not keys:
        return {}
    spent: dict[DayKey, int] = {}
    began_us = to_microseconds(datetime.combine(day, time.min, JST))
    rows = await connection.fetch(_SPENT_TODAY, list(keys), began_us, TRANSFER_PAYMENT)
    for account_id, yen in rows:
        spent[keys[account_id]] = spent.get(keys[account_id], 0) + yen
    return spent


def count_draws(
    spent_yen: dict[DayKey, int],
    wallet_id: UUID,
    draws: Iterable[Draw],
    programmes: Mapping[UUID, Programme],
) -> None:
    """Count what a payment draws, for the next one of the same batch."""
    for one in draws:
        programme_id = one.purse.programme_id
        if programmes[programme_id].terms.caps.day_yen is not None:
            key = (wallet_id, programme_id)
            spent_yen[key] = spent_yen.get(key, 0) + one.amount_yen


def caps_left(
    wallet_id: UUID,
    purses: Iterable[Purse],
    programmes: Mapping[UUID, Programme],
    spent_yen: Mapping[DayKey, int],
) -> dict[UUID, Cap]:
    """Return what one payment may draw of each programme that has a cap."""
    left: dict[UUID, Cap] = {}
    for purse in purses:
        caps = programmes[purse.programme_id].terms.caps
        if caps.payment_yen is None and caps.day_yen is None:
            continue
        spent = spent_yen.get((wallet_id, purse.programme_id), 0)
        left[purse.programme_id] = cap_of(caps, spent_yen=spent)
    return left
