"""What a book remembers: timestamps, the lists for storage, and the way back."""

import pytest
from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811 - it is a class

from tests.unit.ledger.building import (
    ALICE,
    BOB,
    CAROL,
    NOBODY,
    NOW,
    SECOND,
    Store,
    balance,
    book_of,
    codes,
    pending,
    post,
    settle,
    snapshot,
    transfer,
    transfer_id,
    void,
)
from wallet.ledger.book import Book
from wallet.ledger.rules import LINKED, Account, HoldState, Transfer, TransferCode, TransferResult

CREATED = TransferCode.CREATED


@pytest.mark.parametrize(
    ("last", "first"), [(0, NOW), (NOW - 1, NOW), (NOW, NOW + 1), (NOW + 70, NOW + 71)]
)
def test_timestamps_rise_strictly_and_above_whatever_was_booked(last: int, first: int) -> None:
    book = book_of(balance(ALICE), balance(BOB), balance(CAROL, last_timestamp=last))
    results = book.create_transfers([transfer(1), transfer(2, code=0), transfer(3)])
    assert [result.timestamp for result in results] == [first, 0, first + 1]
    assert [booked.timestamp for booked in book.booked] == [first, first + 1]
    assert book.balances[ALICE].last_timestamp == first + 1
    assert book.balances[CAROL].last_timestamp == last


def test_a_booked_transfer_is_counted_on_both_of_its_accounts() -> None:
    book = book_of()
    codes(book, transfer(1), pending(2), post(3, of=2), transfer(4, code=0))
    assert [book.balances[id_].transfer_count for id_ in (ALICE, BOB, CAROL)] == [3, 3, 0]
    assert set(book.touched) == {ALICE, BOB}
    assert book.touched[ALICE] is book.balances[ALICE]


def test_the_booked_transfer_is_the_request_with_a_timestamp() -> None:
    book = book_of()
    request = transfer(1, user_data_128=CAROL, user_data_64=64, user_data_32=32)
    result = book.create_transfers([request])[0]
    assert result == TransferResult(CREATED, NOW, 100)
    assert book.booked == [
        Transfer(
            request.id,
            ALICE,
            BOB,
            100,
            1,
            1,
            user_data_128=CAROL,
            user_data_64=64,
            user_data_32=32,
            timestamp=NOW,
        )
    ]


def test_only_holds_from_before_the_batch_are_listed_as_resolved() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1), pending(2), pending(3, timeout_s=1)])
    book = store.open(now=NOW + SECOND * 2)
    book.expire_holds()
    codes(book, pending(4), post(5, of=4), pending(6), post(7, of=1), void(8, of=2))
    states = [(hold.transfer.id, hold.state) for hold in book.resolved]
    assert states == [
        (transfer_id(3), HoldState.EXPIRED),
        (transfer_id(1), HoldState.POSTED),
        (transfer_id(2), HoldState.VOIDED),
    ]
    assert [(hold.transfer.id, hold.state) for hold in book.opened] == [
        (transfer_id(4), HoldState.POSTED),
        (transfer_id(6), HoldState.PENDING),
    ]


def test_a_rollback_restores_everything_since_the_checkpoint() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1), pending(2, timeout_s=1)])
    book = store.open(now=NOW + SECOND * 2)
    codes(book, transfer(3), transfer(4, credit_account_id=NOBODY))
    mark, before = book.checkpoint(), snapshot(book)
    for _ in range(2):
        book.create_accounts([Account(CAROL, 1, 1)])
        assert book.expire_holds() == 1
        assert (
            codes(
                book,
                transfer(5, debit_account_id=CAROL),
                post(6, of=1),
                pending(7),
                void(8, of=7),
                transfer(9, debit_account_id=NOBODY),
                transfer(10, flags=LINKED),
                transfer(11, credit_account_id=NOBODY),
            )[:4]
            == [CREATED] * 4
        )
        assert len(book.burnt) == 3
        book.rollback(mark)
        assert snapshot(book) == before
        assert book.checkpoint() == mark


def test_what_was_rolled_back_can_be_asked_for_again() -> None:
    book = book_of()
    mark = book.checkpoint()
    first = book.create_transfers([transfer(1), transfer(2, credit_account_id=NOBODY)])
    book.rollback(mark)
    assert book.create_transfers([transfer(1), transfer(2, credit_account_id=NOBODY)]) == first
    book.rollback(mark)
    assert codes(book, transfer(2)) == [CREATED]


def test_the_mappings_that_were_given_are_left_alone() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    failed = {transfer_id(9)}
    transfers = {transfer_id(8): transfer(8)}
    book = Book(now=NOW, balances=store.balances, transfers=transfers, failed=failed)
    book.create_accounts([Account(CAROL, 1, 1)])
    codes(book, transfer(1), pending(2), transfer(3, debit_account_id=NOBODY))
    assert set(store.balances) == {ALICE, BOB}
    assert failed == {transfer_id(9)}
    assert set(transfers) == {transfer_id(8)}
    assert not Book(now=NOW, balances={}).transfers


def test_the_ids_of_the_database_driver_are_as_good_as_any() -> None:
    book = book_of()
    one, alice, bob = (FastUUID(id_.bytes) for id_ in (transfer_id(1), ALICE, BOB))
    fast = Transfer(one, alice, bob, 100, 1, 1, pending_id=FastUUID(bytes(16)))
    assert codes(book, fast, transfer(1)) == [CREATED, TransferCode.EXISTS]
    assert codes(book, transfer(2, id=FastUUID(bytes(16)))) == [TransferCode.ID_MUST_NOT_BE_ZERO]
