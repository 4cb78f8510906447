"""The same id again: an answer from the first time, or what is different."""

from typing import Any

import pytest
from msgspec.structs import replace

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
    transfer,
    transfer_id,
    void,
)
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    AMOUNT_MAX,
    BALANCING_DEBIT,
    NIL,
    PENDING,
    TRANSIENT,
    Transfer,
    TransferCode,
    TransferResult,
)

CREATED = TransferCode.CREATED
EXISTS = TransferCode.EXISTS


def different(field: str) -> TransferCode:
    """Return the code for a repeat that differs in the field."""
    return TransferCode(f"exists_with_different_{field}")


@pytest.mark.parametrize("later", [0, 3600 * SECOND])
def test_a_repeat_is_answered_with_the_first_timestamp_and_amount(later: int) -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [transfer(1)])
    first = store.transfers[transfer_id(1)]
    book = store.open(now=NOW + later)
    assert book.create_transfers([transfer(1)]) == [TransferResult(EXISTS, first.timestamp, 100)]
    assert not book.booked
    assert not book.touched


def test_a_repeat_within_the_batch_is_answered_in_the_same_way() -> None:
    book = book_of()
    first, second = book.create_transfers([transfer(1), transfer(1)])
    assert first.code is CREATED
    assert second == TransferResult(EXISTS, first.timestamp, 100)
    assert book.create_transfers([transfer(1, amount=5)]) == [
        TransferResult(different("amount"), 0, 0)
    ]


def test_a_repeat_is_recognised_before_any_other_check() -> None:
    alice = balance(ALICE, credits_posted=100, flags=ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS)
    store = Store([alice, balance(BOB)])
    assert settle(store, [transfer(1)]) == [CREATED]
    store.balances[BOB].closed = True
    assert settle(store, [transfer(1), transfer(2)]) == [
        EXISTS,
        TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED,
    ]


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("flags", {"flags": PENDING | BALANCING_DEBIT}),
        ("timeout", {"timeout_s": 6}),
        ("debit_account_id", {"debit_account_id": CAROL}),
        ("credit_account_id", {"credit_account_id": CAROL}),
        ("amount", {"amount": 99}),
        ("user_data_128", {"user_data_128": CAROL}),
        ("user_data_64", {"user_data_64": 9}),
        ("user_data_32", {"user_data_32": 9}),
        ("ledger", {"ledger": 9}),
        ("code", {"code": 9}),
        ("pending_id", {"pending_id": transfer_id(9)}),
    ],
)
def test_a_repeat_with_another_field_is_told_which(field: str, changed: dict[str, Any]) -> None:
    book = book_of()
    assert codes(book, pending(1, timeout_s=5)) == [CREATED]
    assert codes(book, pending(1, **{"timeout_s": 5, **changed})) == [different(field)]


@pytest.mark.parametrize(
    ("asked", "code"), [(70, EXISTS), (71, EXISTS), (AMOUNT_MAX, EXISTS), (69, different("amount"))]
)
def test_a_balancing_repeat_may_ask_for_more_than_was_moved(asked: int, code: TransferCode) -> None:
    book = book_of(balance(ALICE, credits_posted=70), balance(BOB))
    balancing = transfer(1, flags=BALANCING_DEBIT)
    assert codes(book, balancing) == [CREATED]
    result = book.create_transfers([replace(balancing, amount=asked)])[0]
    assert (result.code, result.amount) == (code, 70 if code is EXISTS else 0)


INHERITED: dict[str, Any] = {
    "debit_account_id": ALICE,
    "credit_account_id": BOB,
    "ledger": 1,
    "code": 1,
    "user_data_128": CAROL,
    "user_data_64": 64,
    "user_data_32": 32,
}


@pytest.mark.parametrize("resolve", [post, void])
def test_a_repeated_post_or_void_may_name_what_it_inherited_or_leave_it_out(
    resolve: Any,  # noqa: ANN401 - one of the two builders
) -> None:
    held = pending(1, user_data_128=CAROL, user_data_64=64, user_data_32=32)
    for first, again in (({}, INHERITED), (INHERITED, {})):
        book = book_of()
        assert codes(book, held, resolve(2, of=1, **first)) == [CREATED, CREATED]
        assert codes(book, resolve(2, of=1, **again)) == [EXISTS]


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("debit_account_id", {"debit_account_id": CAROL}),
        ("credit_account_id", {"credit_account_id": CAROL}),
        ("user_data_128", {"user_data_128": NOBODY}),
        ("user_data_64", {"user_data_64": 9}),
        ("user_data_32", {"user_data_32": 9}),
        ("ledger", {"ledger": 9}),
        ("code", {"code": 9}),
        ("timeout", {"timeout_s": 9}),
        ("pending_id", {"pending_id": transfer_id(9)}),
        ("pending_id", {"pending_id": NIL}),
    ],
)
@pytest.mark.parametrize("resolve", [post, void])
def test_a_repeated_post_or_void_with_another_field_is_told_which(
    resolve: Any,  # noqa: ANN401 - one of the two builders
    field: str,
    changed: dict[str, Any],
) -> None:
    book = book_of()
    assert codes(book, pending(1), resolve(2, of=1)) == [CREATED, CREATED]
    assert codes(book, resolve(2, of=1, **changed)) == [different(field)]


def test_what_a_post_did_not_inherit_must_be_named_again() -> None:
    book = book_of()
    codes(book, pending(1, user_data_64=1), post(2, of=1, user_data_64=2))
    assert codes(book, post(2, of=1, user_data_64=2), post(2, of=1)) == [
        EXISTS,
        different("user_data_64"),
    ]


@pytest.mark.parametrize(
    ("booked", "again", "code"),
    [
        (post(2, of=1), post(2, of=1, amount=100), EXISTS),
        (post(2, of=1, amount=100), post(2, of=1), EXISTS),
        (post(2, of=1, amount=30), post(2, of=1, amount=30), EXISTS),
        (post(2, of=1, amount=30), post(2, of=1), different("amount")),
        (post(2, of=1), post(2, of=1, amount=101), different("amount")),
        (post(2, of=1, amount=0), post(2, of=1, amount=0), EXISTS),
        (void(2, of=1), void(2, of=1, amount=100), EXISTS),
        (void(2, of=1, amount=100), void(2, of=1), EXISTS),
        (void(2, of=1), void(2, of=1, amount=99), different("amount")),
        (post(2, of=1), void(2, of=1), different("flags")),
    ],
)
def test_all_means_all_in_a_repeat_too(
    booked: Transfer, again: Transfer, code: TransferCode
) -> None:
    store = Store([balance(ALICE), balance(BOB)])
    assert settle(store, [pending(1)]) == [CREATED]
    assert settle(store, [booked]) == [CREATED]
    assert settle(store, [again]) == [code]


def test_a_repeat_of_a_post_needs_its_pending_transfer() -> None:
    store = Store([balance(ALICE), balance(BOB)])
    settle(store, [pending(1), post(2, of=1)])
    del store.transfers[transfer_id(1)], store.holds[transfer_id(1)]
    with pytest.raises(LookupError, match="was not given"):
        codes(store.open(now=NOW), post(2, of=1))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (transfer(1, debit_account_id=NOBODY), TransferCode.DEBIT_ACCOUNT_NOT_FOUND),
        (transfer(1, credit_account_id=NOBODY), TransferCode.CREDIT_ACCOUNT_NOT_FOUND),
        (post(1, of=9), TransferCode.PENDING_TRANSFER_NOT_FOUND),
        (transfer(1, debit_account_id=CAROL), TransferCode.DEBIT_ACCOUNT_ALREADY_CLOSED),
        (transfer(1, credit_account_id=CAROL), TransferCode.CREDIT_ACCOUNT_ALREADY_CLOSED),
        (transfer(1, amount=101), TransferCode.EXCEEDS_CREDITS),
        (
            transfer(1, debit_account_id=BOB, credit_account_id=ALICE),
            TransferCode.EXCEEDS_MAX_BALANCE,
        ),
    ],
    ids=str,
)
def test_a_failure_of_the_moment_uses_the_id_up_for_ever(
    request_: Transfer, code: TransferCode
) -> None:
    assert code in TRANSIENT
    alice = balance(ALICE, credits_posted=100, min_available=0, max_balance=100)
    store = Store([alice, balance(BOB), balance(CAROL, closed=True)])
    assert settle(store, [request_]) == [code]
    assert store.burnt == {transfer_id(1)}
    assert settle(store, [transfer(1, amount=1)]) == [TransferCode.ID_ALREADY_FAILED]


def test_any_other_failure_leaves_the_id_free() -> None:
    store = Store([balance(ALICE, debits_posted=AMOUNT_MAX), balance(BOB), balance(CAROL)])
    assert settle(store, [transfer(1, code=0), transfer(1), transfer(1, ledger=2)]) == [
        TransferCode.CODE_MUST_NOT_BE_ZERO,
        TransferCode.OVERFLOWS_DEBITS_POSTED,
        TransferCode.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS,
    ]
    assert not store.burnt
    assert settle(store, [transfer(1, debit_account_id=CAROL)]) == [CREATED]
