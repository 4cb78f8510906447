"""The teller's loop: who shares a batch with whom, who waits for whom, and who is turned away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from tests.factories.ledger import (
    account,
    codes,
    counters,
    open_accounts,
    open_connection,
    open_teller,
    transfer,
)
from tests.factories.moments import NOW_US
from tests.ledger.notes import Note, Notes, noted
from tests.patience import until
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection, connect
from wallet.ledger import teller as teller_module
from wallet.ledger.bulk import BULK_BATCH, bulk_teller
from wallet.ledger.create import create_transfers
from wallet.ledger.teller import BATCH_WEIGHT_MAX, OutcomeUnknown, Overloaded, Teller

WAIT_S_MAX = 5.0
"""How long a test that is wrong about who waits for whom goes on."""


def submit(teller: Teller, work: Notes, numbers: Sequence[int]) -> "asyncio.Future[list[int]]":
    """Submit the numbers, one request each, and return all answers as one future."""
    return asyncio.gather(*(teller.submit(work, Note(number)) for number in numbers))


async def test_a_lone_request_waits_for_nobody(
    module_database: Database, table: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("somebody waits for a time")

    work = Notes()
    async with open_teller(module_database.application_url) as teller:
        await teller.submit(work, Note(1))  # The driver sets timers for statements it keeps.
        monkeypatch.setattr(asyncio.get_running_loop(), "call_at", refuse)
        answer = await teller.submit(work, Note(2))
        monkeypatch.undo()
    assert (answer, work.attempts) == (20, [[1], [2]])
    assert await noted(table) == {1, 2}


async def test_what_queued_while_a_batch_was_settled_is_the_next_batch(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    work.gate = asyncio.Event()
    async with open_teller(module_database.application_url) as teller:
        first = submit(teller, work, [1])
        await work.begun.wait()
        rest = [submit(teller, work, [number]) for number in (2, 3, 4)]
        assert teller.waiting == 3
        work.gate.set()
        assert await asyncio.gather(first, *rest) == [[10], [20], [30], [40]]
    assert work.attempts == [[1], [2, 3, 4]]
    assert await noted(table) == {1, 2, 3, 4}


@asynccontextmanager
async def one_lane_held(
    database: Database, work: Notes, *, alone_max: int
) -> AsyncIterator[tuple[Teller, "asyncio.Future[list[int]]", asyncio.Event]]:
    """Yield a teller of two lanes, one of them held with number 1 until the event is set."""
    work.gate = gate = asyncio.Event()
    url = database.application_url
    async with open_teller(url, lanes=2, alone_max=alone_max) as teller:
        held = submit(teller, work, [1])
        await work.begun.wait()
        work.gate = None
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                yield teller, held, gate
        finally:
            gate.set()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits behind a batch waits for longer than the test."""
    monkeypatch.setattr(teller_module, "LANE_PATIENCE_S", 2 * WAIT_S_MAX)


@pytest.mark.usefixtures("patient")
async def test_few_wait_for_the_batch_under_way_and_many_do_not(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    async with one_lane_held(module_database, work, alone_max=3) as (teller, held, gate):
        few = submit(teller, work, [2, 3, 4])
        await asyncio.sleep(0)
        assert teller.waiting == 3
        one_more = submit(teller, work, [5])
        assert await few == [20, 30, 40]
        gate.set()
        assert [await held, await one_more] == [[10], [50]]
    assert work.attempts == [[1], [2, 3, 4], [5]]
    assert len(await noted(table)) == 5


@pytest.mark.usefixtures("patient")
async def test_whoever_still_waits_at_the_close_is_settled_by_the_lane_that_is_free(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    async with one_lane_held(module_database, work, alone_max=3) as (teller, held, gate):
        last = submit(teller, work, [2])
        closing = asyncio.create_task(teller.close())
        assert await last == [20]
        gate.set()
        await closing
    assert await held == [10]
    assert await noted(table) == {1, 2}


@pytest.mark.parametrize("alone_max", [0, 8])
async def test_a_request_that_comes_while_one_lane_is_held_up_goes_to_the_other(
    module_database: Database, table: Connection, alone_max: int
) -> None:
    work = Notes()
    async with one_lane_held(module_database, work, alone_max=alone_max) as (teller, held, gate):
        assert await submit(teller, work, [2]) == [20]
        assert await noted(table) == {2}
        gate.set()
        assert await held == [10]


async def test_what_a_batch_leaves_behind_is_heard_of_by_the_lane_that_is_free(
    module_database: Database, table: Connection
) -> None:
    """Two requests that do not fit together; the lane that takes the one is held up with it."""
    gate = asyncio.Event()

    def hold_what_follows(_: object) -> None:
        work.gate = gate

    async def are_both_tried() -> bool:
        return len(work.attempts) > len(heavy)

    work = Notes(on_gather=hold_what_follows)
    async with open_teller(module_database.application_url, lanes=2, alone_max=8) as teller:
        heavy = [Note(number, weight=BATCH_WEIGHT_MAX) for number in (2, 3)]
        asked = [teller.submit(work, note) for note in (Note(1), *heavy)]
        try:
            await until(are_both_tried)
        finally:
            gate.set()
        assert work.attempts == [[1], [2], [3]]
        assert await asyncio.gather(*asked) == [10, 20, 30]
    assert len(await noted(table)) == 3


async def test_a_crowd_is_shared_by_the_lanes_that_are_free(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    async with open_teller(module_database.application_url, lanes=2) as teller:
        await submit(teller, work, range(100, 110))
    assert sorted(work.attempts) == [[*range(100, 105)], [*range(105, 110)]]
    assert len(await noted(table)) == 10


@pytest.mark.parametrize(
    ("weights", "batch_max", "batches"),
    [
        ([1] * 7, 3, [3, 3, 1]),
        ([1, 1, 1], 1, [1, 1, 1]),
        ([BATCH_WEIGHT_MAX - 1, 1, 1], 128, [2, 1]),
        ([BATCH_WEIGHT_MAX // 2 + 1] * 3, 128, [1, 1, 1]),
        ([BATCH_WEIGHT_MAX * 2, 1], 128, [1, 1]),
    ],
)
async def test_a_batch_keeps_to_its_bounds(
    module_database: Database,
    table: Connection,
    weights: list[int],
    batch_max: int,
    batches: list[int],
) -> None:
    work = Notes()
    async with open_teller(module_database.application_url, batch_max=batch_max) as teller:
        notes = [Note(number, weight=weight) for number, weight in enumerate(weights)]
        await asyncio.gather(*(teller.submit(work, note) for note in notes))
    assert [len(numbers) for numbers in work.attempts] == batches
    assert len(await noted(table)) == len(weights)


async def test_requests_of_one_kind_are_gathered_together_whichever_object_they_come_with(
    module_database: Database, table: Connection
) -> None:
    """Facts such as "this code is used up" must be the same for all of a batch."""
    first, second = Notes(), Notes()
    async with open_teller(module_database.application_url) as teller:
        answers = await asyncio.gather(
            teller.submit(first, Note(1)), teller.submit(second, Note(2))
        )
    assert [*answers] == [10, 20]
    assert (first.attempts, second.attempts) == ([[1, 2]], [])
    assert await noted(table) == {1, 2}


async def test_a_full_queue_turns_requests_away_before_anything_is_looked_at(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    work.gate = asyncio.Event()
    async with open_teller(module_database.application_url, queue_max=2) as teller:
        running = submit(teller, work, [1])
        await work.begun.wait()
        queued = submit(teller, work, [2, 3])
        with pytest.raises(Overloaded):
            _ = teller.submit(work, Note(4))
        assert work.attempts == [[1]]
        work.gate.set()
        assert [await running, await queued] == [[10], [20, 30]]
        assert await submit(teller, work, [5]) == [50]
    assert await noted(table) == {1, 2, 3, 5}


async def test_a_decision_that_raises_is_undone_and_fails_alone(
    module_database: Database, table: Connection
) -> None:
    def refuse(number: int) -> None:
        if number == 2:
            raise ZeroDivisionError

    work = Notes(on_decide=refuse)
    async with open_teller(module_database.application_url) as teller:
        payer, payee = await open_accounts(teller, account(), account())
        notes = [Note(number, (transfer(payer, payee, number),)) for number in (1, 2, 3)]
        answers = await asyncio.gather(
            *(teller.submit(work, note) for note in notes), return_exceptions=True
        )
    assert answers[::2] == [10, 30]
    assert isinstance(answers[1], ZeroDivisionError)
    assert work.attempts == [[1, 2, 3]]
    assert await counters(table, payer) == (0, 4, 0, 0)
    assert await noted(table) == {1, 3}


async def test_closing_settles_what_waits_and_takes_nothing_more(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    work.gate = asyncio.Event()
    async with open_teller(module_database.application_url, batch_max=2) as teller:
        waiting = submit(teller, work, range(1, 6))
        await work.begun.wait()
        closing = asyncio.create_task(teller.close())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            _ = teller.submit(work, Note(9))
        work.gate.set()
        await closing
        assert waiting.done()
    assert await waiting == [10, 20, 30, 40, 50]
    assert await noted(table) == {1, 2, 3, 4, 5}


async def test_losing_patience_with_closing_cancels_no_batch(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    work.gate = asyncio.Event()
    async with open_teller(module_database.application_url) as teller:
        waiting = submit(teller, work, [1])
        await work.begun.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(teller.close(), 0.01)
        work.gate.set()
        assert await waiting == [10]
    assert await noted(table) == {1}


async def test_a_teller_that_was_never_started_turns_its_queue_away_when_it_closes() -> None:
    async def connect_nowhere() -> Connection:
        raise ConnectionRefusedError

    teller = Teller(connect=connect_nowhere, clock=TestClock(NOW_US))
    queued = teller.submit(Notes(), Note(1))
    with pytest.raises(ConnectionRefusedError):
        await teller.start()
    with pytest.raises(Overloaded):
        await asyncio.wait_for(queued, 5)
    with pytest.raises(Overloaded):
        _ = teller.submit(Notes(), Note(2))


async def test_a_start_that_fails_half_way_leaves_no_connection_behind(
    module_database: Database,
) -> None:
    made: list[Connection] = []

    async def connect_once() -> Connection:
        if made:
            raise ConnectionRefusedError
        made.append(await connect(module_database.application_url, application_name="tests"))
        return made[0]

    with pytest.raises(ConnectionRefusedError):
        await Teller(connect=connect_once, clock=TestClock(NOW_US), lanes=2).start()
    assert [connection.is_closed() for connection in made] == [True]


async def test_callers_are_told_when_the_lane_that_has_their_request_is_cancelled(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    work.gate = asyncio.Event()
    async with open_teller(module_database.application_url) as teller:
        waiting = teller.submit(work, Note(1))
        await work.begun.wait()
        lanes = [task for task in asyncio.all_tasks() if task.get_name() == "teller lane"]
        for lane in lanes:
            lane.cancel()
        with pytest.raises(OutcomeUnknown):
            await waiting
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*lanes)
    assert await noted(table) == set()


async def test_a_caller_that_goes_away_does_not_undo_its_request(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    work.gate = asyncio.Event()
    async with open_teller(module_database.application_url) as teller:
        gone, stays = teller.submit(work, Note(1)), teller.submit(work, Note(2))
        await work.begun.wait()
        gone.cancel()
        work.gate.set()
        assert await stays == 20
    assert gone.cancelled()
    assert await noted(table) == {1, 2}


async def test_the_sum_of_a_busy_account_is_right_whatever_the_lanes(
    module_database: Database,
) -> None:
    async with (
        open_teller(module_database.application_url, lanes=3, batch_max=8) as teller,
        open_connection(module_database.application_url) as connection,
    ):
        payers = await open_accounts(teller, *(account(min_available=-500) for _ in range(10)))
        (shop,) = await open_accounts(teller, account())
        asked = [transfer(payer, shop, 1) for _ in range(20) for payer in payers]
        results = await asyncio.gather(*(create_transfers(teller, [one]) for one in asked))
        assert {str(result.code) for (result,) in results} == {"created"}
        assert await counters(connection, shop) == (0, 0, 0, 200)
        stamps = await connection.fetch(
            "SELECT timestamp FROM transfer WHERE credit_account_id = $1", shop
        )
        assert len({row[0] for row in stamps}) == 200


async def test_bulk_work_is_settled_in_large_batches(
    module_database: Database, connection: Connection
) -> None:
    clock = TestClock(NOW_US)
    async with bulk_teller(module_database.application_url, clock=clock) as teller:
        payer, payee = await open_accounts(teller, account(), account())
        asked = [transfer(payer, payee, 1) for _ in range(BULK_BATCH + 500)]
        answers = await asyncio.gather(*(create_transfers(teller, [one]) for one in asked))
        assert {str(result.code) for (result,) in answers} == {"created"}
    sizes = await connection.fetch(
        "SELECT count(*) FROM transfer WHERE debit_account_id = $1 GROUP BY xmin ORDER BY 1", payer
    )
    assert [row[0] for row in sizes] == [500, BULK_BATCH]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE balance ALTER COLUMN code TYPE integer",
        "ALTER TABLE transfer ALTER COLUMN code TYPE integer",
        "ALTER TABLE balance ADD COLUMN further integer",
    ],
)
async def test_a_migration_between_two_batches_is_not_noticed(
    database: Database, change: str
) -> None:
    async with (
        open_teller(database.application_url) as teller,
        open_connection(database.owner_url) as owner,
    ):
        payer, payee = await open_accounts(teller, account(min_available=-1_000), account())
        asked = transfer(payer, payee)
        for code in ("created", "exists"):
            assert await codes(teller, asked) == [code]
        await owner.execute(change)
        assert await codes(teller, asked) == ["exists"]
        assert await codes(teller, transfer(payer, payee)) == ["created"]
