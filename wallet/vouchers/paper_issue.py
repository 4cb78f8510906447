"""Issue the money of booklets that were sold, each into a wallet of its own.

As for any set of the programme: what was paid comes from its clearing account, what the city adds
from its budget. The purses are good until the last day of clearing and not only until the
programme's, since a sheet that was used on the last day reaches the city weeks later.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import Connection, read
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_ISSUE
from wallet.ledger.rules import LINKED, AccountCode, Transfer, TransferCode
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import ScopeKind, matches
from wallet.programmes.purses import insert_purses, lock_wallets, purse_account
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Frame, Funding, Programme, Purse

ISSUES_PER_ROUND: Final = 2_000

_DUE: Final = text("""
SELECT id FROM paper_serial
WHERE sold_at IS NOT NULL AND issued_at IS NULL AND refusal IS NULL ORDER BY id LIMIT :most
""")

# Joins by key, whatever the planner thinks of the tables' sizes.
_LOCK: Final = """
SELECT s.id, s.issued_at IS NOT NULL OR s.refusal IS NOT NULL, b.programme_id, b.clearing_until,
       g.version
FROM paper_serial AS s
JOIN paper_batch AS b ON b.id = ANY (ARRAY[s.batch_id])
JOIN programme AS g ON g.id = ANY (ARRAY[b.programme_id])
WHERE s.id = ANY($1::uuid[]) ORDER BY s.id FOR NO KEY UPDATE OF s
"""

_RECORD: Final = """
UPDATE paper_serial AS s
SET issued_at = CASE WHEN new.refusal IS NULL THEN $3::timestamptz END, refusal = new.refusal
FROM unnest($1::uuid[], $2::jsonb[]) AS new (id, refusal) WHERE s.id = ANY (ARRAY[new.id])
"""


class PaperIssue(msgspec.Struct, frozen=True, gc=False):
    """A booklet whose money is to be issued."""

    serial_id: UUID


class PaperIssued(msgspec.Struct, frozen=True, gc=False):
    """What came of it; with ``waits`` nothing yet, and it is asked again."""

    serial_id: UUID
    face_yen: int
    refusal: Refusal | None = None
    waits: bool = False


class _Booklet(msgspec.Struct, frozen=True, gc=False):
    done: bool
    programme_id: UUID
    clearing_until: date


class PaperFacts(Facts):
    """Booklets with their programmes, and what the decisions add."""

    __slots__ = ("booklets", "decided", "new_purses", "programmes")

    def __init__(self) -> None:
        super().__init__()
        self.booklets: dict[UUID, _Booklet] = {}
        self.programmes: dict[UUID, Programme] = {}
        self.new_purses: list[tuple[UUID, Purse]] = []
        self.decided: list[tuple[PaperIssued, Programme]] = []


class IssuePaper:
    """The kind of work behind :data:`ISSUE_PAPER`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[PaperIssue], now_us: int
    ) -> PaperFacts:
        """Lock the booklets, then their wallets, and read their programmes."""
        del now_us
        facts = PaperFacts()
        versions: dict[UUID, int] = {}
        ids = [request.serial_id for request in requests]
        for serial_id, *booklet, version in await connection.fetch(_LOCK, ids):
            facts.booklets[serial_id] = _Booklet(*booklet)
            versions[booklet[1]] = version
        await lock_wallets(connection, facts.booklets)
        facts.programmes = await self._shelf.take(connection, versions)
        for programme_id in versions:
            programme = facts.programmes[programme_id]
            facts.account_ids |= {programme.clearing_account_id, programme.budget_account_id}
        return facts

    def decide(self, request: PaperIssue, facts: PaperFacts, batch: Batch) -> PaperIssued:
        """Issue one set, or say why it cannot be; pure but for the book and the facts."""
        booklet = facts.booklets[request.serial_id]
        programme = facts.programmes[booklet.programme_id]
        frame, stops = programme.frame, batch.stops
        if booklet.done or frame is None:
            return PaperIssued(request.serial_id, 0)
        if stops and matches(stops, ScopeKind.ISSUE, programme=programme.code):
            return PaperIssued(request.serial_id, 0, waits=True)
        refusal = _refuse(programme, frame, batch)
        if refusal is None:
            _book(request.serial_id, booklet, programme, frame, facts, batch)
        face_yen = frame.face_yen if refusal is None else 0
        issued = PaperIssued(request.serial_id, face_yen, refusal)
        facts.decided.append((issued, programme))
        facts.booklets[request.serial_id] = msgspec.structs.replace(booklet, done=True)
        return issued

    async def record(
        self, connection: Connection, facts: PaperFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the purses, what became of each booklet, and the events."""
        del answers
        now = to_datetime(batch.now_us)
        await insert_purses(connection, facts.new_purses)
        if facts.decided:
            await connection.execute(
                _RECORD,
                [issued.serial_id for issued, _ in facts.decided],
                [_refusal_json(issued) for issued, _ in facts.decided],
                now,
            )
        events = [_event(*one) for one in facts.decided if one[0].refusal is None]
        await append(connection, events=events, now=now)


ISSUE_PAPER: Final = IssuePaper()
"""The kind of work that issues booklets' money; one in a process, with one shelf of programmes."""


async def run_paper_issues(
    engine: AsyncEngine, teller: Teller, *, limit: int = ISSUES_PER_ROUND
) -> int:
    """Issue the money of booklets that were sold and return how many were looked at."""
    async with read(engine) as connection:
        ids = list((await connection.execute(_DUE, {"most": limit})).scalars())
    await asyncio.gather(*[teller.submit(ISSUE_PAPER, PaperIssue(one)) for one in ids])
    return len(ids)


def _refuse(programme: Programme, frame: Frame, batch: Batch) -> Refusal | None:
    """Say why a set cannot be issued: there are no more of them, or the budget is used up."""
    clearing = batch.book.balances[programme.clearing_account_id]
    if clearing.debits_posted + frame.price_yen > frame.price_yen * frame.sets_total:
        return Refusal("sets_sold_out", {"left_sets": 0})
    left_yen = batch.book.available(programme.budget_account_id)
    if frame.face_yen - frame.price_yen > left_yen:
        return Refusal("budget_exhausted", {"left_yen": left_yen})
    return None


def _book(
    serial_id: UUID,
    booklet: _Booklet,
    programme: Programme,
    frame: Frame,
    facts: PaperFacts,
    batch: Batch,
) -> None:
    """Open the booklet's purses and fill them as one chain; it fits, so it succeeds."""
    portions = [
        (Funding.PAID, programme.clearing_account_id, frame.price_yen),
        (Funding.PREMIUM, programme.budget_account_id, frame.face_yen - frame.price_yen),
    ]
    portions = [portion for portion in portions if portion[2]]
    transfers: list[Transfer] = []
    for number, (funding, source_id, amount_yen) in enumerate(portions, 1):
        purse_id = numbered_id(serial_id, number)
        purse = Purse(purse_id, programme.id, funding, booklet.clearing_until)
        facts.new_purses.append((serial_id, purse))
        transfers.append(
            Transfer(
                purse_id,
                source_id,
                purse_id,
                amount_yen,
                LEDGER_JPY,
                TRANSFER_ISSUE,
                LINKED if number < len(portions) else 0,
                user_data_128=serial_id,
                user_data_64=1,
                user_data_32=programme.number,
            )
        )
    accounts = [
        purse_account(
            transfer.credit_account_id, wallet_id=serial_id, programme_number=programme.number
        )
        for transfer in transfers
    ]
    codes = [str(result.code) for result in batch.book.create_accounts(accounts)]
    codes += [str(result.code) for result in batch.book.create_transfers(transfers)]
    if set(codes) - {AccountCode.CREATED, TransferCode.CREATED}:
        message = f"the ledger refused a booklet that fits: {codes}"
        raise RuntimeError(message)


_encode: Final = msgspec.json.Encoder().encode


def _refusal_json(issued: PaperIssued) -> str | None:
    return None if issued.refusal is None else _encode(issued.refusal).decode()


def _event(issued: PaperIssued, programme: Programme) -> Event:
    """The same event as for a set that was issued to a phone."""
    body = {
        "issue_id": str(issued.serial_id),
        "wallet_id": str(issued.serial_id),
        "programme": programme.code,
        "sets": 1,
        "price_yen": 0 if programme.frame is None else programme.frame.price_yen,
        "face_yen": issued.face_yen,
    }
    return Event(issued.serial_id, "voucher.issued", _encode(body).decode())
