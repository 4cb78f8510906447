"""Let bonuses vest: what was set aside goes to its holder's purse on the day it may be spent.

Where that is no longer possible, because the programme is over or the wallet is closed, it goes
back to its budget.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.ids import align_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.ledger.chart import TRANSFER_BONUS, TRANSFER_BONUS_REVERSED
from wallet.ledger.rules import AccountCode, Transfer
from wallet.ledger.work import Batch, Facts
from wallet.payments.extras import may_give, reserve_of
from wallet.payments.grant_bonus import bonus_event, book_chain
from wallet.payments.rules import VESTS_LATER
from wallet.programmes.purses import (
    WalletFacts,
    find_purse,
    insert_purses,
    lock_wallets,
    purse_account,
)
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Funding, Programme, Purse
from wallet.programmes.terms import expires_on_of

_LOCK_PENDING: Final = """
SELECT b.id, b.programme_id, b.wallet_id, b.amount_yen - b.reversed_yen, g.version
FROM (
    SELECT * FROM bonus_grant
    WHERE id = ANY($1::uuid[]) AND state = 'pending' AND usable_on <= $2
    ORDER BY id FOR NO KEY UPDATE
) AS b
JOIN programme AS g ON g.id = ANY (ARRAY[b.programme_id])
"""

_SETTLE: Final = """
UPDATE bonus_grant AS b
SET state = new.state,
    reversed_yen = CASE WHEN new.state = 'reversed' THEN b.amount_yen ELSE b.reversed_yen END
FROM unnest($1::uuid[], $2::text[]) AS new (id, state)
WHERE b.id = ANY (ARRAY[new.id])
"""


class VestBonus(msgspec.Struct, frozen=True, gc=False):
    """That a bonus of a wallet, which was set aside, is due."""

    grant_id: UUID
    wallet_id: UUID


class Vested(msgspec.Struct, frozen=True, gc=False):
    """What became of it: ``granted``, or ``reversed`` to its budget."""

    grant_id: UUID
    state: str


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A bonus that is set aside, locked; what a refund took back is not in it any more."""

    id: UUID
    programme_id: UUID
    wallet_id: UUID
    amount_yen: int
    version: int

    @property
    def transfer_id(self) -> UUID:
        """The id of the transfer that gives it: two after its own."""
        aligned = align_id(self.id)
        return numbered_id(aligned, self.id.bytes[15] - aligned.bytes[15] + VESTS_LATER)


class VestFacts(Facts):
    """What a batch of such bonuses needs to know, and what its decisions add."""

    __slots__ = ("day", "events", "new_purses", "pending", "programmes", "settled", "wallets")

    wallets: dict[UUID, WalletFacts]
    pending: dict[UUID, Pending]
    programmes: dict[UUID, Programme]

    def __init__(self, *, day: date) -> None:
        super().__init__()
        self.day = day
        self.new_purses: list[tuple[UUID, Purse]] = []
        self.settled: list[Vested] = []
        self.events: list[Event] = []


class Vest:
    """The kind of work behind :data:`VEST`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[VestBonus], now_us: int
    ) -> VestFacts:
        """Lock the wallets and those of their bonuses that are due."""
        facts = VestFacts(day=japanese_day(now_us))
        facts.wallets = await lock_wallets(connection, {r.wallet_id for r in requests})
        rows = await connection.fetch(_LOCK_PENDING, [r.grant_id for r in requests], facts.day)
        facts.pending = {row[0]: Pending(*row) for row in rows}
        versions = {one.programme_id: one.version for one in facts.pending.values()}
        facts.programmes = await self._shelf.take(connection, versions)
        for one in facts.pending.values():
            programme = facts.programmes[one.programme_id]
            purses = facts.wallets[one.wallet_id].purses
            facts.account_ids |= {reserve_of(programme), programme.budget_account_id}
            facts.account_ids.update(purse.account_id for purse in purses)
        return facts

    def decide(self, request: VestBonus, facts: VestFacts, batch: Batch) -> Vested | None:
        """Decide one bonus; None where it was decided before, or has to wait for a stop to end."""
        pending = facts.pending.get(request.grant_id)
        if pending is None:
            return None
        programme = facts.programmes[pending.programme_id]
        if not may_give(programme, batch):
            return None
        wallet = facts.wallets[pending.wallet_id]
        is_lost = wallet.state == "closed" or facts.day > programme.spending.last_day
        if is_lost:
            account_id, code = programme.budget_account_id, TRANSFER_BONUS_REVERSED
        else:
            account_id, code = _purse_of(pending, programme, facts, batch), TRANSFER_BONUS
        transfer = Transfer(
            pending.transfer_id,
            reserve_of(programme),
            account_id,
            pending.amount_yen,
            LEDGER_JPY,
            code,
            user_data_128=pending.wallet_id,
            user_data_32=programme.number,
        )
        book_chain([transfer], batch)
        del facts.pending[pending.id]
        vested = Vested(pending.id, "reversed" if is_lost else "granted")
        facts.settled.append(vested)
        if not is_lost:
            facts.events.append(
                bonus_event(
                    pending.id,
                    "bonus.vested",
                    wallet_id=pending.wallet_id,
                    programme=programme.code,
                    amount_yen=pending.amount_yen,
                    usable_on=facts.day,
                )
            )
        return vested

    async def record(
        self, connection: Connection, facts: VestFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write what became of them and the new purses, and tell of them."""
        del answers
        if not facts.settled:
            return
        await insert_purses(connection, facts.new_purses)
        await connection.execute(
            _SETTLE,
            [one.grant_id for one in facts.settled],
            [one.state for one in facts.settled],
        )
        await append(connection, events=facts.events, now=to_datetime(batch.now_us))


VEST: Final = Vest()
"""The kind of work that lets bonuses vest; one in a process, with one shelf."""


def _purse_of(pending: Pending, programme: Programme, facts: VestFacts, batch: Batch) -> UUID:
    """Return the purse it goes to, opened under its transfer's id where there is none."""
    wallet = facts.wallets[pending.wallet_id]
    expires_on = expires_on_of(programme.terms, facts.day)
    purse = find_purse(
        wallet.purses, programme_id=programme.id, funding=Funding.FREE, expires_on=expires_on
    )
    if purse is None:
        purse = Purse(pending.transfer_id, programme.id, Funding.FREE, expires_on)
        account = purse_account(
            purse.account_id, wallet_id=pending.wallet_id, programme_number=programme.number
        )
        (result,) = batch.book.create_accounts([account])
        if result.code is not AccountCode.CREATED:
            message = f"the ledger refused a purse: {result.code}"
            raise RuntimeError(message)
        wallet.purses.append(purse)
        facts.new_purses.append((pending.wallet_id, purse))
    return purse.account_id
