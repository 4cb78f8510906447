"""Every reason to refuse an account or a transfer, group by group of the documented order.

Each function answers for one group of TigerBeetle's order of precedence
(docs/reference/requests/create_transfers.md and create_accounts.md): the first code that applies,
or None. Whoever calls them keeps the order of the groups.
"""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from wallet.ledger.rules import (
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    ACCOUNT_FLAGS,
    AMOUNT_MAX,
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    CODE_MAX,
    LEDGER_MAX,
    LINKED,
    MAX_ID,
    MICROSECONDS_PER_SECOND,
    NIL,
    PENDING,
    POST_PENDING,
    TIMEOUT_S_MAX,
    TRANSFER_FLAGS,
    VOID_PENDING,
    Account,
    AccountCode,
    Balance,
    Hold,
    HoldState,
    Transfer,
    TransferCode,
)

# Looking an id up by its hash costs a fraction of comparing it with each of the two.
_RESERVED_IDS: Final = frozenset({NIL, MAX_ID})

_REPEATED_FIELDS: Final = (
    ("flags", TransferCode.EXISTS_WITH_DIFFERENT_FLAGS),
    ("pending_id", TransferCode.EXISTS_WITH_DIFFERENT_PENDING_ID),
    ("timeout_s", TransferCode.EXISTS_WITH_DIFFERENT_TIMEOUT),
    ("debit_account_id", TransferCode.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID),
    ("credit_account_id", TransferCode.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID),
    ("amount", TransferCode.EXISTS_WITH_DIFFERENT_AMOUNT),
    ("user_data_128", TransferCode.EXISTS_WITH_DIFFERENT_USER_DATA_128),
    ("user_data_64", TransferCode.EXISTS_WITH_DIFFERENT_USER_DATA_64),
    ("user_data_32", TransferCode.EXISTS_WITH_DIFFERENT_USER_DATA_32),
    ("ledger", TransferCode.EXISTS_WITH_DIFFERENT_LEDGER),
    ("code", TransferCode.EXISTS_WITH_DIFFERENT_CODE),
)

_REPEATED_ACCOUNT_FIELDS: Final = (
    ("flags", AccountCode.EXISTS_WITH_DIFFERENT_FLAGS),
    ("user_data_128", AccountCode.EXISTS_WITH_DIFFERENT_USER_DATA_128),
    ("user_data_64", AccountCode.EXISTS_WITH_DIFFERENT_USER_DATA_64),
    ("user_data_32", AccountCode.EXISTS_WITH_DIFFERENT_USER_DATA_32),
    ("ledger", AccountCode.EXISTS_WITH_DIFFERENT_LEDGER),
    ("code", AccountCode.EXISTS_WITH_DIFFERENT_CODE),
    ("min_available", AccountCode.EXISTS_WITH_DIFFERENT_MIN_AVAILABLE),
    ("max_balance", AccountCode.EXISTS_WITH_DIFFERENT_MAX_BALANCE),
)

_ZERO_FIELDS: Final = (
    ("debits_pending", AccountCode.DEBITS_PENDING_MUST_BE_ZERO),
    ("debits_posted", AccountCode.DEBITS_POSTED_MUST_BE_ZERO),
    ("credits_pending", AccountCode.CREDITS_PENDING_MUST_BE_ZERO),
    ("credits_posted", AccountCode.CREDITS_POSTED_MUST_BE_ZERO),
)

_RESOLVED: Final = {
    HoldState.POSTED: TransferCode.PENDING_TRANSFER_ALREADY_POSTED,
    HoldState.VOIDED: TransferCode.PENDING_TRANSFER_ALREADY_VOIDED,
    HoldState.EXPIRED: TransferCode.PENDING_TRANSFER_EXPIRED,
}


def require_ranges(transfers: Sequence[Transfer]) -> None:
    """Raise ValueError when a field is outside of its column's range.

    TigerBeetle's fields are unsigned, so it has no name for this: it is a fault of the caller's
    program. A negative amount would move money backwards.
    """
    for t in transfers:
        if not (
            0 <= t.amount <= AMOUNT_MAX
            and 0 <= t.ledger <= LEDGER_MAX
            and 0 <= t.code <= CODE_MAX
            and 0 <= t.timeout_s <= TIMEOUT_S_MAX
        ):
            message = (
                f"transfer {t.id}: amount, ledger, code and timeout_s must be within their "
                f"unsigned ranges, got {t.amount}, {t.ledger}, {t.code}, {t.timeout_s}"
            )
            raise ValueError(message)


def require_account_ranges(accounts: Sequence[Account]) -> None:
    """Raise ValueError when a field is outside of its column's range."""
    for a in accounts:
        limits = (a.min_available or 0, a.max_balance or 0)
        if not (
            0 <= a.ledger <= LEDGER_MAX
            and 0 <= a.code <= CODE_MAX
            and all(-AMOUNT_MAX <= limit <= AMOUNT_MAX for limit in limits)
        ):
            message = (
                f"account {a.id}: ledger, code, min_available and max_balance must be within "
                f"their ranges, got {a.ledger}, {a.code}, {a.min_available}, {a.max_balance}"
            )
            raise ValueError(message)


def check_header(transfer: Transfer) -> TransferCode | None:
    """Check groups 2 and 3: what timestamp, flags and id tell by themselves."""
    if transfer.timestamp != 0:
        return TransferCode.TIMESTAMP_MUST_BE_ZERO
    if transfer.flags & ~TRANSFER_FLAGS:
        return TransferCode.RESERVED_FLAG
    if transfer.id not in _RESERVED_IDS:
        return None
    if transfer.id == NIL:
        return TransferCode.ID_MUST_NOT_BE_ZERO
    return TransferCode.ID_MUST_NOT_BE_INT_MAX


def check_repeat(transfer: Transfer, *, booked: Transfer, pending: Transfer | None) -> TransferCode:
    """Check group 4: whether a request for an id that is booked asks for the same.

    ``pending`` is the transfer that ``booked`` posted or voided. What the request leaves to be
    inherited is compared after inheritance. A balancing request may ask for more than was moved.
    """
    asked = transfer if pending is None else inherit(transfer, pending)
    if booked.flags & (BALANCING_DEBIT | BALANCING_CREDIT) and asked.amount > booked.amount:
        asked = replace(asked, amount=booked.amount)
    for field, code in _REPEATED_FIELDS:
        if getattr(asked, field) != getattr(booked, field):
            return code
    return TransferCode.EXISTS


def check_account_ids(transfer: Transfer) -> TransferCode | None:
    """Check group 6: two accounts are named, and they are not one."""
    if transfer.debit_account_id in _RESERVED_IDS:
        if transfer.debit_account_id == NIL:
            return TransferCode.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO
        return TransferCode.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    if transfer.credit_account_id in _RESERVED_IDS:
        if transfer.credit_account_id == NIL:
            return TransferCode.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO
        return TransferCode.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    if transfer.debit_account_id == transfer.credit_account_id:
        return TransferCode.ACCOUNTS_MUST_BE_DIFFERENT
    return None


def check_opening(transfer: Transfer) -> TransferCode | None:
    """Check groups 7 and 8 for a transfer that neither posts nor voids."""
    pending = transfer.flags & PENDING
    if transfer.pending_id is not NIL and transfer.pending_id != NIL:
        return TransferCode.PENDING_ID_MUST_BE_ZERO
    if transfer.timeout_s and not pending:
        return TransferCode.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER
    if transfer.flags & (CLOSING_DEBIT | CLOSING_CREDIT) and not pending:
        return TransferCode.CLOSING_TRANSFER_MUST_BE_PENDING
    if transfer.ledger == 0:
        return TransferCode.LEDGER_MUST_NOT_BE_ZERO
    if transfer.code == 0:
        return TransferCode.CODE_MUST_NOT_BE_ZERO
    return None


def check_resolving(transfer: Transfer) -> TransferCode | None:
    """Check groups 5, 7 and 8 for a transfer that posts or voids."""
    if transfer.flags & ~LINKED not in (POST_PENDING, VOID_PENDING):
        return TransferCode.FLAGS_ARE_MUTUALLY_EXCLUSIVE
    if transfer.pending_id in _RESERVED_IDS:
        if transfer.pending_id == NIL:
            return TransferCode.PENDING_ID_MUST_NOT_BE_ZERO
        return TransferCode.PENDING_ID_MUST_NOT_BE_INT_MAX
    if transfer.pending_id == transfer.id:
        return TransferCode.PENDING_ID_MUST_BE_DIFFERENT
    if transfer.timeout_s:
        return TransferCode.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER
    return None


def check_ledgers(transfer: Transfer, debit: Balance, credit: Balance) -> TransferCode | None:
    """Check group 9, once both accounts have been found."""
    if debit.ledger != credit.ledger:
        return TransferCode.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
    if transfer.ledger != debit.ledger:
        return TransferCode.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS
    return None


def inherit(transfer: Transfer, pending: Transfer) -> Transfer:
    """Return a posting or voiding transfer with all that it leaves to its pending one."""
    everything = AMOUNT_MAX if transfer.flags & POST_PENDING else 0
    debit_id, credit_id = transfer.debit_account_id, transfer.credit_account_id
    user_data_128 = transfer.user_data_128
    return replace(
        transfer,
        debit_account_id=pending.debit_account_id if debit_id == NIL else debit_id,
        credit_account_id=pending.credit_account_id if credit_id == NIL else credit_id,
        amount=pending.amount if transfer.amount == everything else transfer.amount,
        ledger=transfer.ledger or pending.ledger,
        code=transfer.code or pending.code,
        user_data_128=pending.user_data_128 if user_data_128 == NIL else user_data_128,
        user_data_64=transfer.user_data_64 or pending.user_data_64,
        user_data_32=transfer.user_data_32 or pending.user_data_32,
    )


def check_inherited(inherited: Transfer, *, pending: Transfer) -> TransferCode | None:
    """Check group 10, once the pending transfer has been found; all is as after inheritance."""
    if not pending.flags & PENDING:
        return TransferCode.PENDING_TRANSFER_NOT_PENDING
    if inherited.debit_account_id != pending.debit_account_id:
        return TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID
    if inherited.credit_account_id != pending.credit_account_id:
        return TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID
    if inherited.ledger != pending.ledger:
        return TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER
    if inherited.code != pending.code:
        return TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_CODE
    return None


def check_hold(inherited: Transfer, *, hold: Hold, now: int) -> TransferCode | None:
    """Check group 11: the amount fits, and the hold is still there to be resolved at ``now``."""
    if inherited.amount > hold.transfer.amount:
        return TransferCode.EXCEEDS_PENDING_TRANSFER_AMOUNT
    if inherited.flags & VOID_PENDING and inherited.amount < hold.transfer.amount:
        return TransferCode.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT
    if hold.state is not HoldState.PENDING:
        return _RESOLVED[hold.state]
    if hold.expires_at is not None and now >= hold.expires_at:
        return TransferCode.PENDING_TRANSFER_EXPIRED
    return None


def check_closed(debit: Balance, credit: Balance) -> TransferCode | None:
    """Check group 13: a closed account refuses everything but the voiding of a hold."""
    if debit.closed:
        return TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED
    if credit.closed:
        return TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED
    return None


def actual_amount(transfer: Transfer, debit: Balance, credit: Balance) -> int:
    """Return what a balancing transfer moves: all that is asked for, or as much as there is.

    The formulas are the documented ones; ``min_available`` and ``max_balance`` may still refuse.
    """
    amount = transfer.amount
    if transfer.flags & BALANCING_DEBIT:
        amount = min(amount, max(0, debit.available))
    if transfer.flags & BALANCING_CREDIT:
        owed = credit.debits_posted - credit.credits_posted - credit.credits_pending
        amount = min(amount, max(0, owed))
    return amount


def check_overflow(
    transfer: Transfer, amount: int, debit: Balance, credit: Balance, *, timestamp: int
) -> TransferCode | None:
    """Check group 14: no counter, no sum of two and no expiry may leave 64 bits."""
    held = amount if transfer.flags & PENDING else 0
    totals = (
        (debit.debits_pending + held, TransferCode.OVERFLOWS_DEBITS_PENDING),
        (credit.credits_pending + held, TransferCode.OVERFLOWS_CREDITS_PENDING),
        (debit.debits_posted + amount, TransferCode.OVERFLOWS_DEBITS_POSTED),
        (credit.credits_posted + amount, TransferCode.OVERFLOWS_CREDITS_POSTED),
        (debit.debits_pending + debit.debits_posted + amount, TransferCode.OVERFLOWS_DEBITS),
        (credit.credits_pending + credit.credits_posted + amount, TransferCode.OVERFLOWS_CREDITS),
        (timestamp + transfer.timeout_s * MICROSECONDS_PER_SECOND, TransferCode.OVERFLOWS_TIMEOUT),
    )
    for total, code in totals:
        if total > AMOUNT_MAX:
            return code
    return None


def check_limits(amount: int, debit: Balance, credit: Balance) -> TransferCode | None:
    """Check group 15: what the accounts themselves forbid.

    Holds count against both: an outgoing one is no longer available, an incoming one already
    takes up room, and neither is funds. So a second step can never break a limit.
    """
    if debit.flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS or debit.min_available is not None:
        left = debit.credits_posted - debit.debits_posted - debit.debits_pending - amount
        if debit.flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS and left < 0:
            return TransferCode.EXCEEDS_CREDITS
        if debit.min_available is not None and left < debit.min_available:
            return TransferCode.EXCEEDS_CREDITS
    if credit.flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS:
        credits_after = credit.credits_posted + credit.credits_pending + amount
        if credits_after > credit.debits_posted:
            return TransferCode.EXCEEDS_DEBITS
    if credit.max_balance is not None:
        credits_after = credit.credits_posted + credit.credits_pending + amount
        if credits_after - credit.debits_posted > credit.max_balance:
            return TransferCode.EXCEEDS_MAX_BALANCE
    return None


def check_account_header(account: Account) -> AccountCode | None:
    """Check groups 2 and 3 for an account."""
    if account.timestamp != 0:
        return AccountCode.TIMESTAMP_MUST_BE_ZERO
    if account.flags & ~ACCOUNT_FLAGS:
        return AccountCode.RESERVED_FLAG
    if account.id == NIL:
        return AccountCode.ID_MUST_NOT_BE_ZERO
    if account.id == MAX_ID:
        return AccountCode.ID_MUST_NOT_BE_INT_MAX
    return None


def check_account_repeat(account: Account, *, existing: Account) -> AccountCode:
    """Check whether a request for an existing account asks for the same, counters apart."""
    for field, code in _REPEATED_ACCOUNT_FIELDS:
        if getattr(account, field) != getattr(existing, field):
            return code
    return AccountCode.EXISTS


def check_account(account: Account) -> AccountCode | None:
    """Check whatever else may be wrong with a new account."""
    exclusive = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS | ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS
    if account.flags & exclusive == exclusive:
        return AccountCode.FLAGS_ARE_MUTUALLY_EXCLUSIVE
    for field, code in _ZERO_FIELDS:
        if getattr(account, field) != 0:
            return code
    if account.ledger == 0:
        return AccountCode.LEDGER_MUST_NOT_BE_ZERO
    if account.code == 0:
        return AccountCode.CODE_MUST_NOT_BE_ZERO
    return None
