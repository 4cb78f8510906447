"""Expire: what is left in a purse after its last day goes to its programme's budget.

A payment refuses such a purse from midnight on, whenever this happens; so being late costs nobody
anything, and being early would. Holders' spending is not locked, because nothing of a holder's is
decided here: only the purse itself, against whoever gives it a later day, and its account.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import MICROSECONDS, Clock, japanese_day, to_datetime
from wallet.core.database import Connection, read
from wallet.core.ids import new_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.chart import TRANSFER_EXPIRY
from wallet.ledger.rules import AMOUNT_MAX, BALANCING_DEBIT, Transfer, TransferCode
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import matches

GRACE_S: Final = 60
"""How long after midnight purses are left alone: whoever's clock is a little behind, or whose batch
was decided just before, may still give something back into one."""

PURSES_PER_BATCH: Final = 250
"""Purses emptied in one transaction. A payment out of one of them waits for it, and so does
whatever else needs the programme's budget."""

PURSES_PER_LOOK: Final = 10_000
"""Purses that are looked up at once."""

PURSES_PER_ROUND: Final = 250_000

REST_RATIO: Final = 0.5
"""How long to rest after a batch, in times of what it took: payments have a third of the time to
themselves."""

# Money that is owed to a shop, for a sheet of paper that was taken in on time and waits to be paid;
# and money that was given a later day, by an extension that takes more rounds than one. Both are
# looked up by key for each purse, whatever the planner thinks of the tables' sizes; it must not
# know that only waiting sheets are asked for, or it reads all of them for each purse.
_IS_SPOKEN_FOR: Final = """(
    EXISTS (
        SELECT FROM (
            SELECT settled_at FROM paper_use WHERE serial_id = ANY (ARRAY[p.wallet_id]) OFFSET 0
        ) AS u
        WHERE u.settled_at IS NULL OFFSET 0)
    OR EXISTS (
        SELECT FROM purse_extension AS x
        WHERE x.programme_id = ANY (ARRAY[p.programme_id]) AND x.from_day = p.expires_on
          AND x.done_at IS NULL OFFSET 0))
"""

_LOCK: Final = f"""
SELECT p.account_id, p.wallet_id, p.funding, p.expires_on, g.code, g.number, g.budget_account_id,
       {_IS_SPOKEN_FOR}
FROM (
    SELECT account_id, wallet_id, programme_id, funding, expires_on FROM purse
    WHERE account_id = ANY($1::uuid[]) AND ended_at IS NULL
    ORDER BY account_id FOR NO KEY UPDATE
) AS p
JOIN programme AS g ON g.id = ANY (ARRAY[p.programme_id])
"""  # noqa: S608

_END: Final = "UPDATE purse SET ended_at = $2 WHERE account_id = ANY($1::uuid[])"

_DUE: Final = text(f"""
SELECT p.expires_on, p.account_id FROM purse AS p
WHERE p.ended_at IS NULL AND p.expires_on < :day
  AND (p.expires_on, p.account_id) > (CAST(:after_day AS date), CAST(:after_id AS uuid))
  AND NOT {_IS_SPOKEN_FOR}
ORDER BY p.expires_on, p.account_id LIMIT :most
""")  # noqa: S608


class ExpireRequest(msgspec.Struct, frozen=True, gc=False):
    """Purses to empty, each with the id of the transfer that does it."""

    purses: tuple[tuple[UUID, UUID], ...]

    @property
    def weight(self) -> int:
        """How many events it is for the teller."""
        return len(self.purses)


class Expired(msgspec.Struct, frozen=True, gc=False):
    """How many purses have ended, and what was in them.

    ``left`` ones were not to end yet: a hold is open on them, a sheet of paper is still to be paid
    out of them, they are stopped, or they have been given a later day meanwhile or are about to be.
    """

    ended: int
    left: int
    amount_yen: int


class Ending(msgspec.Struct, frozen=True, gc=False):
    """A purse whose last day may be over, locked, and where its money goes."""

    account_id: UUID
    wallet_id: UUID
    funding: str
    expires_on: date
    programme: str
    number: int
    budget_account_id: UUID
    is_spoken_for: bool


class ExpireFacts(Facts):
    """The purses of a batch that have not ended; its decisions add what ends."""

    __slots__ = ("day", "ended", "events", "purses")

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.day = japanese_day(now_us - GRACE_S * MICROSECONDS)
        self.purses: dict[UUID, Ending] = {}
        self.ended: list[UUID] = []
        self.events: list[Event] = []


class Expire:
    """The kind of work behind :data:`EXPIRE`."""

    async def gather(
        self, connection: Connection, requests: Sequence[ExpireRequest], now_us: int
    ) -> ExpireFacts:
        """Lock the purses that have not ended, with their programmes' budgets."""
        facts = ExpireFacts(now_us=now_us)
        asked = [purse_id for one in requests for purse_id, _ in one.purses]
        for row in await connection.fetch(_LOCK, asked):
            purse = Ending(*row)
            facts.purses[purse.account_id] = purse
            facts.account_ids |= {purse.account_id, purse.budget_account_id}
        return facts

    def decide(self, request: ExpireRequest, facts: ExpireFacts, batch: Batch) -> Expired:
        """Empty what is over; each purse stands alone."""
        transfers: list[Transfer] = []
        before, left = len(facts.ended), 0
        for purse_id, transfer_id in request.purses:
            purse = facts.purses.pop(purse_id, None)
            if purse is None:
                continue
            if _is_to_wait(purse, facts, batch):
                left += 1
                continue
            facts.ended.append(purse_id)
            if batch.book.available(purse_id):
                transfers.append(_expiry(purse, transfer_id))
                facts.events.append(_event(purse, transfer_id, batch.book.available(purse_id)))
        return Expired(len(facts.ended) - before, left, _book(transfers, batch))

    async def record(
        self, connection: Connection, facts: ExpireFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Mark the purses, and tell of what was in them."""
        del answers
        now = to_datetime(batch.now_us)
        if facts.ended:
            await connection.execute(_END, facts.ended, now)
        await append(connection, events=facts.events, now=now)


EXPIRE: Final = Expire()


def _is_to_wait(purse: Ending, facts: ExpireFacts, batch: Batch) -> bool:
    """Whether a purse cannot end now; a hold may still be taken or be given back."""
    balance = batch.book.balances[purse.account_id]
    return (
        purse.expires_on >= facts.day
        or purse.is_spoken_for
        or balance.debits_pending > 0
        or balance.credits_pending > 0
        or matches(batch.stops, programme=purse.programme)
    )


def _expiry(purse: Ending, transfer_id: UUID) -> Transfer:
    return Transfer(
        transfer_id,
        purse.account_id,
        purse.budget_account_id,
        AMOUNT_MAX,
        LEDGER_JPY,
        TRANSFER_EXPIRY,
        BALANCING_DEBIT,
        user_data_128=purse.wallet_id,
        user_data_32=purse.number,
    )


def _book(transfers: Sequence[Transfer], batch: Batch) -> int:
    """Book transfers that empty their purses, and return how much they have moved."""
    results = batch.book.create_transfers(transfers)
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused to expire: { ({str(r.code) for r in results}) }"
        raise RuntimeError(message)
    return sum(result.amount for result in results)


_encode: Final = msgspec.json.Encoder().encode


def _event(purse: Ending, transfer_id: UUID, amount_yen: int) -> Event:
    body = {
        "wallet_id": str(purse.wallet_id),
        "programme": purse.programme,
        "funding": purse.funding,
        "expired_on": purse.expires_on,
        "amount_yen": amount_yen,
    }
    return Event(transfer_id, "purse.expired", _encode(body).decode())


async def expire_due(
    engine: AsyncEngine,
    *,
    database_url: str,
    clock: Clock,
    now_us: int | None = None,
    rest_ratio: float = REST_RATIO,
) -> int:
    """Empty the purses whose last day was over at ``now_us`` and return how many have ended.

    That is the moment from which on everybody has been given the later day that was due; without
    it, nobody else has to be. At most :data:`PURSES_PER_ROUND`, :data:`PURSES_PER_BATCH` in a
    transaction, with a rest after each. Any number of processes may do it: each purse ends once.
    """
    now_us = clock() if now_us is None else now_us
    day = japanese_day(now_us - GRACE_S * MICROSECONDS)
    ended = looked_at = 0
    last = (date.min, UUID(int=0))
    async with AsyncExitStack() as stack:
        teller: Teller | None = None
        while looked_at < PURSES_PER_ROUND and (due := await _find(engine, day, after=last)):
            if teller is None:
                opened = bulk_teller(database_url, clock=clock)
                teller = await stack.enter_async_context(opened)
            ended += await _expire(teller, [one for _, one in due], clock, rest_ratio)
            looked_at, last = looked_at + len(due), due[-1]
    return ended


async def _find(
    engine: AsyncEngine, day: date, *, after: tuple[date, UUID]
) -> list[tuple[date, UUID]]:
    """Return purses whose last day was before ``day``, beyond those that were looked at."""
    values = {
        "day": day,
        "after_day": after[0],
        "after_id": after[1],
        "most": PURSES_PER_LOOK,
    }
    async with read(engine) as connection:
        return [(row[0], row[1]) for row in await connection.execute(_DUE, values)]


async def _expire(
    teller: Teller, purse_ids: Sequence[UUID], clock: Clock, rest_ratio: float
) -> int:
    ended = 0
    moment = asyncio.get_running_loop().time
    for start in range(0, len(purse_ids), PURSES_PER_BATCH):
        begun = moment()
        group = purse_ids[start : start + PURSES_PER_BATCH]
        ended += (await _submit(teller, group, now_us=clock())).ended
        await asyncio.sleep(rest_ratio * (moment() - begun))
    return ended


async def _submit(teller: Teller, purse_ids: Sequence[UUID], *, now_us: int) -> Expired:
    purses = tuple((one, new_id(now_us=now_us)) for one in purse_ids)
    answer: Expired = await teller.submit(EXPIRE, ExpireRequest(purses))
    return answer
