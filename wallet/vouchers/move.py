"""Move: what is in a wallet that is left behind goes to the one that takes its place.

Purse by purse, so that money keeps its programme, its funding class and its last day. What a hold
keeps back stays until the hold is resolved, and follows then; so does what a shop gives back later.
The wallet that was left is closed when nothing is in it for the first time.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock, to_datetime
from wallet.core.database import Connection, read
from wallet.core.ids import NUMBERED_MAX, align_id, new_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_MOVE
from wallet.ledger.rules import LINKED, AccountCode, Transfer, TransferCode
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.programmes.purses import (
    WalletFacts,
    find_purse,
    insert_purses,
    lock_wallets,
    purse_account,
)
from wallet.programmes.rules import Purse

MOVES_PER_ROUND: Final = 200

_DUE: Final = text("""
SELECT r.id, r.from_wallet_id, r.to_wallet_id FROM card_replacement AS r
WHERE r.from_wallet_id <> r.to_wallet_id AND (r.moved_at IS NULL OR EXISTS (
    SELECT FROM purse AS p JOIN balance AS b ON b.account_id = ANY (ARRAY[p.account_id])
    WHERE p.wallet_id = ANY (ARRAY[r.from_wallet_id])
      AND b.credits_posted > b.debits_posted + b.debits_pending
    OFFSET 0))
ORDER BY r.id LIMIT :most
""")

_LOCK: Final = """
SELECT id FROM card_replacement
WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""

# A card may be replaced again before the money of the first one has followed.
_AWAITING: Final = """
SELECT to_wallet_id FROM card_replacement
WHERE moved_at IS NULL AND to_wallet_id = ANY($1::uuid[])
"""

_NUMBERS: Final = "SELECT id, number FROM programme WHERE id = ANY($1::uuid[])"

_DONE: Final = """
WITH done AS (
    UPDATE card_replacement SET moved_at = coalesce(moved_at, $2)
    WHERE id = ANY($1::uuid[]) RETURNING from_wallet_id
)
UPDATE wallet AS w SET state = 'closed' FROM done WHERE w.id = ANY (ARRAY[done.from_wallet_id])
"""


class MoveRequest(msgspec.Struct, frozen=True, gc=False):
    """A replacement whose money is to follow; ``move_id`` is aligned, and new for each attempt."""

    replacement_id: UUID
    move_id: UUID
    from_wallet_id: UUID
    to_wallet_id: UUID


class Moved(msgspec.Struct, frozen=True, gc=False):
    """What was moved now; ``left`` when something is still to follow."""

    replacement_id: UUID
    amount_yen: int
    left: bool


class MoveFacts(Facts):
    """Wallets with their purses, and the programmes' numbers.

    ``awaiting`` are wallets into which another replacement's money is still to come.
    """

    __slots__ = ("awaiting", "moved", "new_purses", "numbers", "wallets")

    def __init__(self) -> None:
        super().__init__()
        self.awaiting: set[UUID] = set()
        self.wallets: dict[UUID, WalletFacts] = {}
        self.numbers: dict[UUID, int] = {}
        self.new_purses: list[tuple[UUID, Purse]] = []
        self.moved: list[tuple[MoveRequest, Moved]] = []


class Move:
    """The kind of work behind :data:`MOVE`."""

    async def gather(
        self, connection: Connection, requests: Sequence[MoveRequest], now_us: int
    ) -> MoveFacts:
        """Lock the replacements, then both wallets of each."""
        del now_us
        facts = MoveFacts()
        ids = [request.replacement_id for request in requests]
        await connection.fetch(_LOCK, ids)
        sources = [request.from_wallet_id for request in requests]
        facts.awaiting = {row[0] for row in await connection.fetch(_AWAITING, sources)}
        both = {r.from_wallet_id for r in requests} | {r.to_wallet_id for r in requests}
        facts.wallets = await lock_wallets(connection, both)
        purses = [purse for wallet in facts.wallets.values() for purse in wallet.purses]
        facts.account_ids.update(purse.account_id for purse in purses)
        programme_ids = list({purse.programme_id for purse in purses})
        facts.numbers = dict(await connection.fetch(_NUMBERS, programme_ids))
        return facts

    def decide(self, request: MoveRequest, facts: MoveFacts, batch: Batch) -> Moved | Refusal:
        """Move what is there, as one chain; pure but for the book and the facts."""
        if "all" in batch.stops:
            return Refusal("service_stopped")
        available = batch.book.available
        source = facts.wallets[request.from_wallet_id]
        full = [purse for purse in source.purses if available(purse.account_id) > 0]
        amount_yen = _book(request, full[:NUMBERED_MAX], facts, batch)
        left = request.from_wallet_id in facts.awaiting or any(
            _holds_something(batch, purse) for purse in source.purses
        )
        moved = Moved(request.replacement_id, amount_yen, left)
        facts.moved.append((request, moved))
        return moved

    async def record(
        self, connection: Connection, facts: MoveFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the new purses, close what is empty, and tell."""
        del answers
        now = to_datetime(batch.now_us)
        await insert_purses(connection, facts.new_purses)
        done = [moved.replacement_id for _, moved in facts.moved if not moved.left]
        if done:
            await connection.execute(_DONE, done, now)
        events = [_event(*pair) for pair in facts.moved if pair[1].amount_yen]
        await append(connection, events=events, now=now)


MOVE: Final = Move()
"""The kind of work that moves a wallet's money into another one's purses."""


async def is_money_left(connection: AsyncConnection) -> bool:
    """Whether any money is still to follow a card that was replaced."""
    return (await connection.execute(_DUE, {"most": 1})).first() is not None


async def run_moves(
    engine: AsyncEngine, teller: Teller, *, clock: Clock, limit: int = MOVES_PER_ROUND
) -> int:
    """Let the money of replaced cards follow and return how many replacements were looked at."""
    async with read(engine) as connection:
        rows = (await connection.execute(_DUE, {"most": limit})).all()
    requests = [MoveRequest(row[0], align_id(new_id(now_us=clock())), *row[1:]) for row in rows]
    await asyncio.gather(*[teller.submit(MOVE, request) for request in requests])
    return len(requests)


def _holds_something(batch: Batch, purse: Purse) -> bool:
    balance = batch.book.balances[purse.account_id]
    return balance.credits_posted > balance.debits_posted


def _book(request: MoveRequest, purses: Sequence[Purse], facts: MoveFacts, batch: Batch) -> int:
    """Move each purse's money into the one of its kind, opened where it is missing."""
    target = facts.wallets[request.to_wallet_id]
    opened: list[Purse] = []
    transfers: list[Transfer] = []
    for number, purse in enumerate(purses, 1):
        transfer_id = numbered_id(request.move_id, number)
        into = find_purse(
            [*target.purses, *opened],
            programme_id=purse.programme_id,
            funding=purse.funding,
            expires_on=purse.expires_on,
        )
        if into is None:
            into = msgspec.structs.replace(purse, account_id=transfer_id)
            opened.append(into)
        transfers.append(
            Transfer(
                transfer_id,
                purse.account_id,
                into.account_id,
                batch.book.available(purse.account_id),
                LEDGER_JPY,
                TRANSFER_MOVE,
                LINKED if number < len(purses) else 0,
                user_data_128=request.to_wallet_id,
                user_data_32=facts.numbers[purse.programme_id],
            )
        )
    _apply(request, opened, transfers, facts, batch)
    return sum(transfer.amount for transfer in transfers)


def _apply(
    request: MoveRequest,
    opened: Sequence[Purse],
    transfers: Sequence[Transfer],
    facts: MoveFacts,
    batch: Batch,
) -> None:
    accounts = [
        purse_account(
            purse.account_id,
            wallet_id=request.to_wallet_id,
            programme_number=facts.numbers[purse.programme_id],
        )
        for purse in opened
    ]
    codes = [str(result.code) for result in batch.book.create_accounts(accounts)]
    codes += [str(result.code) for result in batch.book.create_transfers(transfers)]
    if set(codes) - {AccountCode.CREATED, TransferCode.CREATED}:
        message = f"the ledger refused a move that fits: {codes}"
        raise RuntimeError(message)
    facts.wallets[request.to_wallet_id].purses.extend(opened)
    facts.new_purses.extend((request.to_wallet_id, purse) for purse in opened)


_encode: Final = msgspec.json.Encoder().encode


def _event(request: MoveRequest, moved: Moved) -> Event:
    """The thin body others will hear: ids and the amount."""
    body = {
        "from_wallet_id": str(request.from_wallet_id),
        "to_wallet_id": str(request.to_wallet_id),
        "amount_yen": moved.amount_yen,
    }
    return Event(request.move_id, "wallet.moved", _encode(body).decode())
