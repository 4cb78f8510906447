"""Extend: purses of a programme get a later last day, as the office has decided, or by being used.

A purse stays the same account, so what was paid out of it can go back into it. Only where its
holder has one of that later day already, its money moves there, and the old one runs out empty.
Whether an extension is lawful is decided when it is asked for: what is sold by another than a city
is only exempt from the law on prepaid money because it is good for six months from its issue
(Payment Services Act, Art. 4(1)(ii)), and what is not exempt has told its buyers until when (Art.
13).
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock, japanese_day, to_datetime
from wallet.core.database import Connection, read, write
from wallet.core.ids import new_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal, RefusedError
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.chart import TRANSFER_MOVE, TRANSFER_PAYMENT
from wallet.ledger.rules import AMOUNT_MAX, BALANCING_DEBIT, Transfer, TransferCode
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.programmes.legal import Regime, regime_of
from wallet.programmes.purses import WalletFacts, find_purse, lock_wallets
from wallet.programmes.rules import Purse
from wallet.programmes.terms import Terms, expires_on_of

EXTENSION_DAYS_MAX: Final = 366
"""How much later a last day may become at once; a longer one is a slip of the pen."""

PURSES_PER_BATCH: Final = 500
PURSES_PER_ROUND: Final = 100_000


_LOCK: Final = """
SELECT account_id, ended_at IS NULL FROM purse
WHERE account_id = ANY($1::uuid[]) ORDER BY account_id FOR NO KEY UPDATE
"""

_NUMBERS: Final = "SELECT id, number FROM programme WHERE id = ANY($1::uuid[])"

_GIVE_DAY: Final = """
UPDATE purse AS p SET expires_on = new.expires_on
FROM unnest($1::uuid[], $2::date[]) AS new (account_id, expires_on)
WHERE p.account_id = ANY (ARRAY[new.account_id])
"""

_FIND_PROGRAMME: Final = text("SELECT id, terms::text FROM programme WHERE code = :code")

_DECIDE: Final = text("""
INSERT INTO purse_extension (id, programme_id, from_day, to_day, reason, created_at)
VALUES (:id, :programme_id, :from_day, :to_day, :reason, :now)
""")

_COUNT: Final = text("""
SELECT count(*) FROM purse
WHERE programme_id = :programme_id AND expires_on = :from_day AND ended_at IS NULL
""")

_LIST: Final = text("""
SELECT x.id, g.code AS programme, x.from_day, x.to_day, x.reason, x.extended, x.created_at,
       x.done_at
FROM purse_extension AS x JOIN programme AS g ON g.id = x.programme_id
WHERE x.id < CAST(:before AS uuid) ORDER BY x.id DESC LIMIT :most
""")

_OPEN: Final = text("""
SELECT x.id, x.programme_id, g.code, x.from_day, x.to_day
FROM purse_extension AS x JOIN programme AS g ON g.id = x.programme_id
WHERE x.done_at IS NULL ORDER BY x.id
""")

_OF_DAY: Final = text("""
SELECT p.account_id, p.wallet_id FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id
WHERE p.programme_id = :programme_id AND p.expires_on = :from_day AND p.ended_at IS NULL
  AND (b.credits_posted > b.debits_posted OR NOT EXISTS (
       SELECT FROM purse AS q WHERE q.wallet_id = p.wallet_id AND q.programme_id = p.programme_id
         AND q.funding = p.funding AND q.expires_on = :to_day))
ORDER BY p.wallet_id LIMIT :most
""")

_DONE: Final = text("""
UPDATE purse_extension SET extended = extended + :extended,
       done_at = CASE WHEN :is_done THEN CAST(:now AS timestamptz) END
WHERE id = :id AND done_at IS NULL
""")

# Of programmes whose money runs out some time after its last use: any use of it by its holder
# counts for all they have of it.
_USED: Final = text("""
SELECT p.account_id, p.wallet_id, p.programme_id, p.expires_on, used.at
FROM programme AS g
JOIN purse AS p ON p.programme_id = g.id
CROSS JOIN LATERAL (
    SELECT max(t.timestamp) AS at
    FROM purse AS q JOIN transfer AS t ON t.debit_account_id = q.account_id
    WHERE q.wallet_id = p.wallet_id AND q.programme_id = p.programme_id AND t.code = :payment
) AS used
WHERE g.terms -> 'expiry' ->> 'rule' = 'after_last_use'
  AND p.ended_at IS NULL AND p.expires_on < :before AND used.at IS NOT NULL
LIMIT :most
""")


class LaterDay(msgspec.Struct, frozen=True, gc=False):
    """One purse and its new day; ``transfer_id`` is for its money, should it have to move."""

    account_id: UUID
    wallet_id: UUID
    to_day: date
    transfer_id: UUID


class ExtendRequest(msgspec.Struct, frozen=True, gc=False):
    """Purses to give a later day; one that has it, or has ended, stays as it is."""

    purses: tuple[LaterDay, ...]

    @property
    def weight(self) -> int:
        """How many events it is for the teller."""
        return len(self.purses)


class ExtendFacts(Facts):
    """The wallets of a batch and those of the purses that have not ended."""

    __slots__ = ("live", "new_days", "numbers", "wallets")

    wallets: dict[UUID, WalletFacts]

    def __init__(self) -> None:
        super().__init__()
        self.live: set[UUID] = set()
        self.numbers: dict[UUID, int] = {}
        self.new_days: dict[UUID, date] = {}


class Extend:
    """The kind of work behind :data:`EXTEND`."""

    async def gather(
        self, connection: Connection, requests: Sequence[ExtendRequest], now_us: int
    ) -> ExtendFacts:
        """Lock the holders, so that no payment is under way, and then their purses."""
        del now_us
        facts = ExtendFacts()
        asked = [one for request in requests for one in request.purses]
        facts.wallets = await lock_wallets(connection, {one.wallet_id for one in asked})
        rows = await connection.fetch(_LOCK, [one.account_id for one in asked])
        facts.live = {account_id for account_id, is_live in rows if is_live}
        purses = [purse for wallet in facts.wallets.values() for purse in wallet.purses]
        programme_ids = {purse.programme_id for purse in purses}
        facts.numbers = dict(await connection.fetch(_NUMBERS, list(programme_ids)))
        facts.account_ids.update(purse.account_id for purse in purses)
        return facts

    def decide(self, request: ExtendRequest, facts: ExtendFacts, batch: Batch) -> int:
        """Give the purses their day and return how many have it now that had not."""
        return sum(_extend(one, facts, batch) for one in request.purses)

    async def record(
        self, connection: Connection, facts: ExtendFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the new days."""
        del answers, batch
        if facts.new_days:
            days = facts.new_days
            await connection.execute(_GIVE_DAY, list(days), list(days.values()))


EXTEND: Final = Extend()


def _extend(one: LaterDay, facts: ExtendFacts, batch: Batch) -> bool:
    wallet = facts.wallets.get(one.wallet_id)
    purses = [] if wallet is None else wallet.purses
    purse = next((p for p in purses if p.account_id == one.account_id), None)
    if purse is None or purse.account_id not in facts.live or purse.expires_on >= one.to_day:
        return False
    other = find_purse(
        purses, programme_id=purse.programme_id, funding=purse.funding, expires_on=one.to_day
    )
    if other is not None:
        return _move(purse, other, one, facts, batch)
    purses[purses.index(purse)] = replace(purse, expires_on=one.to_day)
    facts.new_days[purse.account_id] = one.to_day
    return True


def _move(purse: Purse, other: Purse, one: LaterDay, facts: ExtendFacts, batch: Batch) -> bool:
    """Move what may be spent, and return whether that is all of it.

    What a hold keeps stays until the hold is over, and its purse is still to be extended then.
    """
    if not batch.book.available(purse.account_id):
        return False
    (result,) = batch.book.create_transfers(
        [
            Transfer(
                one.transfer_id,
                purse.account_id,
                other.account_id,
                AMOUNT_MAX,
                LEDGER_JPY,
                TRANSFER_MOVE,
                BALANCING_DEBIT,
                user_data_128=one.wallet_id,
                user_data_32=facts.numbers[purse.programme_id],
            )
        ]
    )
    if result.code is not TransferCode.CREATED:
        message = f"the ledger refused to move money to a later day: {result.code}"
        raise RuntimeError(message)
    return not batch.book.balances[purse.account_id].debits_pending


def check_extension(terms: Terms, *, from_day: date, to_day: date, today: date) -> Refusal | None:
    """Return why purses that are good until ``from_day`` cannot be good until ``to_day``."""
    if regime_of(terms) in {Regime.SHORT, Regime.REGULATED}:
        return Refusal("extension_unlawful", {"issuer_kind": str(terms.issuer_kind), "rule": "L-2"})
    if from_day < today:
        return Refusal("extension_too_late", {"from_day": from_day})
    latest = from_day + timedelta(days=EXTENSION_DAYS_MAX)
    if not from_day < to_day <= latest:
        return Refusal("extension_day_invalid", {"from_day": from_day, "latest_day": latest})
    return None


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: purses of a programme that are good until a day shall be longer."""

    programme: str
    from_day: date
    to_day: date


class Preview(msgspec.Struct, frozen=True):
    """Which programme an extension is of, and how many purses it would reach."""

    programme_id: UUID
    purses: int


async def preview_extension(
    connection: AsyncConnection, *, extension: Extension, now_us: int
) -> Preview:
    """Return what it would reach.

    Raises :class:`RefusedError` ``programme_unknown``, ``extension_unlawful``,
    ``extension_too_late``, ``extension_day_invalid``, and ``extension_reaches_nobody``.
    """
    programme_id = await _check(connection, extension, now_us)
    values = {"programme_id": programme_id, "from_day": extension.from_day}
    reached: int = (await connection.execute(_COUNT, values)).scalar_one()
    if not reached:
        raise RefusedError("extension_reaches_nobody", from_day=extension.from_day)
    return Preview(programme_id, reached)


async def decide_extension(
    connection: AsyncConnection, *, extension: Extension, reason: str, now_us: int
) -> UUID:
    """Write an extension for the worker to carry out and return its id.

    Raises as :func:`preview_extension` does, and ``extension_under_way`` while another one of the
    same purses is.
    """
    programme_id = await _check(connection, extension, now_us)
    extension_id = new_id(now_us=now_us)
    values = {
        "id": extension_id,
        "programme_id": programme_id,
        "from_day": extension.from_day,
        "to_day": extension.to_day,
        "reason": reason,
        "now": to_datetime(now_us),
    }
    try:
        await connection.execute(_DECIDE, values)
    except IntegrityError:
        raise RefusedError("extension_under_way", from_day=extension.from_day) from None
    return extension_id


async def list_extensions(
    connection: AsyncConnection, *, before: UUID | None, limit: int
) -> Sequence[Any]:
    """Return extensions that were decided, the newest first, with how far they are."""
    values = {"before": before or UUID(int=2**128 - 1), "most": limit}
    return (await connection.execute(_LIST, values)).all()


async def _check(connection: AsyncConnection, extension: Extension, now_us: int) -> UUID:
    found = (await connection.execute(_FIND_PROGRAMME, {"code": extension.programme})).one_or_none()
    if found is None:
        raise RefusedError("programme_unknown", programme=extension.programme)
    refusal = check_extension(
        msgspec.json.decode(found.terms, type=Terms),
        from_day=extension.from_day,
        to_day=extension.to_day,
        today=japanese_day(now_us),
    )
    if refusal is not None:
        raise RefusedError(refusal.code, **refusal.facts)
    programme_id: UUID = found.id
    return programme_id


async def extend_due(engine: AsyncEngine, *, database_url: str, clock: Clock) -> int:
    """Carry out the extensions that were decided; return how many purses have their day now.

    One that takes more than a round is gone on with in the next. It tells of itself once it is
    done.
    """
    extended = 0
    async with read(engine) as connection:
        open_ones = (await connection.execute(_OPEN)).all()
    for row in open_ones:
        values = {
            "programme_id": row.programme_id,
            "from_day": row.from_day,
            "to_day": row.to_day,
            "most": PURSES_PER_ROUND,
        }
        async with read(engine) as connection:
            due = (await connection.execute(_OF_DAY, values)).all()
        days = [(one.account_id, one.wallet_id, row.to_day) for one in due]
        count = await _submit_all(database_url, days, clock)
        extended += count
        await _note(engine, row, count, is_done=count == len(due) < PURSES_PER_ROUND, clock=clock)
    return extended


async def _note(
    engine: AsyncEngine,
    row: Any,  # noqa: ANN401 - a row of the query above
    extended: int,
    *,
    is_done: bool,
    clock: Clock,
) -> None:
    now_us = clock()
    values = {
        "id": row.id,
        "extended": extended,
        "is_done": is_done,
        "now": to_datetime(now_us),
    }
    body = {"programme": row.code, "from_day": row.from_day, "to_day": row.to_day}

    async def work(connection: AsyncConnection) -> None:
        changed = (await connection.execute(_DONE, values)).rowcount
        if is_done and changed:
            await tell(connection, kind="purses.extended", body=body, now_us=now_us)

    await write(engine, work)


async def renew_used(
    engine: AsyncEngine, *, database_url: str, clock: Clock, days_ahead: int = 0
) -> int:
    """Give purses that run out some time after their last use the day that follows from it.

    Nothing of that is done when money is spent, so that paying stays what it is; it is in time
    when the last day is over. Purses whose last day is ``days_ahead`` from now, or sooner, are
    looked at. Return how many have a later one now.
    """
    before = japanese_day(clock()) + timedelta(days=days_ahead + 1)
    values = {"payment": TRANSFER_PAYMENT, "before": before, "most": PURSES_PER_ROUND}
    async with read(engine) as connection:
        rows = (await connection.execute(_USED, values)).all()
    if not rows:
        return 0
    programmes = await _terms_of(engine, {row.programme_id for row in rows})
    days = [
        (row.account_id, row.wallet_id, to_day)
        for row in rows
        if (to_day := expires_on_of(programmes[row.programme_id], japanese_day(row.at)))
        > row.expires_on
    ]
    return await _submit_all(database_url, days, clock)


async def _terms_of(engine: AsyncEngine, programme_ids: Collection[UUID]) -> dict[UUID, Terms]:
    async with read(engine) as connection:
        rows = await connection.execute(
            text("SELECT id, terms::text FROM programme WHERE id = ANY(:ids)"),
            {"ids": list(programme_ids)},
        )
        return {row.id: msgspec.json.decode(row.terms, type=Terms) for row in rows}


async def _submit_all(
    database_url: str, days: Sequence[tuple[UUID, UUID, date]], clock: Clock
) -> int:
    """Submit purses, wallets and days in batches, with rests as long as they took."""
    if not days:
        return 0
    extended = 0
    moment = asyncio.get_running_loop().time
    async with bulk_teller(database_url, clock=clock) as teller:
        for start in range(0, len(days), PURSES_PER_BATCH):
            begun = moment()
            extended += await _submit(teller, days[start : start + PURSES_PER_BATCH], clock())
            await asyncio.sleep(moment() - begun)
    return extended


async def _submit(teller: Teller, days: Sequence[tuple[UUID, UUID, date]], now_us: int) -> int:
    request = ExtendRequest(tuple(LaterDay(*one, new_id(now_us=now_us)) for one in days))
    extended: int = await teller.submit(EXTEND, request)
    return extended
