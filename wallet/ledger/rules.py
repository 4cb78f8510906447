"""The words of the ledger: accounts, transfers, balances, holds, and the names of every result.

The semantics are TigerBeetle's (docs/reference of tigerbeetle.com), with 64-bit signed amounts,
without imported events, and with two limits more on an account: ``min_available`` and
``max_balance``. Timestamps are microseconds since the epoch; amounts are in the ledger's smallest
unit (yen).

Values are ``msgspec.Struct`` because a batch makes thousands of them: making a transfer takes a
tenth of what a frozen dataclass takes, or less. ``gc=False`` keeps them out of the garbage
collector, which is safe because none of them can be part of a cycle. Flags are plain integers
because testing one bit of an ``IntFlag`` is tens of times slower. Ids are ``uuid.UUID`` or any
subclass of it.

The ``Annotated`` ranges are those of TigerBeetle's unsigned fields narrowed to PostgreSQL's
signed columns. msgspec enforces them where values are decoded; the constructor does not.
"""

from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

NIL: Final = UUID(int=0)
"""No id: "none" or "inherit", and never the id of anything."""
MAX_ID: Final = UUID(int=2**128 - 1)
"""Reserved like :data:`NIL`."""
AMOUNT_MAX: Final = 2**63 - 1
"""The largest amount; to post it means "all that is pending"."""
TIMESTAMP_MAX: Final = 2**63 - 1
LEDGER_MAX: Final = 2**31 - 1
CODE_MAX: Final = 2**15 - 1
TIMEOUT_S_MAX: Final = 2**31 - 1
MICROSECONDS_PER_SECOND: Final = 1_000_000

ACCOUNT_LINKED: Final = 1
ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS: Final = 2
ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS: Final = 4
ACCOUNT_HISTORY: Final = 8
ACCOUNT_CLOSED: Final = 32
ACCOUNT_FLAGS: Final = 1 | 2 | 4 | 8 | 32
"""Every flag an account may have; 16 (imported) is not among them."""

LINKED: Final = 1
PENDING: Final = 2
POST_PENDING: Final = 4
VOID_PENDING: Final = 8
BALANCING_DEBIT: Final = 16
BALANCING_CREDIT: Final = 32
CLOSING_DEBIT: Final = 64
CLOSING_CREDIT: Final = 128
TRANSFER_FLAGS: Final = 255
"""Every flag a transfer may have; 256 (imported) is not among them."""

Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Ledger = Annotated[int, Meta(ge=0, le=LEDGER_MAX)]
Code = Annotated[int, Meta(ge=0, le=CODE_MAX)]
Flags = Annotated[int, Meta(ge=0, le=CODE_MAX)]
UserData64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
UserData32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TimeoutS = Annotated[int, Meta(ge=0, le=TIMEOUT_S_MAX)]
Timestamp = Annotated[int, Meta(ge=0, le=TIMESTAMP_MAX)]


class Account(Struct, frozen=True, gc=False):
    """An account as it is asked for, or as it was created (then with its ``timestamp``).

    The four counters are there to be refused when not zero; :class:`Balance` has the living ones.
    ``min_available`` is the least that must stay available after a debit (negative: overdraft),
    ``max_balance`` the most the account may hold, incoming holds counted.
    """

    id: UUID
    ledger: Ledger
    code: Code
    flags: Flags = 0
    user_data_128: UUID = NIL
    user_data_64: UserData64 = 0
    user_data_32: UserData32 = 0
    min_available: int | None = None
    max_balance: int | None = None
    debits_pending: Amount = 0
    debits_posted: Amount = 0
    credits_pending: Amount = 0
    credits_posted: Amount = 0
    timestamp: Timestamp = 0


class Transfer(Struct, frozen=True, gc=False):
    """A transfer as it is asked for (``timestamp`` 0), or as it was booked.

    A booked one has its actual amount and, when it posts or voids, the fields it inherited.
    """

    id: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount: Amount
    ledger: Ledger
    code: Code
    flags: Flags = 0
    pending_id: UUID = NIL
    user_data_128: UUID = NIL
    user_data_64: UserData64 = 0
    user_data_32: UserData32 = 0
    timeout_s: TimeoutS = 0
    timestamp: Timestamp = 0


class TransferCode(StrEnum):
    """What became of a transfer, in the documented order of precedence: the first match wins.

    TigerBeetle's names. Those of imported events are left out, since nothing can bring them
    about here; the last one is ours.
    """

    CREATED = "created"
    LINKED_EVENT_FAILED = "linked_event_failed"
    LINKED_EVENT_CHAIN_OPEN = "linked_event_chain_open"
    TIMESTAMP_MUST_BE_ZERO = "timestamp_must_be_zero"
    RESERVED_FLAG = "reserved_flag"
    ID_MUST_NOT_BE_ZERO = "id_must_not_be_zero"
    ID_MUST_NOT_BE_INT_MAX = "id_must_not_be_int_max"
    EXISTS_WITH_DIFFERENT_FLAGS = "exists_with_different_flags"
    EXISTS_WITH_DIFFERENT_PENDING_ID = "exists_with_different_pending_id"
    EXISTS_WITH_DIFFERENT_TIMEOUT = "exists_with_different_timeout"
    EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID = "exists_with_different_debit_account_id"
    EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID = "exists_with_different_credit_account_id"
    EXISTS_WITH_DIFFERENT_AMOUNT = "exists_with_different_amount"
    EXISTS_WITH_DIFFERENT_USER_DATA_128 = "exists_with_different_user_data_128"
    EXISTS_WITH_DIFFERENT_USER_DATA_64 = "exists_with_different_user_data_64"
    EXISTS_WITH_DIFFERENT_USER_DATA_32 = "exists_with_different_user_data_32"
    EXISTS_WITH_DIFFERENT_LEDGER = "exists_with_different_ledger"
    EXISTS_WITH_DIFFERENT_CODE = "exists_with_different_code"
    EXISTS = "exists"
    ID_ALREADY_FAILED = "id_already_failed"
    FLAGS_ARE_MUTUALLY_EXCLUSIVE = "flags_are_mutually_exclusive"
    DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO = "debit_account_id_must_not_be_zero"
    DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX = "debit_account_id_must_not_be_int_max"
    CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO = "credit_account_id_must_not_be_zero"
    CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX = "credit_account_id_must_not_be_int_max"
    ACCOUNTS_MUST_BE_DIFFERENT = "accounts_must_be_different"
    PENDING_ID_MUST_BE_ZERO = "pending_id_must_be_zero"
    PENDING_ID_MUST_NOT_BE_ZERO = "pending_id_must_not_be_zero"
    PENDING_ID_MUST_NOT_BE_INT_MAX = "pending_id_must_not_be_int_max"
    PENDING_ID_MUST_BE_DIFFERENT = "pending_id_must_be_different"
    TIMEOUT_RESERVED_FOR_PENDING_TRANSFER = "timeout_reserved_for_pending_transfer"
    CLOSING_TRANSFER_MUST_BE_PENDING = "closing_transfer_must_be_pending"
    LEDGER_MUST_NOT_BE_ZERO = "ledger_must_not_be_zero"
    CODE_MUST_NOT_BE_ZERO = "code_must_not_be_zero"
    DEBIT_ACCOUNT_NOT_FOUND = "debit_account_not_found"
    CREDIT_ACCOUNT_NOT_FOUND = "credit_account_not_found"
    ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER = "accounts_must_have_the_same_ledger"
    TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS = (
        "transfer_must_have_the_same_ledger_as_accounts"
    )
    PENDING_TRANSFER_NOT_FOUND = "pending_transfer_not_found"
    PENDING_TRANSFER_NOT_PENDING = "pending_transfer_not_pending"
    PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID = (
        "pending_transfer_has_different_debit_account_id"
    )
    PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID = (
        "pending_transfer_has_different_credit_account_id"
    )
    PENDING_TRANSFER_HAS_DIFFERENT_LEDGER = "pending_transfer_has_different_ledger"
    PENDING_TRANSFER_HAS_DIFFERENT_CODE = "pending_transfer_has_different_code"
    EXCEEDS_PENDING_TRANSFER_AMOUNT = "exceeds_pending_transfer_amount"
    PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT = "pending_transfer_has_different_amount"
    PENDING_TRANSFER_ALREADY_POSTED = "pending_transfer_already_posted"
    PENDING_TRANSFER_ALREADY_VOIDED = "pending_transfer_already_voided"
    PENDING_TRANSFER_EXPIRED = "pending_transfer_expired"
    DEBIT_ACCOUNT_ALREADY_CLOSED = "debit_account_already_closed"
    CREDIT_ACCOUNT_ALREADY_CLOSED = "credit_account_already_closed"
    OVERFLOWS_DEBITS_PENDING = "overflows_debits_pending"
    OVERFLOWS_CREDITS_PENDING = "overflows_credits_pending"
    OVERFLOWS_DEBITS_POSTED = "overflows_debits_posted"
    OVERFLOWS_CREDITS_POSTED = "overflows_credits_posted"
    OVERFLOWS_DEBITS = "overflows_debits"
    OVERFLOWS_CREDITS = "overflows_credits"
    OVERFLOWS_TIMEOUT = "overflows_timeout"
    EXCEEDS_CREDITS = "exceeds_credits"
    EXCEEDS_DEBITS = "exceeds_debits"
    EXCEEDS_MAX_BALANCE = "exceeds_max_balance"


TRANSIENT: Final = frozenset(
    {
        TransferCode.DEBIT_ACCOUNT_NOT_FOUND,
        TransferCode.CREDIT_ACCOUNT_NOT_FOUND,
        TransferCode.PENDING_TRANSFER_NOT_FOUND,
        TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED,
        TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED,
        TransferCode.EXCEEDS_CREDITS,
        TransferCode.EXCEEDS_DEBITS,
        TransferCode.EXCEEDS_MAX_BALANCE,
    }
)
"""Failures that another moment might not have brought: they use the id up for ever.

Otherwise a retry could turn a failure that was told into a success. TigerBeetle's seven, and our
own limit, which depends on the moment in the same way.
"""


class AccountCode(StrEnum):
    """What became of an account, in the documented order of precedence: the first match wins.

    The two ``exists_with_different_`` names of our own limits come last before ``exists``.
    """

    CREATED = "created"
    LINKED_EVENT_FAILED = "linked_event_failed"
    LINKED_EVENT_CHAIN_OPEN = "linked_event_chain_open"
    TIMESTAMP_MUST_BE_ZERO = "timestamp_must_be_zero"
    RESERVED_FLAG = "reserved_flag"
    ID_MUST_NOT_BE_ZERO = "id_must_not_be_zero"
    ID_MUST_NOT_BE_INT_MAX = "id_must_not_be_int_max"
    EXISTS_WITH_DIFFERENT_FLAGS = "exists_with_different_flags"
    EXISTS_WITH_DIFFERENT_USER_DATA_128 = "exists_with_different_user_data_128"
    EXISTS_WITH_DIFFERENT_USER_DATA_64 = "exists_with_different_user_data_64"
    EXISTS_WITH_DIFFERENT_USER_DATA_32 = "exists_with_different_user_data_32"
    EXISTS_WITH_DIFFERENT_LEDGER = "exists_with_different_ledger"
    EXISTS_WITH_DIFFERENT_CODE = "exists_with_different_code"
    EXISTS_WITH_DIFFERENT_MIN_AVAILABLE = "exists_with_different_min_available"
    EXISTS_WITH_DIFFERENT_MAX_BALANCE = "exists_with_different_max_balance"
    EXISTS = "exists"
    FLAGS_ARE_MUTUALLY_EXCLUSIVE = "flags_are_mutually_exclusive"
    DEBITS_PENDING_MUST_BE_ZERO = "debits_pending_must_be_zero"
    DEBITS_POSTED_MUST_BE_ZERO = "debits_posted_must_be_zero"
    CREDITS_PENDING_MUST_BE_ZERO = "credits_pending_must_be_zero"
    CREDITS_POSTED_MUST_BE_ZERO = "credits_posted_must_be_zero"
    LEDGER_MUST_NOT_BE_ZERO = "ledger_must_not_be_zero"
    CODE_MUST_NOT_BE_ZERO = "code_must_not_be_zero"


class TransferResult(Struct, frozen=True, gc=False):
    """The answer to one transfer.

    ``timestamp`` and ``amount`` are those of the transfer booked now, or earlier when the code is
    ``exists``; both are 0 with any other code.
    """

    code: TransferCode
    timestamp: int
    amount: int


class AccountResult(Struct, frozen=True, gc=False):
    """The answer to one account; ``timestamp`` is 0 unless it was created, now or earlier."""

    code: AccountCode
    timestamp: int


class Balance(Struct, gc=False):
    """The living part of an account: mutable, and the only thing a transfer changes.

    ``last_timestamp`` is that of the account's last transfer, or of its creation;
    ``transfer_count`` counts every transfer booked on it, posts and voids included.
    """

    account_id: UUID
    ledger: int
    code: int
    flags: int = 0
    min_available: int | None = None
    max_balance: int | None = None
    closed: bool = False
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0
    last_timestamp: int = 0
    transfer_count: int = 0

    @property
    def available(self) -> int:
        """What the holder may still spend: outgoing holds count as spent, incoming not at all.

        The floor of ``min_available`` is not subtracted.
        """
        return self.credits_posted - self.debits_posted - self.debits_pending

    @property
    def balance(self) -> int:
        """What is posted, seen from the credit side; holds are not counted."""
        return self.credits_posted - self.debits_posted


class HoldState(StrEnum):
    """A hold is resolved at most once."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


class Hold(Struct, gc=False):
    """What has become of a booked pending transfer, which itself never changes.

    From ``expires_at`` on it can be neither posted nor voided; None is never.
    """

    transfer: Transfer
    state: HoldState
    expires_at: int | None


def expiry_of(transfer: Transfer) -> int | None:
    """Return when a booked pending transfer expires, in microseconds; None when it never does."""
    if transfer.timeout_s == 0:
        return None
    return transfer.timestamp + transfer.timeout_s * MICROSECONDS_PER_SECOND
