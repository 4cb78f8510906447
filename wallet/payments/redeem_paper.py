"""Redeem paper: a used sheet becomes a payment to its shop, as one by QR code would have.

The clearing centre has taken the sheet in; nothing but its booklet's own purses pays for it. A
payment is written whatever the outcome, with the same event, so that statements and proofs need not
know that there is paper. While money is stopped, or the merchant suspended, the sheet waits.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import Clock, japanese_day, to_datetime
from wallet.core.database import Connection, read
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import Refusal
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.ledger.rules import LINKED, Transfer, TransferCode
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import ScopeKind, matches
from wallet.payments import storage
from wallet.payments.rules import PAPER, Holder, Payment, parts_of, plan
from wallet.payments.storage import TerminalFacts
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Draw, Programme, Purse

SHEETS_PER_PAGE: Final = 2_000
"""Sheets that are looked at together; a round is over once it has settled as many."""

PAGES_PER_ROUND: Final = 25
"""Pages a round goes through where sheets wait, so that those of one shop keep back no other's."""

_FIRST: Final = UUID(int=0)

# A booklet whose money is still on its way keeps its sheets back until it has come.
_DUE: Final = text("""
SELECT u.payment_id FROM paper_use AS u
WHERE u.settled_at IS NULL AND u.payment_id > CAST(:after AS uuid) AND EXISTS (
    SELECT FROM paper_serial AS s
    WHERE s.id = ANY (ARRAY[u.serial_id]) AND (s.issued_at IS NOT NULL OR s.refusal IS NOT NULL)
    OFFSET 0)
ORDER BY u.payment_id LIMIT :most
""")

# Joins by key, whatever the planner thinks of the tables' sizes.
_LOCK: Final = """
SELECT u.payment_id, u.serial_id, u.sheet, u.terminal_id, u.used_on, b.sheet_yen,
       s.state = 'lost'
FROM paper_use AS u
JOIN paper_serial AS s ON s.id = ANY (ARRAY[u.serial_id])
JOIN paper_batch AS b ON b.id = ANY (ARRAY[s.batch_id])
WHERE u.payment_id = ANY($1::uuid[]) AND u.settled_at IS NULL
ORDER BY u.payment_id FOR NO KEY UPDATE OF u
"""

_SETTLE: Final = """
UPDATE paper_use AS u SET settled_at = $3, refusal = new.refusal
FROM unnest($1::uuid[], $2::jsonb[]) AS new (payment_id, refusal)
WHERE u.payment_id = ANY (ARRAY[new.payment_id])
"""

_USE_UP: Final = """
UPDATE paper_serial AS s SET state = 'used', changed_at = $2
FROM paper_batch AS b
WHERE s.id = ANY($1::uuid[]) AND s.state = 'sold' AND b.id = ANY (ARRAY[s.batch_id])
  AND b.sheets = (SELECT count(*) FROM paper_use AS u
                  WHERE u.serial_id = s.id AND u.settled_at IS NOT NULL AND u.refusal IS NULL)
"""


class RedeemRequest(msgspec.Struct, frozen=True, gc=False):
    """A sheet that was taken in, by the id its payment is to have."""

    payment_id: UUID


class Sheet(msgspec.Struct, frozen=True, gc=False):
    """What is known of a sheet that is to be paid: whose money it is, and where it was used."""

    payment_id: UUID
    serial_id: UUID
    sheet: int
    terminal_id: UUID
    used_on: date
    amount_yen: int
    lost: bool


class RedeemFacts(Facts):
    """What a batch of sheets needs to know, and what its decisions add."""

    __slots__ = (
        "day",
        "newly_spent",
        "now",
        "payments",
        "programmes",
        "purses",
        "sheets",
        "spent_yen",
        "terminals",
        "wallets",
    )

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.now: datetime = to_datetime(now_us)
        self.day: date = japanese_day(now_us)
        self.sheets: dict[UUID, Sheet] = {}
        self.terminals: dict[UUID, TerminalFacts] = {}
        self.wallets: dict[UUID, Holder] = {}
        self.purses: dict[UUID, list[Purse]] = {}
        self.spent_yen: dict[UUID, int] = {}
        self.programmes: dict[UUID, Programme] = {}
        self.payments: dict[UUID, Payment] = {}
        self.newly_spent: dict[UUID, int] = {}


class RedeemPaper:
    """The kind of work behind :data:`REDEEM_PAPER`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[RedeemRequest], now_us: int
    ) -> RedeemFacts:
        """Lock the sheets that are still to be paid, then their booklets' wallets."""
        facts = RedeemFacts(now_us=now_us)
        ids = [request.payment_id for request in requests]
        facts.sheets = {row[0]: Sheet(*row) for row in await connection.fetch(_LOCK, ids)}
        sheets = facts.sheets.values()
        terminal_ids = {sheet.terminal_id for sheet in sheets}
        _, _, facts.terminals = await storage.find_named(connection, [], terminal_ids=terminal_ids)
        wallet_ids = {sheet.serial_id for sheet in sheets}
        facts.spent_yen = await storage.lock_spending(connection, wallet_ids, day=facts.day)
        facts.wallets, facts.purses, versions = await storage.find_wallets(connection, wallet_ids)
        facts.programmes = await self._shelf.take(connection, versions)
        facts.added_ids.update(t.payable_account_id for t in facts.terminals.values())
        for purses in facts.purses.values():
            facts.account_ids.update(purse.account_id for purse in purses)
        return facts

    def decide(
        self, request: RedeemRequest, facts: RedeemFacts, batch: Batch
    ) -> Payment | Refusal | None:
        """Pay one sheet or decline it; None when it was settled before, a refusal when it waits."""
        sheet = facts.sheets.get(request.payment_id)
        if sheet is None:
            return None
        terminal = facts.terminals[sheet.terminal_id]
        stops = batch.stops
        if stops and matches(stops, ScopeKind.PAY, merchant_id=terminal.merchant_id):
            return Refusal("service_stopped")
        if not terminal.merchant_active:
            return Refusal("merchant_suspended")
        drawn = _draw(sheet, terminal, facts, batch)
        if isinstance(drawn, Refusal) and drawn.code == "service_stopped":
            return drawn
        payment = _payment(sheet, terminal, drawn, facts)
        if not isinstance(drawn, Refusal):
            _book(payment, drawn, terminal, facts, batch)
        facts.payments[payment.id] = payment
        del facts.sheets[payment.id]
        return payment

    async def record(
        self, connection: Connection, facts: RedeemFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the payments with their events, and what has become of the sheets."""
        del answers, batch
        payments = list(facts.payments.values())
        if not payments:
            return
        keys = [payment.merchant_payment_id for payment in payments]
        await storage.record(
            connection, payments, keys, facts.newly_spent, now=facts.now, day=facts.day
        )
        refusals = [None if p.refusal is None else _encode(p.refusal).decode() for p in payments]
        await connection.execute(_SETTLE, [p.id for p in payments], refusals, facts.now)
        serial_ids = list({p.wallet_id for p in payments if p.refusal is None})
        await connection.execute(_USE_UP, serial_ids, facts.now)


REDEEM_PAPER: Final = RedeemPaper()
"""The kind of work that pays shops for paper; one in a process, with one shelf of programmes."""


async def run_redemptions(
    engine: AsyncEngine, teller: Teller, *, limit: int = SHEETS_PER_PAGE
) -> int:
    """Pay the shops for sheets that were taken in and return how many were looked at.

    Those that have to wait stay the oldest, so it goes on behind them, ``limit`` at once.
    """
    looked_at = settled = 0
    after = _FIRST
    for _ in range(PAGES_PER_ROUND):
        ids = await _find_due(engine, limit, after=after)
        answers = await asyncio.gather(
            *[teller.submit(REDEEM_PAPER, RedeemRequest(one)) for one in ids]
        )
        looked_at += len(ids)
        settled += sum(not isinstance(answer, Refusal) for answer in answers)
        if len(ids) < limit or settled >= limit:
            break
        after = ids[-1]
    return looked_at


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> int:
    """Do a round of :func:`run_redemptions` if anything is due, as the worker does."""
    if not await _find_due(engine, 1, after=_FIRST):
        return 0
    async with bulk_teller(database_url, clock=clock) as teller:
        return await run_redemptions(engine, teller)


async def _find_due(engine: AsyncEngine, limit: int, *, after: UUID) -> list[UUID]:
    values = {"after": after, "most": limit}
    async with read(engine) as connection:
        return list((await connection.execute(_DUE, values)).scalars())


_encode: Final = msgspec.json.Encoder().encode


def _draw(
    sheet: Sheet, terminal: TerminalFacts, facts: RedeemFacts, batch: Batch
) -> list[Draw] | Refusal:
    """Return what to draw on, or why the shop is not paid; it is the day of use that counts."""
    if sheet.lost:
        return Refusal("payment_not_allowed")
    if facts.wallets[sheet.serial_id].state != "active":
        return Refusal("wallet_frozen")
    available = batch.book.available
    purses = facts.purses[sheet.serial_id]
    return plan(
        [(purse, available(purse.account_id)) for purse in purses],
        facts.programmes,
        shop=terminal.shop,
        day=sheet.used_on,
        amount_yen=sheet.amount_yen,
        stops=batch.stops,
    )


def _payment(
    sheet: Sheet, terminal: TerminalFacts, drawn: Sequence[Draw] | Refusal, facts: RedeemFacts
) -> Payment:
    """Return the payment of a sheet; a name that no merchant could have used is its own."""
    draws = () if isinstance(drawn, Refusal) else drawn
    digest = blake2b(f"paper {sheet.serial_id.hex} {sheet.sheet}".encode(), digest_size=32)
    return Payment(
        id=sheet.payment_id,
        merchant_id=terminal.merchant_id,
        merchant_payment_id=f"paper-{sheet.payment_id.hex}",
        shop_id=terminal.shop.id,
        terminal_id=terminal.id,
        amount_yen=sheet.amount_yen,
        instrument=PAPER,
        instrument_hash=digest.digest(),
        description=None,
        refusal=drawn if isinstance(drawn, Refusal) else None,
        wallet_id=sheet.serial_id,
        created_at=facts.now,
        parts=parts_of(draws, facts.programmes),
    )


def _book(
    payment: Payment,
    draws: Sequence[Draw],
    terminal: TerminalFacts,
    facts: RedeemFacts,
    batch: Batch,
) -> None:
    """Move the money as one chain; the draws fit the balances, so it can only succeed."""
    results = batch.book.create_transfers(
        [
            Transfer(
                numbered_id(payment.id, leg),
                one.purse.account_id,
                terminal.payable_account_id,
                one.amount_yen,
                LEDGER_JPY,
                TRANSFER_PAYMENT,
                LINKED if leg < len(draws) else 0,
                user_data_128=payment.id,
                user_data_32=facts.programmes[one.purse.programme_id].number,
            )
            for leg, one in enumerate(draws, 1)
        ]
    )
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused a sheet that fits: {[str(r.code) for r in results]}"
        raise RuntimeError(message)
    if payment.wallet_id is not None:
        facts.spent_yen[payment.wallet_id] += payment.amount_yen
        facts.newly_spent[payment.wallet_id] = facts.spent_yen[payment.wallet_id]
