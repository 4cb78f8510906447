"""What an account itself forbids, and balancing transfers, which move what it allows."""

from uuid import UUID

import pytest

from tests.unit.ledger.building import (
    ALICE,
    BOB,
    NOBODY,
    Store,
    balance,
    book_of,
    codes,
    counters,
    pending,
    post,
    settle,
    transfer,
    transfer_id,
)
from wallet.ledger.rules import (
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    AMOUNT_MAX,
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    TransferCode,
)

CREATED = TransferCode.CREATED
GUARDED = {"flags": ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS}
CEILED = {"flags": ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS}


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        (GUARDED | {"credits_posted": 100}, 100),
        (GUARDED | {"credits_posted": 100, "debits_posted": 40}, 60),
        (GUARDED | {"credits_posted": 100, "debits_pending": 40}, 60),
        (GUARDED | {"credits_posted": 100, "credits_pending": 500}, 100),
        ({"min_available": 0, "credits_posted": 100, "credits_pending": 500}, 100),
        ({"min_available": 30, "credits_posted": 100, "debits_pending": 20}, 50),
        ({"min_available": -30, "credits_posted": 100}, 130),
        (GUARDED | {"min_available": -30, "credits_posted": 100}, 100),
        (GUARDED | {"min_available": 30, "credits_posted": 100}, 70),
    ],
    ids=str,
)
def test_a_debit_stops_at_the_stricter_floor(fields: dict[str, int], most: int) -> None:
    for make in (transfer, pending):
        book = book_of(balance(ALICE, **fields), balance(BOB))
        assert codes(book, make(1, amount=most + 1)) == [TransferCode.EXCEEDS_CREDITS]
        assert codes(book, make(2, amount=most)) == [CREATED]
        assert codes(book, make(3, amount=1)) == [TransferCode.EXCEEDS_CREDITS]
        assert codes(book, make(4, amount=0)) == [CREATED]


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        (CEILED | {"debits_posted": 100}, 100),
        (CEILED | {"debits_posted": 100, "debits_pending": 50}, 100),
        (CEILED | {"debits_posted": 100, "credits_posted": 20, "credits_pending": 30}, 50),
    ],
    ids=str,
)
def test_a_credit_stops_at_the_debits(fields: dict[str, int], most: int) -> None:
    for make in (transfer, pending):
        book = book_of(balance(ALICE), balance(BOB, **fields))
        assert codes(book, make(1, amount=most + 1)) == [TransferCode.EXCEEDS_DEBITS]
        assert codes(book, make(2, amount=most)) == [CREATED]
        assert codes(book, make(3, amount=1)) == [TransferCode.EXCEEDS_DEBITS]


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"max_balance": 100}, 100),
        ({"max_balance": 100, "credits_posted": 70, "debits_posted": 20}, 50),
        ({"max_balance": 100, "credits_posted": 70, "debits_pending": 20}, 30),
        ({"max_balance": 100, "credits_pending": 30}, 70),
    ],
    ids=str,
)
def test_a_credit_stops_at_the_most_an_account_may_hold(fields: dict[str, int], most: int) -> None:
    for make in (transfer, pending):
        book = book_of(balance(ALICE), balance(BOB, **fields))
        assert codes(book, make(1, amount=most + 1)) == [TransferCode.EXCEEDS_MAX_BALANCE]
        assert codes(book, make(2, amount=most)) == [CREATED]
        assert codes(book, make(3, amount=1)) == [TransferCode.EXCEEDS_MAX_BALANCE]


def test_the_limits_are_told_in_order() -> None:
    alice = balance(ALICE, **GUARDED)
    bob = balance(BOB, **CEILED, max_balance=-1)
    book = book_of(alice, bob)
    assert codes(book, transfer(1, amount=1)) == [TransferCode.EXCEEDS_CREDITS]
    alice.credits_posted = 1
    assert codes(book, transfer(2, amount=1)) == [TransferCode.EXCEEDS_DEBITS]
    bob.debits_posted, bob.credits_posted, bob.max_balance = 1, 0, -1
    assert codes(book, transfer(3, amount=1)) == [TransferCode.EXCEEDS_MAX_BALANCE]


def test_a_post_can_never_break_a_limit() -> None:
    alice = balance(ALICE, **GUARDED, credits_posted=100)
    book = book_of(alice, balance(BOB, max_balance=100))
    assert codes(book, pending(1), transfer(2, amount=1), post(3, of=1)) == [
        CREATED,
        TransferCode.EXCEEDS_CREDITS,
        CREATED,
    ]
    assert book.available(ALICE) == 0
    assert book.balances[BOB].balance == 100


def test_available_is_what_is_posted_less_outgoing_holds() -> None:
    held = balance(
        ALICE, credits_posted=100, debits_posted=20, debits_pending=5, credits_pending=900
    )
    book = book_of(held)
    assert (book.available(ALICE), held.available, held.balance) == (75, 75, 80)
    assert book.available(NOBODY) == 0


@pytest.mark.parametrize(
    ("flags", "alice", "bob", "moved"),
    [
        (BALANCING_DEBIT, {"credits_posted": 70, "debits_pending": 5, "debits_posted": 5}, {}, 60),
        (BALANCING_DEBIT, {"credits_posted": 500}, {}, 100),
        (BALANCING_DEBIT, {"credits_pending": 70}, {}, 0),
        (BALANCING_DEBIT, {"debits_posted": 70}, {}, 0),
        (BALANCING_CREDIT, {}, {"debits_posted": 70, "credits_pending": 5}, 65),
        (BALANCING_CREDIT, {}, {"debits_posted": 500}, 100),
        (BALANCING_CREDIT, {}, {"credits_posted": 70}, 0),
        (BALANCING_DEBIT | BALANCING_CREDIT, {"credits_posted": 60}, {"debits_posted": 50}, 50),
        (BALANCING_DEBIT | BALANCING_CREDIT, {"credits_posted": 40}, {"debits_posted": 50}, 40),
    ],
    ids=str,
)
def test_a_balancing_transfer_moves_as_much_as_there_is(
    flags: int, alice: dict[str, int], bob: dict[str, int], moved: int
) -> None:
    book = book_of(balance(ALICE, **alice), balance(BOB, **bob))
    result = book.create_transfers([transfer(1, flags=flags)])[0]
    assert (result.code, result.amount) == (CREATED, moved)
    assert book.booked[0].amount == moved
    assert counters(book, BOB)[3] == bob.get("credits_posted", 0) + moved


def test_a_balancing_transfer_of_everything_does_not_overflow() -> None:
    book = book_of(balance(ALICE, credits_posted=70, debits_posted=1), balance(BOB))
    result = book.create_transfers([transfer(1, amount=AMOUNT_MAX, flags=BALANCING_DEBIT)])[0]
    assert (result.code, result.amount) == (CREATED, 69)


def test_a_limit_may_still_refuse_a_balancing_transfer() -> None:
    book = book_of(balance(ALICE, credits_posted=70), balance(BOB, max_balance=50))
    assert codes(book, transfer(1, flags=BALANCING_DEBIT)) == [TransferCode.EXCEEDS_MAX_BALANCE]


def test_an_amount_of_zero_is_booked() -> None:
    book = book_of(balance(ALICE, **GUARDED), balance(BOB))
    assert codes(book, transfer(1, amount=0)) == [CREATED]
    assert book.balances[ALICE].transfer_count == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": -1},
        {"amount": AMOUNT_MAX + 1},
        {"ledger": -1},
        {"code": -1},
        {"code": 2**15},
        {"timeout_s": -1},
        {"timeout_s": 2**31},
    ],
    ids=str,
)
def test_a_number_out_of_range_is_a_fault_of_the_caller_and_changes_nothing(
    wrong: dict[str, int],
) -> None:
    book = book_of()
    with pytest.raises(ValueError, match=str(transfer_id(2))):
        book.create_transfers([transfer(1), transfer(2, **wrong)])
    assert not book.booked
    assert counters(book, ALICE) == (0, 0, 0, 0)


def test_the_largest_amount_can_be_moved_there_and_back() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    back = transfer(2, debit_account_id=BOB, credit_account_id=ALICE, amount=AMOUNT_MAX)
    assert settle(store, [transfer(1, amount=AMOUNT_MAX), back]) == [CREATED, CREATED]
    assert settle(store, [transfer(3, amount=1)]) == [TransferCode.OVERFLOWS_DEBITS_POSTED]
    assert store.balances[ALICE].balance == store.balances[BOB].balance == 0


def test_the_largest_amount_can_be_held_and_posted() -> None:
    book = book_of()
    assert codes(book, pending(1, amount=AMOUNT_MAX), post(2, of=1)) == [CREATED, CREATED]
    assert counters(book, ALICE) == (0, AMOUNT_MAX, 0, 0)
    assert codes(book, pending(3, amount=1)) == [TransferCode.OVERFLOWS_DEBITS_POSTED]


@pytest.mark.parametrize("elsewhere", [ALICE, BOB])
def test_no_transfer_crosses_ledgers(elsewhere: UUID) -> None:
    book = book_of()
    book.balances[elsewhere].ledger = 2
    for ledger in (1, 2):
        assert codes(book, transfer(ledger, ledger=ledger)) == [
            TransferCode.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
        ]
