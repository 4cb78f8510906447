"""Accounts that nothing limits: nobody reads or locks them, and nobody is told anything wrong."""

from collections.abc import Callable

import pytest

from tests.factories.ledger import (
    account,
    codes,
    counters,
    open_accounts,
    open_teller,
    pending,
    post,
    transfer,
    void,
)
from tests.factories.moments import NOW_US
from tests.ledger.meeting import overlap, two_tellers
from tests.servers import Database
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.core.database import Connection
from wallet.ledger.open_accounts import OPEN_AMOUNT_MAX, OPEN_TOTAL_MAX
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    AMOUNT_MAX,
    CLOSING_DEBIT,
    Transfer,
)
from wallet.ledger.teller import BATCH_WEIGHT_MAX

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS


async def test_an_account_closed_by_another_process_is_not_added_to(
    module_database: Database, connection: Connection
) -> None:
    """The second teller knows the shop as open, and learns better when it adds to it."""
    async with two_tellers(module_database) as (first, second, proxy):
        payer, shop = await open_accounts(first, account(), account())
        assert await codes(second, transfer(payer, shop, 5)) == ["created"]
        closing = pending(shop, payer, 0, more=CLOSING_DEBIT)
        answers = await overlap(
            proxy,
            connection,
            lambda: codes(first, closing),
            lambda: codes(second, transfer(payer, shop)),
        )
        assert answers == (["created"], ["credit_account_already_closed"])
        assert await counters(connection, shop) == (0, 0, 0, 5)
        assert await codes(second, void(closing)) == ["created"]
        assert await codes(second, transfer(payer, shop)) == ["created"]
        assert await counters(connection, shop) == (0, 0, 0, 105)


async def test_an_account_is_reopened_by_a_process_that_took_it_to_be_open(
    module_database: Database, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, _):
        payer, shop = await open_accounts(first, account(), account())
        assert await codes(second, transfer(payer, shop)) == ["created"]
        closing = pending(shop, payer, 0, more=CLOSING_DEBIT)
        assert await codes(first, closing) == ["created"]
        assert await codes(second, void(closing)) == ["created"]
        assert await codes(first, transfer(payer, shop)) == ["created"]
        assert await counters(connection, shop) == (0, 0, 0, 200)


async def test_a_refusal_says_that_another_process_has_closed_the_account(
    module_database: Database, connection: Connection
) -> None:
    """Nothing is added to the account, so that nobody would notice."""
    async with two_tellers(module_database) as (first, second, _):
        payer, poor, shop = await open_accounts(first, account(), account(flags=GUARDED), account())
        assert await codes(second, transfer(payer, shop)) == ["created"]
        closing = pending(shop, payer, 0, more=CLOSING_DEBIT)
        assert await codes(first, closing) == ["created"]
        asked = transfer(poor, shop)
        assert await codes(second, asked) == ["credit_account_already_closed"]
        assert await codes(second, void(closing)) == ["created"]
        assert await codes(second, transfer(poor, shop)) == ["exceeds_credits"]
        assert await codes(second, asked) == ["id_already_failed"]
        assert await counters(connection, shop) == (0, 0, 0, 100)


@pytest.mark.parametrize("resolve", [post, void])
async def test_what_resolves_a_hold_comes_after_it_although_clocks_differ(
    module_database: Database,
    connection: Connection,
    resolve: Callable[[Transfer], Transfer],
) -> None:
    url = module_database.application_url
    late = TestClock(NOW_US - MICROSECONDS)
    async with open_teller(url) as first, open_teller(url, clock=late) as second:
        payer, payee = await open_accounts(second, account(), account())
        assert await codes(second, transfer(payer, payee)) == ["created"]
        hold = pending(payer, payee)
        resolution = resolve(hold)
        assert await codes(first, hold) == ["created"]
        assert await codes(second, resolution) == ["created"]
        held_at, resolved_at = await connection.fetchrow(STAMPS, hold.id, resolution.id) or (0, 0)
        assert resolved_at > held_at >= NOW_US


STAMPS = """
SELECT (SELECT timestamp FROM transfer WHERE id = $1),
       (SELECT timestamp FROM transfer WHERE id = $2)
"""


async def test_the_last_timestamp_is_the_latest_although_clocks_differ(
    module_database: Database, connection: Connection
) -> None:
    url = module_database.application_url
    late = TestClock(NOW_US - MICROSECONDS)
    async with open_teller(url) as first, open_teller(url, clock=late) as second:
        payer, shop = await open_accounts(first, account(), account())
        for teller in (second, first, second):  # The second knows both accounts by now.
            assert await codes(teller, transfer(payer, shop)) == ["created"]
        stamps = await connection.fetch(
            "SELECT timestamp FROM transfer WHERE credit_account_id = $1", shop
        )
        latest = max(row[0] for row in stamps)
        assert await connection.fetchval(LAST, shop) == latest >= NOW_US
        assert min(row[0] for row in stamps) >= NOW_US - MICROSECONDS


LAST = "SELECT last_timestamp FROM balance WHERE account_id = $1"


async def test_an_open_account_that_is_full_says_so(
    module_database: Database, connection: Connection
) -> None:
    """Its balance is not read, and yet whoever is refused hears that it is full."""
    async with two_tellers(module_database) as (first, second, _):
        payer, other, shop = await open_accounts(first, account(), account(), account())
        assert await codes(second, transfer(other, shop, 5)) == ["created"]
        assert await codes(first, transfer(payer, shop, AMOUNT_MAX - 15)) == ["created"]
        for teller in (first, second):
            assert await codes(teller, transfer(other, shop, 11)) == ["overflows_credits_posted"]
        assert await codes(first, transfer(other, shop, 10)) == ["created"]
        assert await counters(connection, shop) == (0, 0, 0, AMOUNT_MAX)


async def test_what_a_batch_releases_later_makes_no_room_for_what_came_before(
    module_database: Database, connection: Connection
) -> None:
    """The sums at the end would fit; in the order asked, the second transfer does not."""
    async with two_tellers(module_database) as (first, second, _):
        payer, other, shop = await open_accounts(first, account(), account(), account())
        assert await codes(second, transfer(other, shop, 5)) == ["created"]
        hold = pending(payer, shop, 5)
        filling = transfer(payer, shop, AMOUNT_MAX - 10)
        assert await codes(first, hold, filling) == ["created", "created"]
        asked = transfer(other, shop, 1), void(hold), transfer(other, shop, 1)
        assert await codes(second, *asked) == ["overflows_credits", "created", "created"]
        assert await counters(connection, shop) == (0, 0, 0, AMOUNT_MAX - 4)


async def test_an_amount_that_could_fill_an_account_has_it_read_first(
    module_database: Database, connection: Connection
) -> None:
    """Nothing but the batch itself fills it, and what it releases last makes it fit again."""
    async with two_tellers(module_database) as (first, _, _):
        payer, other, shop = await open_accounts(first, account(), account(), account())
        hold = pending(payer, shop, 5)
        assert await codes(first, transfer(other, shop, 5), hold) == ["created", "created"]
        asked = transfer(payer, shop, AMOUNT_MAX - 10), transfer(other, shop, 1), void(hold)
        assert await codes(first, *asked) == ["created", "overflows_credits", "created"]
        assert await counters(connection, shop) == (0, 0, 0, AMOUNT_MAX - 5)


async def test_a_poor_payer_hears_first_that_the_account_is_full(module_database: Database) -> None:
    """An overflow comes before a lack of money, and does not burn the id as that does."""
    async with two_tellers(module_database) as (first, second, _):
        payer, poor, shop = await open_accounts(first, account(), account(flags=GUARDED), account())
        assert await codes(second, transfer(payer, shop, 5)) == ["created"]
        assert await codes(first, transfer(payer, shop, AMOUNT_MAX - 5)) == ["created"]
        asked = transfer(poor, shop, 1)
        for _ in range(2):
            assert await codes(second, asked) == ["overflows_credits_posted"]


def test_a_batch_of_the_largest_amounts_does_not_fill_an_open_account() -> None:
    assert OPEN_TOTAL_MAX + BATCH_WEIGHT_MAX * OPEN_AMOUNT_MAX < AMOUNT_MAX
