"""Accounts that everybody draws on: nobody waits for them, and nobody takes what is not there."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.factories.ledger import account, codes, counters, fund, open_accounts, open_teller
from tests.factories.ledger import transfer as transfer_of
from tests.factories.moments import NOW_US
from tests.ledger.meeting import meet, overlap, two_tellers
from tests.servers import Database
from wallet.core.clock import MICROSECONDS
from wallet.core.database import Connection, make_engine
from wallet.core.ids import new_id
from wallet.ledger import storage
from wallet.ledger.chart import ACCOUNT_BUDGET
from wallet.ledger.open_accounts import DRAWN_SHARE, OpenAccounts
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS, Balance, Transfer
from wallet.ledger.teller import Teller
from wallet.ledger.verify import verify
from wallet.ledger.work import Batch, Facts

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS


class Take(msgspec.Struct, frozen=True):
    """Take an amount from a budget."""

    transfer: Transfer


class Takes:
    """A kind of work that draws on the budgets of its requests."""

    async def gather(self, connection: Connection, requests: Sequence[Take], now_us: int) -> Facts:
        """Say how much is taken from each budget at most."""
        del connection, now_us
        facts = Facts()
        for one in requests:
            budget = one.transfer.debit_account_id
            facts.drawn[budget] = facts.drawn.get(budget, 0) + one.transfer.amount
            facts.added_ids.add(one.transfer.credit_account_id)
        return facts

    def decide(self, request: Take, facts: Facts, batch: Batch) -> str:
        """Return what the ledger says to it."""
        del facts
        (result,) = batch.book.create_transfers([request.transfer])
        return str(result.code)

    async def record(
        self, connection: Connection, facts: Facts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write nothing beside the ledger."""


TAKES = Takes()


async def take(teller: Teller, budget: UUID, to: UUID, amount: int = 1) -> str:
    """Take an amount, and return the ledger's answer."""
    answer: str = await teller.submit(TAKES, Take(transfer_of(budget, to, amount)))
    return answer


async def make_budget(teller: Teller, amount: int) -> tuple[UUID, UUID]:
    """Return a budget that holds an amount, and an account that takes anything."""
    budget, taker = await open_accounts(
        teller, account(flags=GUARDED, code=ACCOUNT_BUDGET), account()
    )
    await fund(teller, budget, amount)
    return budget, taker


async def test_a_batch_takes_from_plenty_while_another_holds_the_lock(
    module_database: Database, connection: Connection
) -> None:
    async with open_teller(module_database.application_url) as teller:
        budget, taker = await make_budget(teller, 1_000_000)
        assert await take(teller, budget, taker) == "created"  # It has seen how much there is.
        asked = asyncio.Event()

        class Slow(Takes):
            """Takes that tell when they have everything they need to decide."""

            def decide(self, request: Take, facts: Facts, batch: Batch) -> str:
                asked.set()
                return super().decide(request, facts, batch)

        async with connection.transaction():
            await connection.execute(
                "SELECT FROM balance WHERE account_id = $1 FOR NO KEY UPDATE", budget
            )
            waiting = teller.submit(Slow(), Take(transfer_of(budget, taker, 7)))
            async with asyncio.timeout(2):
                await asked.wait()
            assert not waiting.done()
        assert await waiting == "created"
        assert await counters(connection, budget) == (0, 8, 0, 1_000_000)


async def test_two_processes_take_to_the_last_yen_and_no_further(
    module_database: Database, connection: Connection
) -> None:
    url = module_database.application_url
    async with open_teller(url, lanes=2) as first, open_teller(url, lanes=2) as second:
        budget, taker = await make_budget(first, 500)
        asked = [take((first, second)[n % 2], budget, taker, 3) for n in range(400)]
        answers = await asyncio.gather(*asked)
        assert answers.count("created") == 166
        assert answers.count("exceeds_credits") == 234
        assert await counters(connection, budget) == (0, 498, 0, 500)
    engine = make_engine(url, pool_size=1, application_name="tests")
    try:
        report = await verify(engine, now_us=2 * 10**15)
        assert report.ok, [check for check in report.checks if not check.ok]
    finally:
        await engine.dispose()


async def test_a_process_that_believes_in_plenty_learns_better_from_the_row(
    module_database: Database, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, _):
        budget, taker = await make_budget(first, 8_000)
        assert await take(second, budget, taker, 1) == "created"
        assert await codes(first, transfer_of(budget, taker, 7_990)) == ["created"]
        # Ten are left, nine after the first; the second process saw 8,000 and takes unseen.
        assert await take(second, budget, taker, 10) == "exceeds_credits"
        assert await take(second, budget, taker, 9) == "created"
        assert await counters(connection, budget) == (0, 8_000, 0, 8_000)


class FromPurse(Takes):
    """Takes that lock a purse as well."""

    def __init__(self, purse: UUID) -> None:
        self.purse = purse

    async def gather(self, connection: Connection, requests: Sequence[Take], now_us: int) -> Facts:
        """Look at the purse too."""
        facts = await super().gather(connection, requests, now_us)
        facts.account_ids.add(self.purse)
        return facts


async def test_who_locks_a_budget_has_locked_all_purses_before(
    module_database: Database, monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    """Whoever draws on it unseen has their purse locked already, and comes to the budget last."""
    async with two_tellers(module_database) as (first, second, _):
        budget, taker = await make_budget(first, 1_000_000)
        later_id = new_id(now_us=NOW_US + MICROSECONDS)  # By id alone the budget would be first.
        (purse,) = await open_accounts(first, account(id=later_id, flags=GUARDED))
        await fund(first, purse)
        assert await take(second, budget, taker) == "created"
        attempts = count_attempts(monkeypatch)

        async def unseen() -> list[str]:
            taking = Take(transfer_of(budget, taker, 5))
            return [await second.submit(FromPurse(purse), taking)]

        emptying = (transfer_of(purse, budget, 3), transfer_of(budget, taker, 2))
        await meet(monkeypatch, connection, unseen(), codes(first, *emptying))
        assert len(attempts) == 2
        assert await counters(connection, budget) == (0, 8, 0, 1_000_003)


def count_attempts(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list with an entry for each batch that is begun; one more after a deadlock."""
    begun: list[None] = []
    begin = storage.begin

    async def count_and_begin(connection: Connection) -> None:
        begun.append(None)
        await begin(connection)

    monkeypatch.setattr(storage, "begin", count_and_begin)
    return begun


async def test_one_who_takes_unseen_and_one_who_locks_do_not_wait_for_each_other(
    module_database: Database, connection: Connection
) -> None:
    async with two_tellers(module_database) as (first, second, proxy):
        budget, taker = await make_budget(first, 1_000_000)
        assert await take(second, budget, taker) == "created"
        answers = await overlap(
            proxy,
            connection,
            lambda: codes(first, transfer_of(budget, taker, 5)),
            lambda: take(second, budget, taker, 5),
        )
        assert answers == (["created"], "created")


def known(available: int, **fields: Any) -> tuple[OpenAccounts, UUID]:  # noqa: ANN401
    """Return what a process remembers that has seen a budget with so much in it."""
    accounts, budget = OpenAccounts(), account().id
    plain = {"flags": GUARDED, "credits_posted": available}
    accounts.learn({budget: Balance(budget, 1, 1, **{**plain, **fields})}, [budget])
    return accounts, budget


def test_no_more_is_lent_than_a_share_of_what_was_seen() -> None:
    accounts, budget = known(DRAWN_SHARE * 100)
    assert accounts.lend(set(), {budget: 101}, (), kinds=1) == {}
    (lent,) = accounts.lend(set(), {budget: 60}, (), kinds=1).values()
    assert (lent.min_available, lent.credits_posted, lent.flags) == (-100, 0, 0)
    assert accounts.lend(set(), {budget: 60}, (), kinds=1) == {}
    assert budget in accounts.lend(set(), {budget: 40}, (), kinds=1)


def test_all_that_is_drawn_on_is_lent_or_nothing() -> None:
    accounts, budget = known(DRAWN_SHARE * 100)
    assert accounts.lend(set(), {budget: 1, account().id: 1}, (), kinds=1) == {}
    assert accounts.lend(set(), {budget: 1}, {budget}, kinds=1) == {}
    assert accounts.lend(set(), {budget: 1}, (), kinds=2) == {}


def test_what_is_drawn_on_is_locked_before_a_shop_that_is_not_known() -> None:
    accounts, budget = known(DRAWN_SHARE * 100)
    shop, stranger = account().id, account().id
    accounts.learn({shop: Balance(shop, 1, 1)}, ())
    assert accounts.lend({shop}, {budget: 1}, (), kinds=1).keys() == {shop, budget}
    assert accounts.lend({shop, stranger}, {budget: 1}, (), kinds=1).keys() == {shop}
    assert budget not in accounts.lend(set(), {budget: 1}, {shop}, kinds=1)


@pytest.mark.parametrize(
    "fields", [{"closed": True}, {"flags": 0}, {"max_balance": 10**6}, {"min_available": 0}]
)
def test_an_account_with_another_limit_is_always_locked(fields: dict[str, Any]) -> None:
    accounts, budget = known(DRAWN_SHARE * 100, **fields)
    assert accounts.lend(set(), {budget: 1}, (), kinds=1) == {}
