"""Holds over many batches: posted, voided, run out of time; accounts closed and opened again."""

import asyncio
from collections.abc import Callable

import pytest

from tests.factories.ledger import (
    account,
    codes,
    counters,
    fund,
    open_accounts,
    open_connection,
    open_teller,
    pending,
    post,
    transfer,
    void,
)
from tests.factories.moments import NOW_US
from tests.servers import Database
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.core.database import Connection
from wallet.ledger import storage
from wallet.ledger.create import create_transfers
from wallet.ledger.rules import (
    ACCOUNT_CLOSED,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    BALANCING_DEBIT,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    LINKED,
    Transfer,
)
from wallet.ledger.teller import Teller

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS


async def state_of(connection: Connection, hold: Transfer) -> tuple[str, int | None, int | None]:
    """Return a hold's state, when it runs out, and when it was resolved."""
    row = await connection.fetchrow(
        "SELECT state, expires_at, resolved_at FROM pending_transfer WHERE transfer_id = $1",
        hold.id,
    )
    assert row is not None
    return row[0], row[1], row[2]


async def is_closed(connection: Connection, account_id: object) -> bool:
    """Whether the account is closed, as it is stored."""
    closed: bool = await connection.fetchval(
        "SELECT closed FROM balance WHERE account_id = $1", account_id
    )
    return closed


async def test_a_hold_is_posted_in_a_later_batch(
    teller: Teller, connection: Connection, clock: TestClock
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, payer, 100)
    hold = pending(payer, payee, 80, timeout_s=60)
    (held,) = await create_transfers(teller, [hold])
    assert await state_of(connection, hold) == (
        "pending",
        held.timestamp + 60 * MICROSECONDS,
        None,
    )
    assert await counters(connection, payer) == (80, 0, 0, 100)
    assert await codes(teller, transfer(payer, payee, 21)) == ["exceeds_credits"]
    clock.advance(seconds=59)
    assert await codes(teller, post(hold, 50), void(hold)) == [
        "created",
        "pending_transfer_already_posted",
    ]
    assert await counters(connection, payer) == (0, 50, 0, 100)
    assert await counters(connection, payee) == (0, 0, 0, 50)
    assert await state_of(connection, hold) == (
        "posted",
        held.timestamp + 60 * MICROSECONDS,
        clock.now_us,
    )
    assert await codes(teller, post(hold)) == ["pending_transfer_already_posted"]


async def test_a_hold_is_voided_in_a_later_batch(teller: Teller, connection: Connection) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    hold = pending(payer, payee)
    assert await codes(teller, hold) == ["created"]
    assert await codes(teller, void(hold)) == ["created"]
    assert await counters(connection, payer) == (0, 0, 0, 0)
    assert (await state_of(connection, hold))[0] == "voided"
    assert await codes(teller, post(hold)) == ["pending_transfer_already_voided"]


async def test_a_hold_may_be_opened_and_resolved_in_one_batch(
    teller: Teller, connection: Connection, clock: TestClock
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    hold = pending(payer, payee, timeout_s=1)
    answers = await asyncio.gather(*(codes(teller, one) for one in (hold, post(hold), void(hold))))
    assert answers == [["created"], ["created"], ["pending_transfer_already_posted"]]
    state, _, resolved_at = await state_of(connection, hold)
    assert (state, resolved_at) == ("posted", clock.now_us)


@pytest.mark.parametrize("flags", [0, GUARDED], ids=["open", "guarded"])
async def test_a_hold_that_has_run_out_is_released_by_the_next_batch(
    teller: Teller, connection: Connection, clock: TestClock, flags: int
) -> None:
    payer, payee, stranger = await open_accounts(teller, account(flags=flags), account(), account())
    await fund(teller, payer, 100)
    hold = pending(payer, payee, 100, timeout_s=60)
    (held,) = await create_transfers(teller, [hold])
    clock.now_us = held.timestamp + 60 * MICROSECONDS - 1
    assert await codes(teller, transfer(stranger, payee, 1)) == ["created"]
    assert await counters(connection, payer) == (100, 0, 0, 100)
    clock.now_us += 1
    assert await codes(teller, transfer(stranger, payee, 1)) == ["created"]
    assert await counters(connection, payer) == (0, 0, 0, 100)
    assert await counters(connection, payee) == (0, 0, 0, 2)
    assert await state_of(connection, hold) == ("expired", clock.now_us, clock.now_us)
    last, count = await connection.fetchrow(
        "SELECT last_timestamp, transfer_count FROM balance WHERE account_id = $1", payer
    ) or (0, 0)
    assert (last, count) == (held.timestamp, 2)


@pytest.mark.parametrize("resolve", [post, void])
async def test_a_hold_that_has_run_out_cannot_be_resolved_even_by_the_batch_that_releases_it(
    teller: Teller,
    connection: Connection,
    clock: TestClock,
    resolve: Callable[[Transfer], Transfer],
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, payer, 100)
    hold = pending(payer, payee, 100, timeout_s=60)
    assert await codes(teller, hold) == ["created"]
    clock.advance(seconds=61)
    late = resolve(hold)
    assert await codes(teller, late, transfer(payer, payee, 100)) == [
        "pending_transfer_expired",
        "created",
    ]
    assert await codes(teller, late) == ["pending_transfer_expired"]
    assert await counters(connection, payer) == (0, 100, 0, 100)


async def test_a_repeat_of_a_post_in_time_is_answered_after_the_time(
    teller: Teller, clock: TestClock
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    hold = pending(payer, payee, timeout_s=60)
    in_time = post(hold)
    assert await codes(teller, hold, in_time) == ["created", "created"]
    clock.advance(seconds=3_600)
    assert await codes(teller, in_time, hold) == ["exists", "exists"]


async def test_more_holds_than_fit_into_one_batch_are_released_oldest_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "EXPIRED_HOLDS_MAX", 3)
    clock = TestClock(NOW_US)
    url = database.application_url
    async with open_teller(url, clock=clock) as teller, open_connection(url) as connection:
        payer, payee = await open_accounts(teller, account(), account())
        holds = [pending(payer, payee, 1, timeout_s=60 - number) for number in range(5)]
        assert await codes(teller, *holds) == ["created"] * 5
        clock.advance(seconds=61)
        for left in (2, 0, 0):
            assert await codes(teller, transfer(payee, payer, 1)) == ["created"]
            states = [(await state_of(connection, hold))[0] for hold in holds]
            assert states == ["pending"] * left + ["expired"] * (5 - left)
            assert (await counters(connection, payer))[0] == left


@pytest.mark.parametrize("side", [CLOSING_DEBIT, CLOSING_CREDIT])
async def test_an_account_is_emptied_and_closed_and_opened_again_by_voiding(
    teller: Teller, connection: Connection, side: int
) -> None:
    leaving, control = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, leaving, 70)
    pair = (leaving, control) if side == CLOSING_DEBIT else (control, leaving)
    emptying = transfer(leaving, control, 2**63 - 1, flags=BALANCING_DEBIT | LINKED)
    closing = pending(*pair, 0, more=side)
    assert await codes(teller, emptying, closing) == ["created", "created"]
    assert await counters(connection, leaving) == (0, 70, 0, 70)
    assert await is_closed(connection, leaving)
    assert await codes(teller, transfer(leaving, control), transfer(control, leaving)) == [
        "debit_account_already_closed",
        "credit_account_already_closed",
    ]
    assert await codes(teller, post(closing)) == [
        f"{'debit' if side == CLOSING_DEBIT else 'credit'}_account_already_closed"
    ]
    assert await codes(teller, void(closing)) == ["created"]
    assert not await is_closed(connection, leaving)
    assert await codes(teller, transfer(control, leaving)) == ["created"]


async def test_a_hold_of_a_closed_account_can_be_voided_but_not_posted(
    teller: Teller, connection: Connection
) -> None:
    leaving, other = await open_accounts(teller, account(), account())
    kept, given_back = pending(leaving, other, 40), pending(leaving, other, 30)
    assert await codes(teller, kept, given_back) == ["created", "created"]
    assert await codes(teller, pending(leaving, other, 0, more=CLOSING_DEBIT)) == ["created"]
    assert await codes(teller, post(kept), void(given_back)) == [
        "debit_account_already_closed",
        "created",
    ]
    assert await counters(connection, leaving) == (40, 0, 0, 0)
    assert await is_closed(connection, leaving)


async def test_a_closing_hold_that_runs_out_opens_the_account_again(
    teller: Teller, connection: Connection, clock: TestClock
) -> None:
    leaving, other = await open_accounts(teller, account(), account())
    closing = pending(leaving, other, 0, more=CLOSING_DEBIT, timeout_s=60)
    assert await codes(teller, closing) == ["created"]
    clock.advance(seconds=59)
    assert await codes(teller, transfer(leaving, other)) == ["debit_account_already_closed"]
    clock.advance(seconds=2)
    assert await codes(teller, transfer(leaving, other)) == ["created"]
    assert not await is_closed(connection, leaving)


async def test_an_account_may_be_created_closed(teller: Teller) -> None:
    closed, other = await open_accounts(teller, account(flags=ACCOUNT_CLOSED), account())
    assert await codes(teller, transfer(closed, other), transfer(other, closed)) == [
        "debit_account_already_closed",
        "credit_account_already_closed",
    ]
