"""The book: the accounts a batch has locked, and the decisions about them, in memory.

It applies or refuses transfers exactly as TigerBeetle documents create_accounts and
create_transfers (docs/reference/requests), and lists what storage must write. It knows no
database and no clock.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar
from uuid import UUID

from wallet.ledger import checks
from wallet.ledger.checks import check_limits
from wallet.ledger.journal import Checkpoint, Journal, MissingFactError
from wallet.ledger.rules import (
    AMOUNT_MAX,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    LINKED,
    NIL,
    PENDING,
    POST_PENDING,
    TRANSIENT,
    VOID_PENDING,
    Account,
    AccountCode,
    AccountResult,
    Balance,
    Hold,
    HoldState,
    Transfer,
    TransferCode,
    TransferResult,
)

Event = TypeVar("Event", Account, Transfer)
Result = TypeVar("Result", AccountResult, TransferResult)

_NOTHING: Final[Mapping[UUID, Any]] = MappingProxyType({})
_UNLINKED: Final = ~LINKED
# One shared answer for each way to fail: a refusal must be as cheap as a success.
_REFUSED: Final[Mapping[str, TransferResult]] = {
    code: TransferResult(code, 0, 0) for code in TransferCode
}
_ACCOUNT_REFUSED: Final[Mapping[str, AccountResult]] = {
    code: AccountResult(code, 0) for code in AccountCode
}


class Book(Journal):
    """The accounts a batch has locked; applies or refuses transfers; knows no database.

    Each event sees the effects of the ones before it. The lists of what storage must write are
    those of the :class:`~wallet.ledger.journal.Journal`.
    """

    def __init__(
        self,
        *,
        now: int,
        balances: Mapping[UUID, Balance],
        accounts: Mapping[UUID, Account] = _NOTHING,
        transfers: Mapping[UUID, Transfer] = _NOTHING,
        holds: Mapping[UUID, Hold] = _NOTHING,
        failed: Collection[UUID] | None = None,
    ) -> None:
        """Open the book at ``now``, microseconds since the epoch.

        ``accounts`` and ``transfers`` are those that exist among the ids to be created and, for
        posts and voids, among their pending ids; ``holds`` are the pending ones of these and any
        to be released; ``failed`` are the burnt ones among the ids to be created. Balances and
        holds are changed in place.
        """
        super().__init__(
            now=now,
            balances=balances,
            accounts=accounts,
            transfers=transfers,
            holds=holds,
            failed=failed or (),
        )

    def available(self, account_id: UUID) -> int:
        """Return what may still be spent from an account; 0 when it is unknown."""
        balance = self.balances.get(account_id)
        return 0 if balance is None else balance.available

    def create_accounts(self, accounts: Sequence[Account]) -> list[AccountResult]:
        """Create the accounts of one request; one result each, in order; chains are inside it.

        Raises ValueError, with nothing changed, when a number is outside of its range, and
        :class:`~wallet.ledger.journal.MissingFactError` when a balance was given without its
        account: roll back to a checkpoint then.
        """
        checks.require_account_ranges(accounts)
        return self._run(accounts, self._create_account, _ACCOUNT_REFUSED, AccountCode.CREATED)

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[TransferResult]:
        """Create the transfers of one request; one result each, in order; chains are inside it.

        Raises ValueError, with nothing changed, when a number is outside of its range, and
        :class:`~wallet.ledger.journal.MissingFactError` when a hold, its accounts, or a repeat's
        pending transfer were not given: roll back to a checkpoint then.
        """
        checks.require_ranges(transfers)
        return self._run(transfers, self._create_transfer, _REFUSED, TransferCode.CREATED)

    def expire_holds(self) -> int:
        """Release every open hold whose time is over, oldest first, and return how many.

        A released hold reopens the account that it closed, as if it had been voided. Raises
        :class:`~wallet.ledger.journal.MissingFactError` when a hold's accounts were not given.
        """
        due = [
            (hold.expires_at, hold.transfer.timestamp, hold)
            for hold in self.holds.values()
            if hold.state is HoldState.PENDING
            and hold.expires_at is not None
            and hold.expires_at <= self.now
        ]
        for _, _, hold in sorted(due, key=lambda one: one[:2]):
            self._release(hold, HoldState.EXPIRED)
        return len(due)

    def _run(
        self,
        events: Sequence[Event],
        create: Callable[[Event], Result],
        refused: Mapping[str, Result],
        created: AccountCode | TransferCode,
    ) -> list[Result]:
        """Create one event after another, each chain of linked ones as a whole or not at all.

        The first event to fail keeps its own result. A transient failure burns that event's id
        even though its chain is undone.
        """
        results: list[Result] = []
        chain: Checkpoint | None = None
        start, broken, last = 0, False, len(events) - 1
        for index, event in enumerate(events):
            linked = event.flags & LINKED
            if linked and chain is None:
                chain, start = self.checkpoint(), index
            if linked and index == last:
                result = refused["linked_event_chain_open"]
            elif broken:
                result = refused["linked_event_failed"]
            else:
                result = create(event)
            if result.code is not created and not broken:
                if chain is not None:
                    self.rollback(chain)
                    results[start:] = [refused["linked_event_failed"]] * (index - start)
                    broken = True
                if result.code in TRANSIENT:
                    self._burn(event.id, TransferCode(result.code))
            results.append(result)
            if not linked:
                chain, broken = None, False
        return results

    def _create_account(self, account: Account) -> AccountResult:
        code = checks.check_account_header(account)
        if code is not None:
            return _ACCOUNT_REFUSED[code]
        existing = self.accounts.get(account.id)
        if existing is not None:
            code = checks.check_account_repeat(account, existing=existing)
            return AccountResult(code, existing.timestamp if code is AccountCode.EXISTS else 0)
        if account.id in self.balances:
            message = f"the balance of account {account.id} was given without the account"
            raise MissingFactError(message)
        code = checks.check_account(account)
        if code is not None:
            return _ACCOUNT_REFUSED[code]
        return AccountResult(AccountCode.CREATED, self._open_account(account))

    def _create_transfer(self, t: Transfer) -> TransferResult:
        """Book a plain transfer that nothing speaks against; leave any other to the long way.

        This is the hottest function of the house. It refuses nothing: whatever fails one of its
        conditions is judged again by :meth:`_judge`, in the documented order.
        """
        debit = self.balances.get(t.debit_account_id)
        credit = self.balances.get(t.credit_account_id)
        amount = t.amount
        if (
            t.flags & _UNLINKED
            or debit is None
            or credit is None
            or debit is credit
            or t.id in self.transfers
            or t.id in self._unusable
            or t.timeout_s
            or t.timestamp
            or not t.code
            or t.ledger != debit.ledger
            or t.ledger != credit.ledger
            or debit.closed
            or credit.closed
            or debit.debits_pending + debit.debits_posted + amount > AMOUNT_MAX
            or credit.credits_pending + credit.credits_posted + amount > AMOUNT_MAX
            or (t.pending_id is not NIL and t.pending_id != NIL)
            or check_limits(amount, debit, credit)
        ):
            return self._judge(t)
        self._move(debit, credit, 0, amount)
        return self._record(t, amount, debit, credit)

    def _judge(self, transfer: Transfer) -> TransferResult:
        """Decide on any transfer, check by check in the documented order."""
        code = checks.check_header(transfer)
        if code is not None:
            return _REFUSED[code]
        booked = self.transfers.get(transfer.id)
        if booked is not None:
            return self._repeat(transfer, booked)
        if transfer.id in self._unusable:
            return _REFUSED[TransferCode.ID_ALREADY_FAILED]
        if transfer.flags & (POST_PENDING | VOID_PENDING):
            return self._resolve(transfer)
        return self._start(transfer)

    def _repeat(self, transfer: Transfer, booked: Transfer) -> TransferResult:
        pending = None
        if booked.flags & (POST_PENDING | VOID_PENDING):
            pending = self.transfers.get(booked.pending_id)
            if pending is None and transfer.pending_id == booked.pending_id:
                message = f"transfer {booked.pending_id} was not given, which {booked.id} resolved"
                raise MissingFactError(message)
        code = checks.check_repeat(transfer, booked=booked, pending=pending)
        if code is TransferCode.EXISTS:
            return TransferResult(code, booked.timestamp, booked.amount)
        return _REFUSED[code]

    def _start(self, transfer: Transfer) -> TransferResult:
        """Move or hold an amount: a transfer that neither posts nor voids."""
        code = checks.check_account_ids(transfer) or checks.check_opening(transfer)
        if code is not None:
            return _REFUSED[code]
        debit = self.balances.get(transfer.debit_account_id)
        if debit is None:
            return _REFUSED[TransferCode.DEBIT_ACCOUNT_NOT_FOUND]
        credit = self.balances.get(transfer.credit_account_id)
        if credit is None:
            return _REFUSED[TransferCode.CREDIT_ACCOUNT_NOT_FOUND]
        amount = checks.actual_amount(transfer, debit, credit)
        code = (
            checks.check_ledgers(transfer, debit, credit)
            or checks.check_closed(debit, credit)
            or checks.check_overflow(
                transfer, amount, debit, credit, timestamp=self._last_timestamp + 1
            )
            or check_limits(amount, debit, credit)
        )
        if code is not None:
            return _REFUSED[code]
        if transfer.flags & PENDING:
            return self._hold(transfer, amount, debit, credit)
        self._move(debit, credit, 0, amount)
        return self._record(transfer, amount, debit, credit)

    def _hold(
        self, transfer: Transfer, amount: int, debit: Balance, credit: Balance
    ) -> TransferResult:
        self._move(debit, credit, amount, 0)
        if transfer.flags & CLOSING_DEBIT:
            debit.closed = True
        if transfer.flags & CLOSING_CREDIT:
            credit.closed = True
        result = self._record(transfer, amount, debit, credit)
        self._open_hold(self.booked[-1])
        return result

    def _resolve(self, transfer: Transfer) -> TransferResult:
        """Post or void a hold."""
        code = checks.check_resolving(transfer)
        if code is not None:
            return _REFUSED[code]
        pending = self.transfers.get(transfer.pending_id)
        if pending is None:
            return _REFUSED[TransferCode.PENDING_TRANSFER_NOT_FOUND]
        inherited = checks.inherit(transfer, pending)
        code = checks.check_inherited(inherited, pending=pending)
        if code is not None:
            return _REFUSED[code]
        hold = self.holds.get(pending.id)
        if hold is None:
            message = f"pending transfer {pending.id} was given without its hold"
            raise MissingFactError(message)
        debit, credit = self._accounts_of(hold)
        posts = transfer.flags & POST_PENDING
        code = checks.check_hold(inherited, hold=hold, now=self.now)
        if code is None and posts:
            code = checks.check_closed(debit, credit)
        if code is not None:
            return _REFUSED[code]
        if posts:
            self._move(debit, credit, -pending.amount, inherited.amount)
            self._settle(hold, HoldState.POSTED)
        else:
            self._release(hold, HoldState.VOIDED)
        return self._record(inherited, inherited.amount, debit, credit)

    def _release(self, hold: Hold, state: HoldState) -> None:
        """Give the held amount back, and reopen what the hold had closed."""
        debit, credit = self._accounts_of(hold)
        self._move(debit, credit, -hold.transfer.amount, 0)
        if hold.transfer.flags & CLOSING_DEBIT:
            debit.closed = False
        if hold.transfer.flags & CLOSING_CREDIT:
            credit.closed = False
        self._settle(hold, state)

    def _accounts_of(self, hold: Hold) -> tuple[Balance, Balance]:
        """Return the hold's debit and credit balance."""
        pending = hold.transfer
        try:
            return self.balances[pending.debit_account_id], self.balances[pending.credit_account_id]
        except KeyError as missing:
            message = f"hold {pending.id} was given without the balance of account {missing}"
            raise MissingFactError(message) from missing
