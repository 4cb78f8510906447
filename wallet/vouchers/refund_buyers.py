"""Refund buyers: what is left of a programme's paid money goes back to whoever bought it.

The office decides by two and writes a row; the worker moves the money: paid money through the
programme's clearing account, from which it is to be paid out, and its premium to the budget. What
was free stays. How much that is is decided when it happens, so paying in between is no matter.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock, japanese_day, to_datetime
from wallet.core.database import Connection, read
from wallet.core.ids import NUMBERED_MAX, align_id, new_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal, RefusedError
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.chart import TRANSFER_BUYER_REFUND
from wallet.ledger.rules import LINKED, Transfer, TransferCode
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import matches
from wallet.programmes.base_date import base_date_before, refunds_allowed_yen, report
from wallet.programmes.legal import Regime, regime_of
from wallet.programmes.legal_settings import legal_settings
from wallet.programmes.purses import WalletFacts, lock_wallets
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Funding, Programme, Purse
from wallet.vouchers.refund_rules import LIMITED, Reason, Room, check_ratio, period_after
from wallet.vouchers.refund_tables import buyer_refund

WALLETS_MAX: Final = 200
"""Buyers in one decision; who decides reads whom it is about."""

PER_ROUND: Final = 500

_LOCK: Final = """
SELECT id, programme_id, wallet_id, reason FROM buyer_refund
WHERE id = ANY($1::uuid[]) AND state = 'decided' ORDER BY id FOR NO KEY UPDATE
"""

_VERSIONS: Final = "SELECT id, version FROM programme WHERE id = ANY($1::uuid[])"

# Whoever refunds what the law limits waits for whoever else does, so that the sum is exact.
_LOCK_SUM: Final = "SELECT id FROM programme WHERE number = 1 FOR NO KEY UPDATE"

_SUM: Final = """
SELECT r.programme_id, sum(r.paid_yen)::bigint FROM buyer_refund AS r
WHERE r.state = 'done' AND r.reason = ANY($1::text[]) AND r.settled_at >= $2
GROUP BY 1
"""

_SETTLE: Final = """
UPDATE buyer_refund AS r SET state = new.state, refusal = new.refusal, paid_yen = new.paid_yen,
       premium_yen = new.premium_yen, settled_at = $6
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
     AS new (id, state, refusal, paid_yen, premium_yen)
WHERE r.id = ANY (ARRAY[new.id])
"""

_DUE: Final = text("""
SELECT id, wallet_id FROM buyer_refund WHERE state = 'decided' ORDER BY id LIMIT :most
""")
_FIND_PROGRAMME: Final = text("SELECT id, code FROM programme WHERE code = :code")
_FIND_WALLETS: Final = text("SELECT id FROM wallet WHERE id = ANY(:ids)")
_LIST: Final = text("""
SELECT r.id, g.code AS programme, r.wallet_id, r.reason, r.state, r.refusal, r.paid_yen,
       r.premium_yen, r.created_at, r.settled_at
FROM buyer_refund AS r JOIN programme AS g ON g.id = r.programme_id
WHERE r.id < CAST(:before AS uuid) ORDER BY r.id DESC LIMIT :most
""")


class BuyerRefundRequest(msgspec.Struct, frozen=True, gc=False):
    """A refund that was decided, whose it is, and what the law leaves room for."""

    id: UUID
    wallet_id: UUID
    room: Room


class BuyerRefunded(msgspec.Struct, frozen=True, gc=False):
    """What has come of a refund; with a ``refusal`` nothing has moved."""

    id: UUID
    paid_yen: int = 0
    premium_yen: int = 0
    refusal: str | None = None


class Decided(msgspec.Struct, frozen=True, gc=False):
    """A refund as it was decided, locked."""

    id: UUID
    programme_id: UUID
    wallet_id: UUID
    reason: Reason


class BuyerFacts(Facts):
    """What a batch of refunds to buyers needs to know; its decisions add to it."""

    __slots__ = ("day", "decided", "events", "programmes", "refunded_yen", "settled", "wallets")

    wallets: dict[UUID, WalletFacts]
    decided: dict[UUID, Decided]
    programmes: dict[UUID, Programme]

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.day: date = japanese_day(now_us)
        self.refunded_yen = 0
        self.settled: list[BuyerRefunded] = []
        self.events: list[Event] = []


class RefundBuyers:
    """The kind of work behind :data:`REFUND_BUYERS`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[BuyerRefundRequest], now_us: int
    ) -> BuyerFacts:
        """Lock the holders, the refunds that were decided, and what limits them."""
        facts = BuyerFacts(now_us=now_us)
        facts.wallets = await lock_wallets(connection, {one.wallet_id for one in requests})
        rows = await connection.fetch(_LOCK, [one.id for one in requests])
        facts.decided = {row[0]: Decided(row[0], row[1], row[2], Reason(row[3])) for row in rows}
        programme_ids = {one.programme_id for one in facts.decided.values()}
        versions = dict(await connection.fetch(_VERSIONS, list(programme_ids)))
        known = await self._shelf.take(connection, versions)
        facts.programmes = {one: known[one] for one in versions}
        if any(_is_limited(one, facts) for one in facts.decided.values()):
            await _sum_up(connection, self._shelf, requests[0].room, facts)
        for programme in facts.programmes.values():
            facts.account_ids |= {programme.clearing_account_id, programme.budget_account_id}
        for one in facts.decided.values():
            facts.account_ids.update(purse.account_id for purse in _purses(one, facts))
        return facts

    def decide(
        self, request: BuyerRefundRequest, facts: BuyerFacts, batch: Batch
    ) -> BuyerRefunded | None:
        """Refund what is left; None when it was settled before, or waits for a stop to end."""
        decided = facts.decided.get(request.id)
        if decided is None:
            return None
        programme = facts.programmes[decided.programme_id]
        if matches(batch.stops, programme=programme.code):
            return None
        del facts.decided[request.id]
        purses = [
            (purse, batch.book.available(purse.account_id)) for purse in _purses(decided, facts)
        ]
        purses = [(purse, yen) for purse, yen in purses if yen > 0][:NUMBERED_MAX]
        paid_yen = sum(yen for purse, yen in purses if purse.funding == Funding.PAID)
        refusal = _check(decided, programme, paid_yen, facts, request.room)
        if refusal is not None:
            settled = BuyerRefunded(decided.id, refusal=refusal.code)
        else:
            _book(decided, programme, purses, batch)
            if _is_limited(decided, facts):
                facts.refunded_yen += paid_yen
            settled = BuyerRefunded(decided.id, paid_yen, sum(yen for _, yen in purses) - paid_yen)
            facts.events.append(_event(decided, programme, settled))
        facts.settled.append(settled)
        return settled

    async def record(
        self, connection: Connection, facts: BuyerFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write what has come of the refunds."""
        del answers
        now = to_datetime(batch.now_us)
        if facts.settled:
            done = [one.refusal is None for one in facts.settled]
            await connection.execute(
                _SETTLE,
                [one.id for one in facts.settled],
                ["done" if is_done else "refused" for is_done in done],
                [one.refusal for one in facts.settled],
                [one.paid_yen if one.refusal is None else None for one in facts.settled],
                [one.premium_yen if one.refusal is None else None for one in facts.settled],
                now,
            )
        await append(connection, events=facts.events, now=now)


REFUND_BUYERS: Final = RefundBuyers()


async def _sum_up(
    connection: Connection, shelf: ProgrammeShelf, room: Room, facts: BuyerFacts
) -> None:
    """Add up what the law has limited since the half-year began, and let nobody else add to it."""
    await connection.fetch(_LOCK_SUM)
    since = to_datetime(_first_us(room.since))
    rows = await connection.fetch(_SUM, [str(one) for one in LIMITED], since)
    versions = dict(await connection.fetch(_VERSIONS, [row[0] for row in rows]))
    known = await shelf.take(connection, versions)
    facts.refunded_yen = sum(
        yen
        for programme_id, yen in rows
        if regime_of(known[programme_id].terms) is Regime.REGULATED
    )


def _first_us(day: date) -> int:
    """Return when a day begins in Japan."""
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400_000_000 - 9 * 3_600_000_000


def _is_limited(one: Decided, facts: BuyerFacts) -> bool:
    terms = facts.programmes[one.programme_id].terms
    return one.reason in LIMITED and regime_of(terms) is Regime.REGULATED


def _purses(one: Decided, facts: BuyerFacts) -> list[Purse]:
    """Return the purses with what was bought that are still good."""
    wallet = facts.wallets.get(one.wallet_id)
    return [
        purse
        for purse in (() if wallet is None else wallet.purses)
        if purse.programme_id == one.programme_id
        and purse.funding in {Funding.PAID, Funding.PREMIUM}
        and purse.expires_on >= facts.day
    ]


def _check(
    one: Decided, programme: Programme, paid_yen: int, facts: BuyerFacts, room: Room
) -> Refusal | None:
    if paid_yen == 0:
        return Refusal("buyer_refund_nothing_left")
    return check_ratio(
        regime_of(programme.terms),
        one.reason,
        paid_yen=paid_yen,
        refunded_yen=facts.refunded_yen,
        room=room,
    )


def _book(
    one: Decided, programme: Programme, purses: Sequence[tuple[Purse, int]], batch: Batch
) -> None:
    results = batch.book.create_transfers(
        [
            Transfer(
                numbered_id(one.id, number),
                purse.account_id,
                programme.clearing_account_id
                if purse.funding == Funding.PAID
                else programme.budget_account_id,
                yen,
                LEDGER_JPY,
                TRANSFER_BUYER_REFUND,
                LINKED if number < len(purses) else 0,
                user_data_128=one.wallet_id,
                user_data_32=programme.number,
            )
            for number, (purse, yen) in enumerate(purses, 1)
        ]
    )
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused a refund that fits: {[str(r.code) for r in results]}"
        raise RuntimeError(message)


_encode: Final = msgspec.json.Encoder().encode


def _event(one: Decided, programme: Programme, settled: BuyerRefunded) -> Event:
    body = {
        "buyer_refund_id": str(one.id),
        "wallet_id": str(one.wallet_id),
        "programme": programme.code,
        "reason": str(one.reason),
        "paid_yen": settled.paid_yen,
        "premium_yen": settled.premium_yen,
    }
    return Event(one.id, "buyer.refunded", _encode(body).decode())


async def check_buyers(
    connection: AsyncConnection, *, programme: str, wallet_ids: Collection[UUID]
) -> UUID:
    """Return the programme's id.

    Raises :class:`RefusedError` ``programme_unknown``, ``wallet_unknown``, and
    ``buyer_refund_too_many`` for more than :data:`WALLETS_MAX` or for none.
    """
    if not 0 < len(wallet_ids) <= WALLETS_MAX:
        raise RefusedError("buyer_refund_too_many", most=WALLETS_MAX)
    found = (await connection.execute(_FIND_PROGRAMME, {"code": programme})).one_or_none()
    if found is None:
        raise RefusedError("programme_unknown", programme=programme)
    known = (await connection.execute(_FIND_WALLETS, {"ids": list(wallet_ids)})).scalars().all()
    if len(known) < len(set(wallet_ids)):
        raise RefusedError("wallet_unknown")
    programme_id: UUID = found.id
    return programme_id


async def decide_buyer_refunds(
    connection: AsyncConnection,
    *,
    programme: str,
    wallet_ids: Collection[UUID],
    reason: Reason,
    now_us: int,
) -> list[UUID]:
    """Write refunds for the worker to carry out and return their ids; as :func:`check_buyers`."""
    programme_id = await check_buyers(connection, programme=programme, wallet_ids=wallet_ids)
    buyers = {wallet_id: align_id(new_id(now_us=now_us)) for wallet_id in wallet_ids}
    rows = [
        {
            "id": refund_id,
            "programme_id": programme_id,
            "wallet_id": wallet_id,
            "reason": str(reason),
            "state": "decided",
            "created_at": to_datetime(now_us),
        }
        for wallet_id, refund_id in buyers.items()
    ]
    await connection.execute(buyer_refund.insert(), rows)
    return list(buyers.values())


async def list_buyer_refunds(
    connection: AsyncConnection, *, before: UUID | None, limit: int
) -> Sequence[Any]:
    """Return refunds to buyers, the newest first, with what has come of them."""
    values = {"before": before or UUID(int=2**128 - 1), "most": limit}
    return (await connection.execute(_LIST, values)).all()


async def refund_room(connection: AsyncConnection, *, today: date) -> Room:
    """Return what the law lets be refunded in this half-year, by the figures of the one before."""
    settings = legal_settings()
    last = base_date_before(today)
    figures = await report(connection, base_date=last, settings=settings, today=today)
    regulated = [row for row in figures.rows if row.regime is Regime.REGULATED]
    allowed_yen = refunds_allowed_yen(
        issued_before_yen=sum(row.issued_yen for row in regulated),
        unused_before_yen=sum(row.unused_yen for row in regulated),
        settings=settings,
    )
    return Room(period_after(last), allowed_yen)


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> int:
    """Carry out refunds to buyers that were decided; return how many were settled."""
    async with read(engine) as connection:
        due = (await connection.execute(_DUE, {"most": PER_ROUND})).all()
    if not due:
        return 0
    async with read(engine) as connection:
        room = await refund_room(connection, today=japanese_day(clock()))
    requests = [BuyerRefundRequest(row.id, row.wallet_id, room) for row in due]
    async with bulk_teller(database_url, clock=clock) as teller:
        answers = await asyncio.gather(*[teller.submit(REFUND_BUYERS, one) for one in requests])
    return sum(one is not None for one in answers)
