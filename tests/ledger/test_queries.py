"""Reads of the ledger: lookups, pages of an account's history, balances over time."""

from collections.abc import AsyncIterator
from itertools import accumulate
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.factories.ledger import (
    NOBODY,
    account,
    codes,
    fund,
    open_accounts,
    pending,
    post,
    transfer,
    void,
)
from tests.factories.planting import planted
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import make_engine, read
from wallet.ledger.create import CREATE, CreateRequest
from wallet.ledger.queries import (
    LOOKUP_MAX,
    PAGE_MAX,
    AccountFilter,
    Counters,
    Position,
    get_account_balances,
    get_account_transfers,
    get_balance_at,
    lookup_accounts,
    lookup_transfers,
)
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    ACCOUNT_HISTORY,
    NIL,
    Transfer,
)
from wallet.ledger.teller import Teller


@pytest.fixture
async def reader(module_database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection for reading, as the doors have it."""
    engine = make_engine(module_database.application_url, pool_size=1, application_name="tests")
    async with read(engine) as connection:
        yield connection
    await engine.dispose()


async def booked(teller: Teller, count: int) -> tuple[UUID, UUID, list[Transfer]]:
    """Book transfers to and fro between two new accounts with history; return all of them."""
    left, right = await open_accounts(teller, *[account(flags=ACCOUNT_HISTORY) for _ in range(2)])
    made = [
        transfer(left, right, 10 + n) if n % 2 == 0 else transfer(right, left, 10 + n)
        for n in range(count)
    ]
    assert set(await codes(teller, *made)) == {"created"}
    return left, right, made


async def test_accounts_are_looked_up_in_the_order_asked_for(
    teller: Teller, reader: AsyncConnection
) -> None:
    guarded = account(
        flags=ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS, user_data_128=NOBODY, max_balance=500
    )
    payer, payee = await open_accounts(teller, guarded, account())
    source = await fund(teller, payer, 300)
    assert await codes(teller, pending(payer, payee, 120)) == ["created"]
    found = await lookup_accounts(reader, [payee, NOBODY, payer])
    assert [one.account.id for one in found] == [payee, payer]
    state = found[1]
    assert (state.account.user_data_128, state.account.max_balance) == (NOBODY, 500)
    assert found[0].account.user_data_128 == NIL
    assert (state.balance.debits_pending, state.balance.credits_posted) == (120, 300)
    assert (state.balance.available, state.balance.transfer_count) == (180, 2)
    assert source not in {payer, payee}


async def test_transfers_are_looked_up_as_they_were_booked(
    teller: Teller, reader: AsyncConnection
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    hold = pending(payer, payee, 80, user_data_128=NOBODY, timeout_s=60)
    posting = post(hold, 50)
    assert await codes(teller, hold, posting) == ["created", "created"]
    found = await lookup_transfers(reader, [posting.id, NOBODY, hold.id])
    assert [one.id for one in found] == [posting.id, hold.id]
    assert (found[0].debit_account_id, found[0].amount) == (payer, 50)
    assert (found[0].pending_id, found[0].user_data_128) == (hold.id, NOBODY)
    assert found[1].timestamp < found[0].timestamp


async def test_a_lookup_of_nothing_finds_nothing(reader: AsyncConnection) -> None:
    assert await lookup_accounts(reader, []) == []
    assert await lookup_transfers(reader, []) == []


async def test_a_lookup_without_bounds_is_refused(reader: AsyncConnection) -> None:
    with pytest.raises(ValueError, match=f"{LOOKUP_MAX + 1} ids"):
        await lookup_accounts(reader, [NOBODY] * (LOOKUP_MAX + 1))
    with pytest.raises(ValueError, match=f"at most {LOOKUP_MAX}"):
        await lookup_transfers(reader, [NOBODY] * (LOOKUP_MAX + 1))


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_of_history_join_without_gap_or_repeat(
    teller: Teller,
    reader: AsyncConnection,
    newest_first: bool,  # noqa: FBT001 - a case of the test
) -> None:
    left, _, made = await booked(teller, 7)
    seen: list[UUID] = []
    after = None
    while True:
        page = await get_account_transfers(
            reader,
            AccountFilter(account_id=left, limit=3, newest_first=newest_first, after=after),
        )
        seen += [one.id for one in page]
        if len(page) < 3:
            break
        after = Position(page[-1].timestamp, page[-1].id)
    expected = [one.id for one in made]
    assert seen == (expected[::-1] if newest_first else expected)


async def test_transfers_of_one_timestamp_are_paged_by_id(
    teller: Teller, module_database: Database
) -> None:
    """As two processes may leave them on an account that nothing limits."""
    left, _, made = await booked(teller, 4)
    together = (
        "UPDATE transfer SET timestamp = (SELECT min(timestamp) FROM transfer WHERE"
        " debit_account_id = :left) WHERE :left IN (debit_account_id, credit_account_id)"
    )
    async with planted(module_database.owner_url, together, left=left) as connection:
        seen: list[UUID] = []
        after = None
        for _ in made:
            wanted = AccountFilter(account_id=left, limit=1, after=after)
            (found,) = await get_account_transfers(connection, wanted)
            after = Position(found.timestamp, found.id)
            seen.append(found.id)
        assert seen == sorted(one.id for one in made)
        balances = await get_account_balances(
            connection, AccountFilter(account_id=left, limit=1, after=after)
        )
        assert balances == []


async def test_one_side_and_one_time_can_be_asked_for(
    teller: Teller, reader: AsyncConnection
) -> None:
    left, right, made = await booked(teller, 6)
    debits = await get_account_transfers(
        reader, AccountFilter(account_id=left, limit=10, credits=False)
    )
    assert [one.id for one in debits] == [one.id for one in made[::2]]
    credited = await get_account_transfers(
        reader, AccountFilter(account_id=left, limit=10, debits=False)
    )
    assert [one.id for one in credited] == [one.id for one in made[1::2]]
    everything = await get_account_transfers(reader, AccountFilter(account_id=right, limit=10))
    between = AccountFilter(
        account_id=right,
        limit=10,
        timestamp_min=everything[1].timestamp,
        timestamp_max=everything[3].timestamp,
    )
    assert await get_account_transfers(reader, between) == everything[1:4]


async def test_an_unknown_account_has_no_history(reader: AsyncConnection) -> None:
    wanted = AccountFilter(account_id=NOBODY, limit=10)
    assert await get_account_transfers(reader, wanted) == []
    assert await get_account_balances(reader, wanted) == []


@pytest.mark.parametrize("limit", [0, PAGE_MAX + 1])
def test_a_page_without_bounds_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=f"1 to {PAGE_MAX} rows"):
        AccountFilter(account_id=NOBODY, limit=limit)


def test_a_history_of_neither_side_is_refused() -> None:
    with pytest.raises(ValueError, match="debits, credits or both"):
        AccountFilter(account_id=NOBODY, limit=1, debits=False, credits=False)


async def test_balances_after_every_transfer_are_running_sums(
    teller: Teller, reader: AsyncConnection
) -> None:
    left, _, made = await booked(teller, 6)
    spent = list(accumulate(one.amount if one.debit_account_id == left else 0 for one in made))
    received = list(accumulate(0 if one.debit_account_id == left else one.amount for one in made))
    points = await get_account_balances(reader, AccountFilter(account_id=left, limit=10))
    assert [one.position.transfer_id for one in points] == [one.id for one in made]
    assert [one.debits_posted for one in points] == spent
    assert [one.credits_posted for one in points] == received
    newest = AccountFilter(account_id=left, limit=2, newest_first=True)
    assert await get_account_balances(reader, newest) == points[:-3:-1]
    rest = AccountFilter(account_id=left, limit=10, after=points[3].position)
    assert await get_account_balances(reader, rest) == points[4:]
    debits = AccountFilter(account_id=left, limit=10, credits=False)
    assert await get_account_balances(reader, debits) == points[::2]


async def test_balances_over_time_know_holds_and_their_expiry(
    teller: Teller, reader: AsyncConnection, clock: TestClock
) -> None:
    payer, payee = await open_accounts(teller, account(flags=ACCOUNT_HISTORY), account())
    posted, voided, expiring = (
        pending(payer, payee, 80),
        pending(payer, payee, 30),
        pending(payer, payee, 7, timeout_s=5),
    )
    assert set(await codes(teller, posted, voided, expiring)) == {"created"}
    assert set(await codes(teller, post(posted, 50), void(voided))) == {"created"}
    clock.advance(seconds=6)
    await teller.submit(CREATE, CreateRequest())
    assert await codes(teller, transfer(payer, payee, 1)) == ["created"]
    points = await get_account_balances(reader, AccountFilter(account_id=payer, limit=10))
    assert [(one.debits_pending, one.debits_posted) for one in points] == [
        (80, 0), (110, 0), (117, 0), (37, 50), (7, 50), (0, 51),
    ]  # fmt: skip
    before, after = clock() - 1, clock()
    assert await get_balance_at(reader, payer, timestamp=before) == Counters(7, 50, 0, 0)
    assert await get_balance_at(reader, payer, timestamp=after + 10) == Counters(0, 51, 0, 0)


async def test_an_account_without_the_flag_keeps_no_balances_over_time(
    teller: Teller, reader: AsyncConnection
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    assert await codes(teller, transfer(payer, payee)) == ["created"]
    assert await get_account_balances(reader, AccountFilter(account_id=payer, limit=10)) == []


async def test_the_balance_at_any_moment_is_that_of_then(
    teller: Teller, reader: AsyncConnection
) -> None:
    left, _, made = await booked(teller, 4)
    stored = await lookup_transfers(reader, [one.id for one in made])
    first, second = stored[0].timestamp, stored[1].timestamp
    assert await get_balance_at(reader, left, timestamp=first - 1) == Counters(0, 0, 0, 0)
    assert await get_balance_at(reader, left, timestamp=first) == Counters(0, 10, 0, 0)
    assert await get_balance_at(reader, left, timestamp=second) == Counters(0, 10, 0, 11)
    (now,) = await lookup_accounts(reader, [left])
    last = Counters(
        now.balance.debits_pending,
        now.balance.debits_posted,
        now.balance.credits_pending,
        now.balance.credits_posted,
    )
    assert await get_balance_at(reader, left, timestamp=stored[-1].timestamp) == last
