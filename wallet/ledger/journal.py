"""The book's memory: what a batch knows, what it has changed, and how to undo that.

Nothing is ever copied as a whole. A move remembers the two balances it changes, every list only
grows, and a checkpoint is how long each of them was.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from wallet.ledger.rules import (
    ACCOUNT_CLOSED,
    MAX_ID,
    NIL,
    Account,
    Balance,
    Hold,
    HoldState,
    Transfer,
    TransferCode,
    TransferResult,
    expiry_of,
)

_CREATED = TransferCode.CREATED
_State = tuple[Balance, int, int, int, int, bool, int, int]


class MissingFactError(LookupError):
    """The book was opened without something that it was also told there is.

    Either whoever opened it forgot to read it, or another process wrote between two reads.
    """


class Checkpoint(Struct, frozen=True, gc=False):
    """How long each of the journal's lists was, and its last timestamp."""

    moves: int
    booked: int
    created: int
    touched: int
    opened: int
    settled: int
    resolved: int
    burnt: int
    last_timestamp: int


def _state_of(balance: Balance) -> _State:
    """Return the balance and everything in it that can change."""
    return (
        balance,
        balance.debits_pending,
        balance.debits_posted,
        balance.credits_pending,
        balance.credits_posted,
        balance.closed,
        balance.last_timestamp,
        balance.transfer_count,
    )


class Journal:
    """Changes balances and holds in place, lists the changes, and can undo them.

    The journal owns the balances and holds it is given. It checks nothing. What storage must
    write when all is decided:

    ``booked``
        transfers in booking order, with timestamps and actual amounts
    ``created``
        new accounts; their balances are in ``balances`` at once
    ``touched``
        the balances that transfers and expiries have changed, by account
    ``opened``
        holds opened in this batch, whatever has become of them in it
    ``resolved``
        holds from before this batch that it has posted, voided or released
    ``burnt``
        ids that a transient failure has used up, and the failure
    """

    def __init__(
        self,
        *,
        now: int,
        balances: Mapping[UUID, Balance],
        accounts: Mapping[UUID, Account],
        transfers: Mapping[UUID, Transfer],
        holds: Mapping[UUID, Hold],
        failed: Collection[UUID],
    ) -> None:
        self.now = now
        self.balances = dict(balances)
        self.accounts = dict(accounts)
        self.transfers = {id_: hold.transfer for id_, hold in holds.items()} | dict(transfers)
        self.holds = dict(holds)
        self.booked: list[Transfer] = []
        self.created: list[Account] = []
        self.touched: dict[UUID, Balance] = {}
        self.opened: list[Hold] = []
        self.resolved: list[Hold] = []
        self.burnt: dict[UUID, TransferCode] = {}
        self._earlier_holds = frozenset(holds)
        # The reserved ids are among the unusable ones so that the fast path needs one look-up.
        self._unusable = {NIL, MAX_ID, *failed}
        # Clocks of processes differ, and what resolves a hold must come after it all the same.
        earlier = [b.last_timestamp for b in self.balances.values()]
        earlier += [hold.transfer.timestamp for hold in holds.values()]
        self._last_timestamp = max(now - 1, max(earlier, default=0))
        self._moves: list[_State] = []
        self._settled: list[Hold] = []

    def checkpoint(self) -> Checkpoint:
        """Return a mark to which :meth:`rollback` can return, any number of times."""
        return Checkpoint(
            len(self._moves),
            len(self.booked),
            len(self.created),
            len(self.touched),
            len(self.opened),
            len(self._settled),
            len(self.resolved),
            len(self.burnt),
            self._last_timestamp,
        )

    def rollback(self, checkpoint: Checkpoint) -> None:
        """Undo everything since the checkpoint, burnt ids and timestamps included."""
        self._undo_moves(checkpoint.moves)
        for hold in self._settled[checkpoint.settled :]:
            hold.state = HoldState.PENDING
        for hold in self.opened[checkpoint.opened :]:
            del self.holds[hold.transfer.id]
        for transfer in self.booked[checkpoint.booked :]:
            del self.transfers[transfer.id]
        for account in self.created[checkpoint.created :]:
            del self.accounts[account.id], self.balances[account.id]
        del self._settled[checkpoint.settled :], self.resolved[checkpoint.resolved :]
        del self.opened[checkpoint.opened :], self.booked[checkpoint.booked :]
        del self.created[checkpoint.created :]
        # A dict keeps the order of first insertion, so its newest entries leave first.
        while len(self.touched) > checkpoint.touched:
            self.touched.popitem()
        while len(self.burnt) > checkpoint.burnt:
            self._unusable.discard(self.burnt.popitem()[0])
        self._last_timestamp = checkpoint.last_timestamp

    def _undo_moves(self, count: int) -> None:
        while len(self._moves) > count:
            state = self._moves.pop()
            balance = state[0]
            balance.debits_pending, balance.debits_posted = state[1:3]
            balance.credits_pending, balance.credits_posted = state[3:5]
            balance.closed, balance.last_timestamp, balance.transfer_count = state[5:]

    def _open_account(self, account: Account) -> int:
        """Create the account with an empty balance and return its timestamp."""
        timestamp = self._last_timestamp = self._last_timestamp + 1
        created = replace(account, timestamp=timestamp)
        self.accounts[account.id] = created
        self.created.append(created)
        self.balances[account.id] = Balance(
            account.id,
            account.ledger,
            account.code,
            account.flags,
            account.min_available,
            account.max_balance,
            closed=bool(account.flags & ACCOUNT_CLOSED),
            last_timestamp=timestamp,
        )
        return timestamp

    def _move(self, debit: Balance, credit: Balance, pending: int, posted: int) -> None:
        """Add the differences to both sides, and remember what was there before."""
        self._moves.append(_state_of(debit))
        self._moves.append(_state_of(credit))
        self.touched[debit.account_id] = debit
        self.touched[credit.account_id] = credit
        debit.debits_posted += posted
        credit.credits_posted += posted
        if pending:
            debit.debits_pending += pending
            credit.credits_pending += pending

    def _record(
        self, transfer: Transfer, amount: int, debit: Balance, credit: Balance
    ) -> TransferResult:
        """Book the transfer on both accounts, after its move, under the next timestamp."""
        timestamp = self._last_timestamp = self._last_timestamp + 1
        debit.last_timestamp = credit.last_timestamp = timestamp
        debit.transfer_count += 1
        credit.transfer_count += 1
        booked = replace(transfer, amount=amount, timestamp=timestamp)
        self.transfers[transfer.id] = booked
        self.booked.append(booked)
        return TransferResult(_CREATED, timestamp, amount)

    def _open_hold(self, booked: Transfer) -> None:
        hold = Hold(booked, HoldState.PENDING, expiry_of(booked))
        self.holds[booked.id] = hold
        self.opened.append(hold)

    def _settle(self, hold: Hold, state: HoldState) -> None:
        """Resolve the hold, once and for all unless it is rolled back."""
        hold.state = state
        self._settled.append(hold)
        if hold.transfer.id in self._earlier_holds:
            self.resolved.append(hold)

    def _burn(self, transfer_id: UUID, code: TransferCode) -> None:
        self.burnt[transfer_id] = code
        self._unusable.add(transfer_id)
