"""Pending transfers: post, void, timeout, and closing."""

import pytest

from tests.unit.ledger.building import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    SECOND,
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
    void,
)
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    AMOUNT_MAX,
    BALANCING_DEBIT,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    LINKED,
    NIL,
    PENDING,
    HoldState,
    Transfer,
    TransferCode,
    expiry_of,
)

CREATED = TransferCode.CREATED


def test_a_pending_transfer_holds_the_amount_on_both_sides() -> None:
    book = book_of()
    assert codes(book, pending(1)) == [CREATED]
    assert counters(book, ALICE) == (100, 0, 0, 0)
    assert counters(book, BOB) == (0, 0, 100, 0)
    assert (book.available(ALICE), book.available(BOB)) == (-100, 0)
    assert [hold.state for hold in book.opened] == [HoldState.PENDING]


@pytest.mark.parametrize(
    ("asked", "posted"), [(AMOUNT_MAX, 100), (100, 100), (30, 30), (0, 0)], ids=str
)
def test_a_post_moves_its_amount_and_gives_the_rest_back(asked: int, posted: int) -> None:
    book = book_of()
    book.create_transfers([pending(1)])
    result = book.create_transfers([post(2, of=1, amount=asked)])[0]
    assert (result.code, result.amount) == (CREATED, posted)
    assert counters(book, ALICE) == (0, posted, 0, 0)
    assert counters(book, BOB) == (0, 0, 0, posted)
    assert book.holds[transfer_id(1)].state is HoldState.POSTED


@pytest.mark.parametrize("asked", [0, 100])
def test_a_void_gives_everything_back(asked: int) -> None:
    book = book_of()
    book.create_transfers([pending(1)])
    result = book.create_transfers([void(2, of=1, amount=asked)])[0]
    assert (result.code, result.amount) == (CREATED, 100)
    assert counters(book, ALICE) == counters(book, BOB) == (0, 0, 0, 0)
    assert book.holds[transfer_id(1)].state is HoldState.VOIDED


def test_a_post_inherits_what_it_leaves_out() -> None:
    data = {"user_data_128": CAROL, "user_data_64": 64, "user_data_32": 32}
    book = book_of()
    codes(book, pending(1, code=7, timeout_s=60, **data), post(2, of=1))
    booked = book.booked[-1]
    assert booked == Transfer(
        transfer_id(2),
        ALICE,
        BOB,
        100,
        1,
        7,
        post(2, of=1).flags,
        transfer_id(1),
        CAROL,
        64,
        32,
        0,
        booked.timestamp,
    )


def test_a_post_may_carry_user_data_of_its_own() -> None:
    book = book_of()
    codes(book, pending(1, user_data_64=1), post(2, of=1, user_data_64=2, user_data_128=BOB))
    assert (book.booked[-1].user_data_64, book.booked[-1].user_data_128) == (2, BOB)


@pytest.mark.parametrize(
    ("first", "refused"),
    [
        (post(2, of=1), TransferCode.PENDING_TRANSFER_ALREADY_POSTED),
        (void(2, of=1), TransferCode.PENDING_TRANSFER_ALREADY_VOIDED),
    ],
)
def test_a_hold_is_resolved_once(first: Transfer, refused: TransferCode) -> None:
    book = book_of()
    assert codes(book, pending(1), first, post(3, of=1), void(4, of=1)) == [
        CREATED,
        CREATED,
        refused,
        refused,
    ]
    assert [booked.id for booked in book.booked] == [transfer_id(1), transfer_id(2)]


def test_a_balancing_hold_takes_what_there_is() -> None:
    book = book_of(balance(ALICE, credits_posted=70, debits_pending=30), balance(BOB))
    result = book.create_transfers([pending(1, flags=PENDING | BALANCING_DEBIT)])[0]
    assert (result.code, result.amount) == (CREATED, 40)
    assert book.available(ALICE) == 0


def test_a_hold_expires_its_timeout_after_it_was_booked() -> None:
    book = book_of()
    codes(book, pending(1, timeout_s=60), pending(2))
    assert [hold.expires_at for hold in book.opened] == [NOW + 60 * SECOND, None]
    assert [expiry_of(booked) for booked in book.booked] == [NOW + 60 * SECOND, None]


@pytest.mark.parametrize(("later", "released"), [(60 * SECOND - 1, 0), (60 * SECOND, 1)])
def test_a_hold_is_released_when_its_time_is_over_and_not_before(later: int, released: int) -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1, timeout_s=60)])
    before = store.balances[ALICE].last_timestamp, store.balances[ALICE].transfer_count
    book = store.open(now=NOW + later)
    assert book.expire_holds() == released
    assert len(book.resolved) == released
    assert counters(book, ALICE) == ((0, 0, 0, 0) if released else (100, 0, 0, 0))
    after = book.balances[ALICE].last_timestamp, book.balances[ALICE].transfer_count
    assert after == before
    assert book.expire_holds() == 0


@pytest.mark.parametrize("resolving", [post(2, of=1), void(2, of=1)])
@pytest.mark.parametrize("swept", [False, True])
def test_an_expired_hold_can_be_resolved_no_more(resolving: Transfer, *, swept: bool) -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1, timeout_s=60)])
    book = store.open(now=NOW + 60 * SECOND)
    if swept:
        book.expire_holds()
    assert codes(book, resolving) == [TransferCode.PENDING_TRANSFER_EXPIRED]
    assert not book.booked
    assert not book.burnt


def test_expiry_goes_by_the_clock_and_not_by_the_bumped_timestamp() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1, timeout_s=60)])
    store.balances[ALICE].last_timestamp = NOW + 90 * SECOND
    book = store.open(now=NOW + 59 * SECOND)
    assert book.expire_holds() == 0
    assert codes(book, post(2, of=1)) == [CREATED]
    assert book.booked[0].timestamp == NOW + 90 * SECOND + 1


def test_holds_are_released_in_the_order_of_expiry_and_then_of_booking() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1, timeout_s=9)])
    settle(store, [pending(2, timeout_s=8), pending(3, timeout_s=5)], now=NOW + SECOND)
    store.holds = dict(reversed(store.holds.items()))
    store.holds[transfer_id(2)].expires_at = store.holds[transfer_id(1)].expires_at
    book = store.open(now=NOW + 100 * SECOND)
    assert book.expire_holds() == 3
    assert [hold.transfer.id for hold in book.resolved] == list(map(transfer_id, (3, 1, 2)))


def test_released_money_can_be_spent_in_the_same_batch() -> None:
    alice = balance(ALICE, credits_posted=100, flags=ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS)
    store = Store([alice, balance(BOB)])
    assert settle(store, [pending(1, timeout_s=60)]) == [CREATED]
    assert settle(store, [transfer(2)]) == [TransferCode.EXCEEDS_CREDITS]
    book = store.open(now=NOW + 60 * SECOND)
    book.expire_holds()
    assert codes(book, transfer(3)) == [CREATED]


def test_a_closing_hold_closes_its_account_until_it_is_voided() -> None:
    book = book_of()
    closing = pending(1, amount=0, flags=PENDING | CLOSING_DEBIT)
    assert codes(book, pending(5, debit_account_id=CAROL), closing) == [CREATED, CREATED]
    assert book.balances[ALICE].closed
    assert codes(book, transfer(2), transfer(3, debit_account_id=BOB, credit_account_id=ALICE)) == [
        TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED,
        TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED,
    ]
    assert codes(book, post(4, of=1)) == [TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED]
    assert codes(book, void(6, of=1), transfer(7)) == [CREATED, CREATED]
    assert not book.balances[ALICE].closed


def test_both_accounts_can_be_closed_by_one_hold() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1, timeout_s=5, flags=PENDING | CLOSING_DEBIT | CLOSING_CREDIT)])
    assert store.balances[ALICE].closed
    assert store.balances[BOB].closed
    book = store.open(now=NOW + 5 * SECOND)
    book.expire_holds()
    store.write(book)
    assert not store.balances[ALICE].closed
    assert not store.balances[BOB].closed


def test_an_open_hold_of_a_closed_account_can_be_voided_but_not_posted() -> None:
    book = book_of()
    codes(book, pending(1), pending(2, amount=0, flags=PENDING | CLOSING_CREDIT))
    assert codes(book, post(3, of=1), void(4, of=1)) == [
        TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED,
        CREATED,
    ]
    assert book.balances[BOB].closed


def test_an_account_is_emptied_and_closed_in_one_chain() -> None:
    book = book_of(balance(ALICE, credits_posted=70), balance(BOB))
    emptying = transfer(1, amount=AMOUNT_MAX, flags=LINKED | BALANCING_DEBIT)
    closing = pending(2, amount=0, flags=PENDING | CLOSING_DEBIT)
    results = book.create_transfers([emptying, closing])
    assert [(result.code, result.amount) for result in results] == [(CREATED, 70), (CREATED, 0)]
    assert counters(book, ALICE) == (0, 70, 0, 70)
    assert book.balances[ALICE].closed


def test_a_hold_without_its_balance_is_a_fault_of_the_caller() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1, timeout_s=5)])
    del store.balances[BOB]
    book = store.open(now=NOW + 5 * SECOND)
    with pytest.raises(LookupError, match="without the balance of account"):
        book.expire_holds()


def test_a_pending_transfer_without_its_hold_is_a_fault_of_the_caller() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1)])
    store.holds.clear()
    with pytest.raises(LookupError, match="without its hold"):
        codes(store.open(now=NOW), post(2, of=1))


def test_a_void_of_nothing_is_told_so() -> None:
    book = book_of()
    assert codes(book, void(2, of=1), post(3, of=2, pending_id=NIL)) == [
        TransferCode.PENDING_TRANSFER_NOT_FOUND,
        TransferCode.PENDING_ID_MUST_NOT_BE_ZERO,
    ]
    assert book.burnt == {transfer_id(2): TransferCode.PENDING_TRANSFER_NOT_FOUND}
