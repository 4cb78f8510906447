"""Accounts that a batch neither locks nor reads, and what it may do with them all the same.

What nothing limits, such as what the city owes a shop, takes any amount on either side. A batch
adds to its counters as its last act before COMMIT; that is what makes the busiest shop as fast as
any other. Only what never changes is remembered; that an account has been closed meanwhile, or is
half full, is found when the addition meets no row, and then all are forgotten.

An account that everybody draws on a little, such as a budget that gives a bonus on every payment,
is treated so as well while it holds plenty: a batch may take from it unseen up to an allowance, a
small share of what this process last saw in it. That no more is taken than is there does not rest
on this: the row's own CHECK refuses it, and the batch is run again with the account locked.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from wallet.core.database import sqlstate_of
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    AMOUNT_MAX,
    Balance,
    Transfer,
)

_OUT_OF_RANGE: Final = "22003"
_DEBITS_WITHIN_CREDITS: Final = "ck_balance_debits_within_credits"

OPEN_ACCOUNTS_MAX: Final = 100_000
"""Accounts remembered in one process, about 30 MB."""

OPEN_TOTAL_MAX: Final = AMOUNT_MAX // 2
"""An account with more than this on a side is read, so that it can be told when it is full."""

OPEN_AMOUNT_MAX: Final = 10**14
"""More than this is not added unread; a whole batch of it does not fill the other half."""

DRAWN_SHARE: Final = 8
"""What a process takes from an account unseen is at most one part in eight of what it last saw."""


class OpenAccounts:
    """What one process remembers of such accounts."""

    def __init__(self) -> None:
        self._known: dict[UUID, tuple[int, int, int]] = {}
        self._allowances: dict[UUID, tuple[int, int, int]] = {}
        self._last_timestamp = 0

    def learn(self, locked: Mapping[UUID, Balance], drawn: Iterable[UUID]) -> None:
        """Remember those that nothing limits, and what may be taken from those drawn on."""
        if len(self._known) > OPEN_ACCOUNTS_MAX:
            self._known.clear()
        for b in locked.values():
            if not b.flags and _is_plain(b):
                self._known[b.account_id] = (b.ledger, b.code, b.flags)
        for account_id in drawn:
            if account_id in locked:
                self._allow(locked[account_id])

    def _allow(self, b: Balance) -> None:
        if b.flags == ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS and _is_plain(b):
            self._allowances[b.account_id] = (b.ledger, b.code, b.available // DRAWN_SHARE)

    def forget(self) -> None:
        """Forget everything; the next batch locks and reads again."""
        self._known.clear()
        self._allowances.clear()

    def lend(
        self,
        added_ids: set[UUID],
        drawn: Mapping[UUID, int],
        exact_ids: Collection[UUID],
        *,
        kinds: int,
    ) -> dict[UUID, Balance]:
        """Return empty balances of those to be added to or drawn on that are known to be open.

        ``exact_ids`` are locked first. Should open accounts be among them, only those that come
        after them in the order of locks are lent; the rest must be locked with them. ``drawn`` is
        the most that is taken from each account. All of them are lent, each with its allowance as
        its floor, or none. None where the batch locks any account that comes after them in the
        order of locks, such as a shop that this process sees for the first time; nor where it may
        lock others of their sort, for itself or for another of its ``kinds`` of work.
        """
        known, allowances = self._known, self._allowances
        exact = [i.bytes for i in exact_ids if i in known]
        last = max(exact) if exact else b""
        added_ids = added_ids - drawn.keys() - set(exact_ids)
        lent = added_ids & known.keys()
        balances = {i: Balance(i, *known[i]) for i in lent if i.bytes > last}
        is_alone = kinds == 1 and len(balances) == len(added_ids) and not exact
        if drawn and is_alone and self._may_take(drawn, exact_ids):
            for i, most in drawn.items():
                ledger, code, allowance = allowances[i]
                balances[i] = Balance(i, ledger, code, min_available=-allowance)
                allowances[i] = (ledger, code, allowance - most)
        return balances

    def _may_take(self, drawn: Mapping[UUID, int], exact_ids: Collection[UUID]) -> bool:
        allowances = self._allowances
        return all(i in allowances and allowances[i][2] >= most for i, most in drawn.items()) and (
            not any(i in allowances for i in exact_ids)
        )

    def date(self, balances: Iterable[Balance]) -> None:
        """Let transfers on lent balances come after all that this process has booked.

        So their timestamps increase strictly although nobody reads the rows. Another process may
        give the same timestamp to another transfer of the account; ids tell the two apart.
        """
        for balance in balances:
            balance.last_timestamp = self._last_timestamp

    def note(self, booked: Sequence[Transfer]) -> None:
        """Remember the last timestamp that a batch has given."""
        if booked:
            self._last_timestamp = max(self._last_timestamp, booked[-1].timestamp)


def _is_plain(b: Balance) -> bool:
    """Whether nothing but the account's flags can speak against what a batch adds to it."""
    debits, credits_ = b.debits_pending + b.debits_posted, b.credits_pending + b.credits_posted
    is_unlimited = b.min_available is None and b.max_balance is None
    return is_unlimited and not b.closed and max(debits, credits_) <= OPEN_TOTAL_MAX


def is_beyond_limits(error: Exception) -> bool:
    """Whether an account could not take what was added to it, or had not what was taken from it."""
    return (
        sqlstate_of(error) == _OUT_OF_RANGE
        or getattr(error, "constraint_name", None) == _DEBITS_WITHIN_CREDITS
    )


def add_up(drawn: Iterable[Mapping[UUID, int]]) -> dict[UUID, int]:
    """Return the most that all together take from each account."""
    most: dict[UUID, int] = {}
    for one in drawn:
        for account_id, amount in one.items():
            most[account_id] = most.get(account_id, 0) + amount
    return most
