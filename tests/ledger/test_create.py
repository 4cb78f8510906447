"""The ledger's door: lists in, one result each, in order, whatever else is in the batch."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.factories.ledger import (
    NOBODY,
    account,
    codes,
    count,
    counters,
    fund,
    open_accounts,
    transfer,
)
from tests.factories.moments import NOW_US
from wallet.core.clock import TestClock
from wallet.core.database import Connection
from wallet.core.ids import new_id
from wallet.ledger.create import (
    CREATE,
    EVENTS_MAX,
    CreateAnswer,
    CreateRequest,
    create_accounts,
    create_transfers,
)
from wallet.ledger.rules import (
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    ACCOUNT_HISTORY,
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    LINKED,
    AccountCode,
    AccountResult,
    Transfer,
    TransferResult,
)
from wallet.ledger.teller import Teller

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS


async def test_every_account_gets_its_own_result_in_order(teller: Teller) -> None:
    good, other = account(), account()
    asked = [good, replace(good, ledger=0), good, account(code=0), other]
    results = await create_accounts(teller, asked)
    assert [str(result.code) for result in results] == [
        "created",
        "exists_with_different_ledger",
        "exists",
        "code_must_not_be_zero",
        "created",
    ]
    assert results[2].timestamp == results[0].timestamp > 0
    assert [result.timestamp for result in (results[1], results[3])] == [0, 0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flags", ACCOUNT_HISTORY),
        ("user_data_128", UUID(int=1)),
        ("user_data_64", 1),
        ("user_data_32", 1),
        ("ledger", 2),
        ("code", 2),
        ("min_available", -5),
        ("max_balance", 10),
    ],
)
async def test_an_account_asked_for_again_says_what_differs(
    teller: Teller, field: str, value: object
) -> None:
    first = account()
    ((created), *_) = await create_accounts(teller, [first])
    changed: dict[str, Any] = {field: value}
    again = await create_accounts(teller, [first, replace(first, **changed)])
    assert again == [
        AccountResult(AccountCode.EXISTS, created.timestamp),
        AccountResult(AccountCode(f"exists_with_different_{field}"), 0),
    ]


async def test_an_account_keeps_everything_it_was_given(
    teller: Teller, connection: Connection
) -> None:
    given = account(
        ledger=392,
        code=20,
        flags=ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS | ACCOUNT_HISTORY,
        user_data_128=uuid4(),
        user_data_64=2**63 - 1,
        user_data_32=2**31 - 1,
        min_available=-7,
        max_balance=9,
    )
    (result,) = await create_accounts(teller, [given])
    row = await connection.fetchrow("SELECT * FROM account WHERE id = $1", given.id)
    assert row is not None
    kept = {field: getattr(given, field) for field in row.keys()}  # noqa: SIM118 - it is no dict
    assert dict(row) == {**kept, "timestamp": result.timestamp}
    row = await connection.fetchrow("SELECT * FROM balance WHERE account_id = $1", given.id)
    assert row is not None
    assert (row["min_available"], row["max_balance"], row["flags"]) == (-7, 9, 12)
    assert (row["last_timestamp"], row["transfer_count"]) == (result.timestamp, 0)


async def test_an_account_and_what_moves_on_it_may_come_in_one_request(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = account(), account(flags=GUARDED)
    there, back = transfer(payer.id, payee.id, 70), transfer(payee.id, payer.id, 30)
    request = CreateRequest(accounts=(payer, payee), transfers=(there, back))
    answer: CreateAnswer = await teller.submit(CREATE, request)
    assert [str(result.code) for result in answer.accounts] == ["created", "created"]
    assert [str(result.code) for result in answer.transfers] == ["created", "created"]
    assert await counters(connection, payer.id) == (0, 70, 0, 30)
    assert await counters(connection, payee.id) == (0, 30, 0, 70)


async def test_every_transfer_gets_its_own_result_in_order(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, payer, 100)
    fits, exceeds, fits_too = (transfer(payer, payee, amount) for amount in (60, 60, 40))
    results = await create_transfers(
        teller, [fits, exceeds, fits, transfer(payer, NOBODY), fits_too]
    )
    assert [str(result.code) for result in results] == [
        "created",
        "exceeds_credits",
        "exists",
        "credit_account_not_found",
        "created",
    ]
    assert results[2] == TransferResult(results[2].code, results[0].timestamp, 60)
    assert await counters(connection, payer) == (0, 100, 0, 100)
    assert await count(connection, [fits.id, exceeds.id, fits_too.id]) == 2


async def test_a_transfer_is_stored_as_it_was_asked_for(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    data = {"user_data_128": uuid4(), "user_data_64": 2**63 - 1, "user_data_32": 2**31 - 1}
    asked = transfer(payer, payee, 2**62, code=2**15 - 1, **data)
    (result,) = await create_transfers(teller, [asked])
    row = await connection.fetchrow("SELECT * FROM transfer WHERE id = $1", asked.id)
    assert row is not None
    assert row["pending_id"] is None
    assert Transfer(**{**row, "pending_id": asked.pending_id}) == replace(
        asked, timestamp=result.timestamp
    )


async def test_a_request_for_nothing_is_answered_with_nothing(teller: Teller) -> None:
    assert await create_accounts(teller, []) == []
    assert await create_transfers(teller, []) == []


async def test_a_request_as_large_as_allowed_is_one_batch(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    asked = [transfer(payer, payee, 1) for _ in range(EVENTS_MAX)]
    results = await create_transfers(teller, asked)
    assert [str(result.code) for result in results] == ["created"] * EVENTS_MAX
    assert await counters(connection, payer) == (0, EVENTS_MAX, 0, 0)
    assert await batches_of(connection, asked) == 1


async def test_a_request_larger_than_allowed_is_not_looked_at(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    with pytest.raises(ValueError, match="8190 events in one request; at most 8189"):
        await create_transfers(teller, [transfer(payer, payee)] * (EVENTS_MAX + 1))
    with pytest.raises(ValueError, match="at most 8189"):
        await create_accounts(teller, [account()] * (EVENTS_MAX + 1))
    assert await counters(connection, payer) == (0, 0, 0, 0)


async def batches_of(connection: Connection, transfers: list[Transfer]) -> int:
    """Return how many transactions have written the transfers."""
    found: int = await connection.fetchval(
        "SELECT count(DISTINCT xmin::text) FROM transfer WHERE id = ANY($1::uuid[])",
        [one.id for one in transfers],
    )
    return found


async def test_callers_of_one_batch_each_get_their_own_answers(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, payer, 25)
    asked = [transfer(payer, payee, 10) for _ in range(4)]
    answers = await asyncio.gather(*(codes(teller, one) for one in asked))
    assert answers == [["created"], ["created"], ["exceeds_credits"], ["exceeds_credits"]]
    assert await batches_of(connection, asked) == 1


async def test_a_transfer_asked_for_by_two_callers_of_one_batch_happens_once(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    asked = transfer(payer, payee)
    twins = [codes(teller, one) for one in (asked, asked, replace(asked, amount=99))]
    assert await asyncio.gather(*twins) == [
        ["created"],
        ["exists"],
        ["exists_with_different_amount"],
    ]
    assert await counters(connection, payee) == (0, 0, 0, 100)


@pytest.mark.parametrize("amount", [40, 2**63 - 1])
async def test_a_balancing_transfer_moves_what_is_there_by_now(
    teller: Teller, connection: Connection, amount: int
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    await fund(teller, payer, 30)
    asked = transfer(payer, payee, amount, flags=BALANCING_DEBIT)
    (result,) = await create_transfers(teller, [asked])
    assert (str(result.code), result.amount) == ("created", 30)
    again = await create_transfers(teller, [asked, replace(asked, amount=29)])
    assert [(str(one.code), one.amount) for one in again] == [
        ("exists", 30),
        ("exists_with_different_amount", 0),
    ]
    assert await counters(connection, payer) == (0, 30, 0, 30)


async def test_a_balancing_transfer_reads_accounts_that_others_only_add_to(
    teller: Teller, connection: Connection
) -> None:
    """An account without limits is not even read, unless somebody needs its balance."""
    payer, payee = await open_accounts(teller, account(), account())
    assert await codes(teller, transfer(payee, payer, 50)) == ["created"]
    adding = codes(teller, transfer(payee, payer, 5))
    balancing = create_transfers(teller, [transfer(payer, payee, 99, flags=BALANCING_DEBIT)])
    creditors = create_transfers(teller, [transfer(payer, payee, 99, flags=BALANCING_CREDIT)])
    added, (balanced,), (owed,) = await asyncio.gather(adding, balancing, creditors)
    assert (added, balanced.amount, owed.amount) == (["created"], 55, 0)
    assert await counters(connection, payer) == (0, 55, 0, 55)


async def test_a_chain_is_booked_as_a_whole_or_not_at_all(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, payer, 100)
    broken = [
        transfer(payer, payee, 60, flags=LINKED),
        transfer(payer, payee, 60, flags=LINKED),
        transfer(payer, payee, 1),
    ]
    whole = [transfer(payer, payee, 30, flags=LINKED), transfer(payer, payee, 30)]
    assert await codes(teller, *broken, *whole) == [
        "linked_event_failed",
        "exceeds_credits",
        "linked_event_failed",
        "created",
        "created",
    ]
    assert await counters(connection, payer) == (0, 60, 0, 100)
    assert await count(connection, [one.id for one in (*broken, *whole)]) == 2
    retried = [replace(one, flags=0) for one in broken]
    assert await codes(teller, *retried) == ["exceeds_credits", "id_already_failed", "created"]


async def test_a_chain_does_not_reach_into_the_next_request_of_its_batch(
    teller: Teller, connection: Connection
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    open_ended, fails, after = (
        transfer(payer, payee, flags=LINKED),
        transfer(payer, NOBODY),
        transfer(payer, payee),
    )
    answers = await asyncio.gather(*(codes(teller, one) for one in (open_ended, fails, after)))
    assert answers == [["linked_event_chain_open"], ["credit_account_not_found"], ["created"]]
    assert await counters(connection, payer) == (0, 100, 0, 0)


async def test_accounts_form_chains_too(teller: Teller) -> None:
    first, second = account(flags=LINKED), account(ledger=0)
    results = await create_accounts(teller, [first, second, account()])
    assert [str(result.code) for result in results] == [
        "linked_event_failed",
        "ledger_must_not_be_zero",
        "created",
    ]
    assert str((await create_accounts(teller, [replace(first, flags=0)]))[0].code) == "created"


@pytest.mark.parametrize(
    "odd_id",
    [
        uuid4(),
        new_id(now_us=NOW_US + 40 * 365 * 86_400 * 1_000_000),
        UUID(int=7),
        UUID(int=2**128 - 2),
    ],
    ids=["random", "of a month far away", "small", "large"],
)
async def test_an_id_of_no_month_is_as_good_as_any(
    teller: Teller, connection: Connection, odd_id: UUID
) -> None:
    """The last partition keeps what fits no month."""
    payer, payee = await open_accounts(teller, account(), account())
    odd, neighbour = transfer(payer, payee, id=odd_id), transfer(payer, payee)
    both = await asyncio.gather(codes(teller, odd), codes(teller, neighbour))
    assert [*both] == [["created"], ["created"]]
    assert await codes(teller, odd, replace(odd, amount=1)) == [
        "exists",
        "exists_with_different_amount",
    ]
    partitions = await connection.fetch(
        "SELECT tableoid::regclass::text FROM transfer WHERE id = ANY($1::uuid[]) ORDER BY 1",
        [odd.id, neighbour.id],
    )
    assert [row[0] for row in partitions] == ["transfer_other", "transfer_y2026m11"]


async def test_timestamps_rise_within_an_account_while_the_clock_stands(
    teller: Teller, connection: Connection, clock: TestClock
) -> None:
    payer, payee = await open_accounts(teller, account(), account(min_available=-1))
    asked = [transfer(payer, payee, 1) for _ in range(3)]
    stamps = []
    for one in asked:
        (result,) = await create_transfers(teller, [one])
        stamps.append(result.timestamp)
        clock.now_us -= 1
    assert stamps == sorted(set(stamps))
    assert stamps[0] >= clock.now_us
    rows = await connection.fetch(
        "SELECT last_timestamp, transfer_count FROM balance WHERE account_id = ANY($1::uuid[])",
        [payer, payee],
    )
    assert [tuple(row) for row in rows] == [(stamps[-1], 3)] * 2
