"""A connection lost at any moment: nobody is told a guess, and everything happens once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from tests.factories.ledger import (
    account,
    codes,
    count,
    counters,
    fund,
    open_accounts,
    open_teller,
    transfer,
)
from tests.ledger.meeting import WAITERS
from tests.ledger.notes import Note, Notes, noted
from tests.patience import until
from tests.proxy import Fault, Proxy, open_proxy
from tests.servers import Database
from wallet.core.database import Connection
from wallet.ledger import patience
from wallet.ledger.create import create_accounts, create_transfers
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS, LINKED
from wallet.ledger.teller import OutcomeUnknown, Teller

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
LOST = [Fault.NEVER_ARRIVES, Fault.REPLY_IS_LOST]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a lost database again almost at once."""
    monkeypatch.setattr(patience, "RECONNECT_PAUSE_S", 0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a lost database up after a fifth of a second."""
    monkeypatch.setattr(patience, "RECONNECT_S_MAX", 0.2)


@asynccontextmanager
async def faulty_teller(database: Database) -> AsyncIterator[tuple[Teller, Proxy]]:
    """Yield a teller of one lane whose connection goes through a proxy."""
    async with (
        open_proxy(database.application_url) as (proxy, url),
        open_teller(url) as teller,
    ):
        yield teller, proxy


async def funded(teller: Teller, amount: int = 100) -> tuple[UUID, UUID]:
    """Return a guarded payer who has the amount, and a payee."""
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
    await fund(teller, payer, amount)
    return payer, payee


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
async def test_a_commit_in_doubt_is_looked_up_and_its_answers_stand(
    module_database: Database, connection: Connection, fault: Fault
) -> None:
    """A chain, a refusal and a new account: asked for again, each would be answered otherwise."""
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        chain = [transfer(payer, payee, 30, flags=LINKED), transfer(payer, payee, 30)]
        exceeds = transfer(payer, payee, 41)
        proxy.faults.append(fault)
        answers = await asyncio.gather(
            codes(teller, *chain),
            codes(teller, exceeds),
            create_accounts(teller, [account()]),
        )
        assert [*answers[:2]] == [["created", "created"], ["exceeds_credits"]]
        assert str(answers[2][0].code) == "created"
        assert proxy.connections == 2
        assert await codes(teller, exceeds) == ["id_already_failed"]
        assert await counters(connection, payer) == (0, 60, 0, 100)
        assert await count(connection, [one.id for one in chain]) == 2


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
async def test_the_timestamps_told_are_the_ones_stored(
    module_database: Database, connection: Connection, fault: Fault
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        asked = transfer(payer, payee)
        proxy.faults.append(fault)
        (told,) = await create_transfers(teller, [asked])
        stored = await connection.fetchval("SELECT timestamp FROM transfer WHERE id=$1", asked.id)
        assert stored == told.timestamp


async def test_a_commit_that_arrives_while_the_batch_is_run_again_counts_once(
    module_database: Database, connection: Connection
) -> None:
    """The new transaction finds nothing, waits for the old one's locks, and meets its rows."""
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        chain = [transfer(payer, payee, 30, flags=LINKED), transfer(payer, payee, 30)]
        proxy.faults.append(Fault.ARRIVES_LATE)
        answer = asyncio.create_task(codes(teller, *chain))
        await proxy.held.wait()
        await until(lambda: connection.fetchval(WAITERS, 1))
        proxy.let_go.set()
        assert await answer == ["created", "created"]
        assert await counters(connection, payer) == (0, 60, 0, 100)
        assert await count(connection, [one.id for one in chain]) == 2


async def test_what_the_ledger_does_not_record_is_found_by_its_own_keys(
    module_database: Database, table: Connection
) -> None:
    """A batch without transfers leaves the ledger no trace, so it is run again."""
    work = Notes()
    async with faulty_teller(module_database) as (teller, proxy):
        proxy.faults.append(Fault.NEVER_ARRIVES)
        assert await teller.submit(work, Note(1)) == 10
    assert work.attempts == [[1], [1]]
    assert await noted(table) == {1}


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
async def test_a_restart_in_the_middle_of_a_commit_is_waited_for(
    module_database: Database, connection: Connection, fault: Fault
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        asked = [transfer(payer, payee, 10) for _ in range(3)]
        proxy.faults.append(fault)
        proxy.down_after_fault = True
        answers = asyncio.gather(*(codes(teller, one) for one in asked))
        await proxy.refused.wait()
        proxy.is_up = True
        assert await answers == [["created"]] * 3
        assert await counters(connection, payer) == (0, 30, 0, 100)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
async def test_a_database_that_stays_away_leaves_the_outcome_unknown(
    module_database: Database, connection: Connection, fault: Fault
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        asked = transfer(payer, payee)
        proxy.faults.append(fault)
        proxy.down_after_fault = True
        with pytest.raises(OutcomeUnknown):
            await codes(teller, asked)
        settled = fault is Fault.REPLY_IS_LOST
        assert await count(connection, [asked.id]) == settled
        proxy.is_up = True
        assert await codes(teller, asked) == ["exists" if settled else "created"]
        assert await counters(connection, payer) == (0, 100, 0, 100)


@pytest.mark.usefixtures("impatient")
async def test_a_database_that_is_away_before_anything_began_is_waited_for_as_well(
    module_database: Database, connection: Connection
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        proxy.go_down()
        with pytest.raises(OutcomeUnknown):
            await codes(teller, transfer(payer, payee))
        proxy.refused.clear()
        waiting = asyncio.create_task(codes(teller, transfer(payer, payee)))
        await proxy.refused.wait()
        proxy.is_up = True
        assert await waiting == ["created"]
        assert await counters(connection, payer) == (0, 100, 0, 100)


async def test_doubt_is_never_told_as_a_failure(
    module_database: Database, table: Connection
) -> None:
    """When the second run fails for a reason of its own, the first may still have committed."""
    failures: list[Exception] = []

    def fail(_: object) -> None:
        if len(work.attempts) > 1:
            failures.append(ZeroDivisionError())
            raise failures[-1]

    work = Notes(on_gather=fail)
    async with faulty_teller(module_database) as (teller, proxy):
        proxy.faults.append(Fault.REPLY_IS_LOST)
        answers = await asyncio.gather(
            *(teller.submit(work, Note(number)) for number in (1, 2)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [OutcomeUnknown, OutcomeUnknown]
        assert len(failures) == 1
    assert await noted(table) == {1, 2}


async def end_backend(owner: Connection) -> None:
    """End the teller's session on the server, as an administrator would."""
    ended = await owner.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'tests'"
    )
    assert ended == 1
    await until(
        lambda: owner.fetchval(
            "SELECT count(*) = 0 FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'tests'"
        )
    )


async def test_a_session_ended_before_its_commit_is_run_again(
    module_database: Database, table: Connection, owner: Connection
) -> None:
    work = Notes()
    work.gate = asyncio.Event()
    async with open_teller(module_database.application_url) as teller:
        answers = asyncio.gather(*(teller.submit(work, Note(number)) for number in (1, 2)))
        await work.begun.wait()
        await end_backend(owner)
        work.gate.set()
        assert await answers == [10, 20]
    assert work.attempts == [[1, 2], [1, 2]]
    assert await noted(table) == {1, 2}


async def test_a_session_ended_while_its_commit_was_on_its_way_is_run_again(
    module_database: Database, owner: Connection
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        proxy.faults.append(Fault.IS_HELD)
        asked = transfer(payer, payee)
        answer = asyncio.create_task(codes(teller, asked))
        await proxy.held.wait()
        await end_backend(owner)
        proxy.let_go.set()
        assert await answer == ["created"]
        assert await counters(owner, payer) == (0, 100, 0, 100)


async def test_a_caller_that_goes_away_during_the_commit_undoes_nothing(
    module_database: Database, connection: Connection
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        proxy.faults.append(Fault.IS_HELD)
        first, second = transfer(payer, payee, 30), transfer(payer, payee, 20)
        gone, stays = (asyncio.create_task(codes(teller, one)) for one in (first, second))
        await proxy.held.wait()
        gone.cancel()
        await asyncio.sleep(0)
        assert await count(connection, [first.id, second.id]) == 0
        proxy.let_go.set()
        assert await stays == ["created"]
        assert gone.cancelled()
        assert await counters(connection, payer) == (0, 50, 0, 100)


async def test_a_lane_that_is_cancelled_does_not_cancel_its_commit(
    module_database: Database, connection: Connection
) -> None:
    """The driver would ask the server to cancel, and a commit waiting for a replica would obey."""
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        proxy.faults.append(Fault.IS_HELD)
        asked = transfer(payer, payee)
        answer = asyncio.create_task(codes(teller, asked))
        await proxy.held.wait()
        lanes = [task for task in asyncio.all_tasks() if task.get_name() == "teller lane"]
        for lane in lanes:
            lane.cancel()
        with pytest.raises(OutcomeUnknown):
            await answer
        proxy.let_go.set()
        await until(lambda: count(connection, [asked.id]))
        assert proxy.connections == 1


async def test_nobody_is_answered_before_the_commit_has_returned(
    module_database: Database, connection: Connection
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        proxy.faults.append(Fault.IS_HELD)
        answer = asyncio.create_task(codes(teller, transfer(payer, payee)))
        await proxy.held.wait()
        await asyncio.sleep(0.05)
        assert not answer.done()
        assert await counters(connection, payer) == (0, 0, 0, 100)
        proxy.let_go.set()
        assert await answer == ["created"]


async def test_a_commit_that_was_answered_with_rollback_is_an_error(
    module_database: Database, table: Connection
) -> None:
    """A transaction that has failed answers COMMIT with ROLLBACK, and no error."""

    class Careless(Notes):
        async def record(self, connection: Connection, *rest: object) -> None:
            del rest
            with pytest.raises(Exception, match="division by zero"):
                await connection.execute("SELECT 1 / 0")

    async with open_teller(module_database.application_url) as teller:
        with pytest.raises(RuntimeError, match="COMMIT was answered with ROLLBACK"):
            await teller.submit(Careless(), Note(1))
        assert await teller.submit(Notes(), Note(2)) == 20
    assert await noted(table) == {2}


@pytest.mark.parametrize(
    "faults",
    [[Fault.REPLY_IS_LOST], [Fault.NEVER_ARRIVES] * 3 + [Fault.REPLY_IS_LOST]],
    ids=["once", "four times"],
)
async def test_connections_lost_again_and_again_change_nothing(
    module_database: Database, connection: Connection, faults: list[Fault]
) -> None:
    async with faulty_teller(module_database) as (teller, proxy):
        payer, payee = await funded(teller)
        asked = [transfer(payer, payee, 1) for _ in range(50)]
        proxy.faults += faults
        answers = await asyncio.gather(*(codes(teller, one) for one in asked))
        assert answers == [["created"]] * 50
        assert proxy.faults == []
        assert await counters(connection, payer) == (0, 50, 0, 100)
