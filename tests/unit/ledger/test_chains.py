"""Linked transfers: all or nothing."""

from tests.unit.ledger.building import (
    ALICE,
    BOB,
    CAROL,
    NOBODY,
    Store,
    balance,
    book_of,
    codes,
    counters,
    pending,
    post,
    settle,
    snapshot,
    transfer,
    transfer_id,
    void,
)
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    CLOSING_DEBIT,
    LINKED,
    PENDING,
    VOID_PENDING,
    HoldState,
    TransferCode,
)

CREATED = TransferCode.CREATED
FAILED = TransferCode.LINKED_EVENT_FAILED
OPEN = TransferCode.LINKED_EVENT_CHAIN_OPEN


def test_a_chain_succeeds_as_a_whole() -> None:
    book = book_of()
    assert codes(book, transfer(1, flags=LINKED), transfer(2, flags=LINKED), transfer(3)) == [
        CREATED,
        CREATED,
        CREATED,
    ]
    assert counters(book, ALICE) == (0, 300, 0, 0)


def test_the_first_failure_of_a_chain_keeps_its_code_and_the_others_fail_with_it() -> None:
    book = book_of()
    before = snapshot(book)
    results = book.create_transfers(
        [
            transfer(1, flags=LINKED),
            transfer(2, code=0, flags=LINKED),
            transfer(3, ledger=0, flags=LINKED),
            transfer(4),
        ]
    )
    assert [result.code for result in results] == [
        FAILED,
        TransferCode.CODE_MUST_NOT_BE_ZERO,
        FAILED,
        FAILED,
    ]
    assert {(result.timestamp, result.amount) for result in results} == {(0, 0)}
    assert snapshot(book) == before


def test_neighbours_of_a_failed_chain_are_not_concerned() -> None:
    book = book_of()
    assert codes(
        book,
        transfer(1),
        transfer(2, flags=LINKED),
        transfer(3, code=0),
        transfer(4, flags=LINKED),
        transfer(5),
        transfer(6),
    ) == [CREATED, FAILED, TransferCode.CODE_MUST_NOT_BE_ZERO, CREATED, CREATED, CREATED]
    assert [booked.id for booked in book.booked] == list(map(transfer_id, (1, 4, 5, 6)))
    stamps = [booked.timestamp for booked in book.booked]
    assert stamps == list(range(stamps[0], stamps[0] + 4))


def test_a_chain_that_the_request_leaves_open_fails() -> None:
    book = book_of()
    assert codes(book, transfer(1), transfer(2, flags=LINKED), transfer(3, flags=LINKED)) == [
        CREATED,
        FAILED,
        OPEN,
    ]
    assert [booked.id for booked in book.booked] == [transfer_id(1)]


def test_an_open_end_is_told_even_when_the_chain_was_broken_before() -> None:
    assert codes(
        book_of(),
        transfer(1, flags=LINKED),
        transfer(2, code=0, flags=LINKED),
        transfer(3, flags=LINKED),
    ) == [FAILED, TransferCode.CODE_MUST_NOT_BE_ZERO, OPEN]


def test_each_event_of_a_chain_sees_the_effects_of_those_before() -> None:
    guarded = {"flags": ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS}
    book = book_of(
        balance(ALICE, **guarded, credits_posted=100), balance(BOB, **guarded), balance(CAROL)
    )
    on = transfer(2, debit_account_id=BOB, credit_account_id=CAROL)
    assert codes(book, transfer(1, flags=LINKED), on) == [CREATED, CREATED]
    assert counters(book, CAROL) == (0, 0, 0, 100)


def test_a_transient_failure_burns_only_its_own_id_and_outlives_the_chain() -> None:
    book = book_of()
    chain = [
        transfer(1, flags=LINKED),
        transfer(2, credit_account_id=NOBODY, flags=LINKED),
        transfer(3),
    ]
    missing = TransferCode.CREDIT_ACCOUNT_NOT_FOUND
    assert codes(book, *chain) == [FAILED, missing, FAILED]
    assert book.burnt == {transfer_id(2): missing}
    assert codes(book, *chain) == [FAILED, TransferCode.ID_ALREADY_FAILED, FAILED]
    assert codes(book, transfer(1), transfer(2), transfer(3)) == [
        CREATED,
        TransferCode.ID_ALREADY_FAILED,
        CREATED,
    ]


def test_an_id_burnt_in_a_request_stays_burnt_for_the_rest_of_it() -> None:
    missing = transfer(1, credit_account_id=NOBODY)
    assert codes(book_of(), missing, transfer(1)) == [
        TransferCode.CREDIT_ACCOUNT_NOT_FOUND,
        TransferCode.ID_ALREADY_FAILED,
    ]


def test_a_chain_that_is_sent_again_exists_once_and_fails_otherwise() -> None:
    book = book_of()
    chain = [transfer(1, flags=LINKED), transfer(2, flags=LINKED), transfer(3)]
    assert codes(book, *chain) == [CREATED] * 3
    assert codes(book, *chain) == [TransferCode.EXISTS, FAILED, FAILED]
    assert len(book.booked) == 3


def test_an_id_is_free_again_when_its_chain_was_undone() -> None:
    book = book_of()
    assert codes(book, transfer(1, flags=LINKED), transfer(1, code=0)) == [
        FAILED,
        TransferCode.EXISTS_WITH_DIFFERENT_FLAGS,
    ]
    assert codes(book, transfer(1)) == [CREATED]


def test_an_undone_chain_gives_back_holds_it_opened_and_resolved() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1)])
    book = store.open(now=0)
    before = snapshot(book)
    assert codes(
        book,
        void(2, of=1, flags=VOID_PENDING | LINKED),
        pending(3, flags=PENDING | CLOSING_DEBIT | LINKED),
        void(4, of=3, flags=VOID_PENDING | LINKED),
        transfer(5, code=0),
    ) == [FAILED, FAILED, FAILED, TransferCode.CODE_MUST_NOT_BE_ZERO]
    assert snapshot(book) == before
    assert book.holds[transfer_id(1)].state is HoldState.PENDING
    assert codes(book, post(6, of=1)) == [CREATED]


def test_an_undone_closing_reopens_the_account() -> None:
    book = book_of()
    closing = pending(1, flags=PENDING | CLOSING_DEBIT | LINKED)
    assert codes(book, closing, transfer(2)) == [FAILED, TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED]
    assert not book.balances[ALICE].closed
    assert codes(book, transfer(3)) == [CREATED]


def test_a_request_of_nothing_has_no_results() -> None:
    assert book_of().create_transfers([]) == []
    assert book_of().create_accounts([]) == []
