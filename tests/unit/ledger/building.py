"""Small accounts, transfers and books for the ledger's tests."""

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, Final
from uuid import UUID

from wallet.ledger.book import Book
from wallet.ledger.rules import (
    AMOUNT_MAX,
    NIL,
    PENDING,
    POST_PENDING,
    VOID_PENDING,
    Account,
    Balance,
    Hold,
    Transfer,
    TransferCode,
)

NOW: Final = 1_800_000_000_000_000
SECOND: Final = 1_000_000
ALICE, BOB, CAROL, NOBODY = (UUID(int=number) for number in (0xA, 0xB, 0xC, 0xFF))


def transfer_id(number: int) -> UUID:
    """Return an id that cannot be taken for an account's."""
    return UUID(int=0x1000 + number)


def transfer(number: int, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a transfer of 100 from Alice to Bob, except for ``fields``."""
    plain: dict[str, Any] = {
        "id": transfer_id(number),
        "debit_account_id": ALICE,
        "credit_account_id": BOB,
        "amount": 100,
        "ledger": 1,
        "code": 1,
    }
    return Transfer(**{**plain, **fields})


def pending(number: int, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a pending transfer of 100 from Alice to Bob, except for ``fields``."""
    return transfer(number, **{"flags": PENDING, **fields})


def post(number: int, of: int, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a post of all of the pending transfer ``of``, except for ``fields``."""
    return _resolve(number, of, AMOUNT_MAX, POST_PENDING, fields)


def void(number: int, of: int, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a void of the pending transfer ``of``, except for ``fields``."""
    return _resolve(number, of, 0, VOID_PENDING, fields)


def _resolve(number: int, of: int, amount: int, flags: int, fields: dict[str, Any]) -> Transfer:
    inheriting = {
        "debit_account_id": NIL,
        "credit_account_id": NIL,
        "amount": amount,
        "ledger": 0,
        "code": 0,
        "flags": flags,
        "pending_id": transfer_id(of),
    }
    return transfer(number, **{**inheriting, **fields})


def balance(account_id: UUID, **fields: Any) -> Balance:  # noqa: ANN401
    """Return an empty balance without limits, except for ``fields``."""
    return Balance(**{"account_id": account_id, "ledger": 1, "code": 1, **fields})


def book_of(*balances: Balance, now: int = NOW, **prior: Any) -> Book:  # noqa: ANN401
    """Return a book of the balances; of Alice, Bob and Carol without limits when none is given."""
    chosen = balances or tuple(map(balance, (ALICE, BOB, CAROL)))
    return Book(now=now, balances={one.account_id: one for one in chosen}, **prior)


def codes(book: Book, *transfers: Transfer) -> list[TransferCode]:
    """Return the results' codes of the transfers as one request."""
    return [result.code for result in book.create_transfers(transfers)]


def counters(book: Book, account_id: UUID) -> tuple[int, int, int, int]:
    """Return debits pending and posted, then credits pending and posted."""
    found = book.balances[account_id]
    return (found.debits_pending, found.debits_posted, found.credits_pending, found.credits_posted)


def snapshot(book: Book) -> tuple[object, ...]:
    """Return a copy of everything in the book that a rollback has to restore."""
    return (
        {id_: copy(found) for id_, found in book.balances.items()},
        {id_: copy(hold) for id_, hold in book.holds.items()},
        dict(book.accounts),
        dict(book.transfers),
        list(book.booked),
        list(book.created),
        list(book.touched),
        [copy(hold) for hold in book.opened],
        [copy(hold) for hold in book.resolved],
        dict(book.burnt),
    )


class Store:
    """What a database would keep: it learns of a book's effects from the book's lists alone."""

    def __init__(self, balances: Iterable[Balance] = ()) -> None:
        self.accounts: dict[UUID, Account] = {}
        self.balances = {one.account_id: one for one in balances}
        self.transfers: dict[UUID, Transfer] = {}
        self.holds: dict[UUID, Hold] = {}
        self.burnt: set[UUID] = set()

    def open(self, *, now: int) -> Book:
        """Return a book over copies of all there is."""
        return Book(
            now=now,
            balances={id_: copy(found) for id_, found in self.balances.items()},
            accounts=self.accounts,
            transfers=self.transfers,
            holds={id_: copy(hold) for id_, hold in self.holds.items()},
            failed=self.burnt,
        )

    def write(self, book: Book) -> None:
        """Keep what the book lists as changed."""
        for account in book.created:
            assert account.id not in self.accounts
            self.accounts[account.id] = account
            self.balances[account.id] = copy(book.balances[account.id])
        for booked in book.booked:
            assert booked.id not in self.transfers
            self.transfers[booked.id] = booked
        for changed in book.touched.values():
            self.balances[changed.account_id] = copy(changed)
        for hold in book.opened:
            assert hold.transfer.id not in self.holds
        for hold in book.resolved:
            assert hold.transfer.id in self.holds
        for hold in (*book.opened, *book.resolved):
            self.holds[hold.transfer.id] = copy(hold)
        self.burnt |= set(book.burnt)


def settle(store: Store, request: Sequence[Transfer], *, now: int = NOW) -> list[TransferCode]:
    """Run one request in a fresh book, keep its effects, and return the codes."""
    book = store.open(now=now)
    answer = codes(book, *request)
    store.write(book)
    return answer
