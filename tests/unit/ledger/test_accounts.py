"""Creating accounts: every way to refuse one, in order, and what becomes of a good one."""

from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.unit.ledger.building import ALICE, BOB, NOW, balance, book_of, codes, snapshot, transfer
from wallet.ledger.book import Book
from wallet.ledger.rules import (
    ACCOUNT_CLOSED,
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    ACCOUNT_HISTORY,
    ACCOUNT_LINKED,
    MAX_ID,
    NIL,
    Account,
    AccountCode,
    AccountResult,
    Balance,
    TransferCode,
)

CREATED = AccountCode.CREATED
BOTH = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS | ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS
EXISTING = "existing"

Fault = tuple[AccountCode, dict[str, Any]]
FAULTS: list[Fault] = [
    (AccountCode.LINKED_EVENT_CHAIN_OPEN, {"flags": ACCOUNT_LINKED}),
    (AccountCode.TIMESTAMP_MUST_BE_ZERO, {"timestamp": 1}),
    (AccountCode.RESERVED_FLAG, {"flags": 16}),
    (AccountCode.ID_MUST_NOT_BE_ZERO, {"id": NIL}),
    (AccountCode.ID_MUST_NOT_BE_INT_MAX, {"id": MAX_ID}),
    *(
        (AccountCode(f"exists_with_different_{field}"), {f"{EXISTING}.{field}": value})
        for field, value in {
            "flags": ACCOUNT_HISTORY,
            "user_data_128": BOB,
            "user_data_64": 64,
            "user_data_32": 32,
            "ledger": 99,
            "code": 98,
            "min_available": 97,
            "max_balance": 96,
        }.items()
    ),
    (AccountCode.EXISTS, {f"{EXISTING}.debits_posted": 5}),
    (AccountCode.FLAGS_ARE_MUTUALLY_EXCLUSIVE, {"flags": BOTH}),
    (AccountCode.DEBITS_PENDING_MUST_BE_ZERO, {"debits_pending": 1}),
    (AccountCode.DEBITS_POSTED_MUST_BE_ZERO, {"debits_posted": 1}),
    (AccountCode.CREDITS_PENDING_MUST_BE_ZERO, {"credits_pending": 1}),
    (AccountCode.CREDITS_POSTED_MUST_BE_ZERO, {"credits_posted": 1}),
    (AccountCode.LEDGER_MUST_NOT_BE_ZERO, {"ledger": 0}),
    (AccountCode.CODE_MUST_NOT_BE_ZERO, {"code": 0}),
]


def account(**fields: Any) -> Account:  # noqa: ANN401
    """Return Alice's account, except for ``fields``."""
    return Account(**{"id": ALICE, "ledger": 1, "code": 1, **fields})


def answer(*faults: Fault) -> AccountCode:
    """Return the answer to a request with these faults."""
    fields: dict[str, Any] = {}
    for _, changed in faults:
        for key, value in changed.items():
            fields[key] = fields.get("flags", 0) | value if key == "flags" else value
    request = account(**{key: value for key, value in fields.items() if EXISTING not in key})
    different = {
        key.removeprefix(f"{EXISTING}."): value for key, value in fields.items() if EXISTING in key
    }
    if "flags" in different:
        different["flags"] |= request.flags
    known = {request.id: replace(request, **different, timestamp=NOW - 1)} if different else {}
    book = Book(now=NOW, balances={}, accounts=known)
    return book.create_accounts([request])[0].code


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault[0]))
def test_an_account_with_one_fault_is_refused_for_it(fault: Fault) -> None:
    assert answer(fault) is fault[0]


def test_an_account_with_two_faults_is_refused_for_the_first() -> None:
    pairs = [
        (first, second)
        for first, second in combinations(FAULTS, 2)
        if first[1].keys().isdisjoint(second[1]) or "flags" in first[1].keys() & second[1].keys()
    ]
    answers = {(first[0], second[0]): answer(first, second) for first, second in pairs}
    assert answers == {pair: pair[0] for pair in answers}
    assert len(pairs) > 2 * len(FAULTS)


def test_the_table_has_every_code_in_the_documented_order() -> None:
    elsewhere = [CREATED, AccountCode.LINKED_EVENT_FAILED]
    assert [*elsewhere, *(code for code, _ in FAULTS)] == list(AccountCode)


def test_a_created_account_can_be_used_at_once() -> None:
    book = Book(now=NOW, balances={})
    bob = account(id=BOB, max_balance=50, flags=ACCOUNT_CLOSED, user_data_64=7)
    assert book.create_accounts([account(min_available=-100), bob]) == [
        AccountResult(CREATED, NOW),
        AccountResult(CREATED, NOW + 1),
    ]
    assert book.created == [
        replace(account(min_available=-100), timestamp=NOW),
        replace(bob, timestamp=NOW + 1),
    ]
    assert book.balances == {
        ALICE: Balance(ALICE, 1, 1, min_available=-100, last_timestamp=NOW),
        BOB: Balance(BOB, 1, 1, ACCOUNT_CLOSED, None, 50, closed=True, last_timestamp=NOW + 1),
    }
    assert not book.touched
    assert codes(book, transfer(1)) == [TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED]
    assert set(book.touched) == set()


def test_transfers_follow_their_accounts_in_time() -> None:
    book = Book(now=NOW, balances={})
    book.create_accounts([account(), account(id=BOB)])
    assert codes(book, transfer(1)) == [TransferCode.CREATED]
    assert [a.timestamp for a in book.created] + [t.timestamp for t in book.booked] == [
        NOW,
        NOW + 1,
        NOW + 2,
    ]
    assert set(book.touched) == {ALICE, BOB}


def test_an_account_asked_for_again_exists_with_its_first_timestamp() -> None:
    book = Book(now=NOW, balances={})
    book.create_accounts([account(min_available=0)])
    assert book.create_accounts([account(min_available=0), account()]) == [
        AccountResult(AccountCode.EXISTS, NOW),
        AccountResult(AccountCode.EXISTS_WITH_DIFFERENT_MIN_AVAILABLE, 0),
    ]
    assert len(book.created) == 1


def test_a_chain_of_accounts_is_created_as_a_whole_or_not_at_all() -> None:
    book = book_of(balance(UUID(int=1)))
    before = snapshot(book)
    chain = [
        account(flags=ACCOUNT_LINKED),
        account(id=BOB, code=0, flags=ACCOUNT_LINKED),
        account(id=UUID(int=7)),
    ]
    failed = AccountCode.LINKED_EVENT_FAILED
    assert [result.code for result in book.create_accounts(chain)] == [
        failed,
        AccountCode.CODE_MUST_NOT_BE_ZERO,
        failed,
    ]
    assert snapshot(book) == before
    chain[1] = account(id=BOB, flags=ACCOUNT_LINKED)
    assert [result.code for result in book.create_accounts(chain)] == [CREATED] * 3


def test_a_balance_without_its_account_is_a_fault_of_the_caller() -> None:
    with pytest.raises(LookupError, match="without the account"):
        book_of(balance(ALICE)).create_accounts([account()])


@pytest.mark.parametrize(
    "wrong", [{"ledger": -1}, {"code": 2**15}, {"min_available": 2**63}, {"max_balance": -(2**63)}]
)
def test_a_number_out_of_range_is_a_fault_of_the_caller(wrong: dict[str, int]) -> None:
    book = Book(now=NOW, balances={})
    with pytest.raises(ValueError, match="within their ranges"):
        book.create_accounts([account(id=BOB), account(**wrong)])
    assert not book.created
