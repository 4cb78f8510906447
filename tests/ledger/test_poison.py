"""A request that breaks its batch never costs its neighbours their answers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import pytest

from tests.factories.ledger import (
    account,
    codes,
    counters,
    fund,
    open_accounts,
    open_connection,
    open_teller,
    transfer,
)
from tests.factories.moments import NOW_US
from tests.ledger.notes import LATE, UNLUCKY, Note, Notes, noted
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection, connect
from wallet.ledger.create import create_transfers
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
from wallet.ledger.teller import Teller


async def ask(teller: Teller, work: Notes, notes: Sequence[Note]) -> list[Any]:
    """Submit the notes together and return what each caller hears, errors included."""
    return await asyncio.gather(
        *(teller.submit(work, note) for note in notes), return_exceptions=True
    )


def raising(error: BaseException, number: int = UNLUCKY) -> Callable[[Any], None]:
    """Return a hook that raises when it sees the number."""

    def hook(seen: list[int] | int) -> None:
        if number == seen or (isinstance(seen, list) and number in seen):
            raise error

    return hook


@pytest.mark.parametrize(
    ("unlucky", "error"),
    [
        (UNLUCKY, asyncpg.CheckViolationError),
        (LATE, asyncpg.RaiseError),
        (2**40, asyncpg.DataError),
    ],
    ids=["a statement is refused", "the COMMIT is refused", "a value cannot be sent"],
)
async def test_what_the_database_refuses_fails_alone(
    module_database: Database, table: Connection, unlucky: int, error: type[Exception]
) -> None:
    numbers = [1, 2, 3, unlucky, 5, 6, 7, 8]
    work = Notes()
    async with open_teller(module_database.application_url) as teller:
        payer, payee = await open_accounts(teller, account(), account())
        notes = [Note(number, (transfer(payer, payee, 1),)) for number in numbers]
        answers = await ask(teller, work, notes)
        assert isinstance(answers.pop(3), error)
        assert answers == [number * 10 for number in numbers if number != unlucky]
        assert await teller.submit(work, Note(9)) == 90
    assert await noted(table) == {1, 2, 3, 5, 6, 7, 8, 9}
    assert await counters(table, payer) == (0, 7, 0, 0)
    assert work.attempts == [
        numbers,
        [1, 2, 3, unlucky],
        [1, 2],
        [3, unlucky],
        [3],
        [unlucky],
        [5, 6, 7, 8],
        [9],
    ]


@pytest.mark.parametrize("hook", ["on_gather", "on_record"])
@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        KeyError("a number"),
        OSError("not the connection's"),
        TimeoutError("not the connection's"),
        asyncio.CancelledError("from within"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_kind_of_work_raises_fails_alone(
    module_database: Database, table: Connection, hook: str, error: BaseException
) -> None:
    work = Notes(**{hook: raising(error)})
    async with open_teller(module_database.application_url) as teller:
        answers = await ask(teller, work, [Note(number) for number in (1, UNLUCKY, 3)])
        assert answers[::2] == [10, 30]
        expected = RuntimeError if isinstance(error, asyncio.CancelledError) else type(error)
        assert type(answers[1]) is expected
        assert await teller.submit(work, Note(4)) == 40
    assert await noted(table) == {1, 3, 4}


async def test_all_culprits_of_a_batch_are_found(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    numbers = [UNLUCKY, 1, LATE, 2, 3, 2**40]
    async with open_teller(module_database.application_url) as teller:
        answers = await ask(teller, work, [Note(number) for number in numbers])
    told = [answer if isinstance(answer, int) else type(answer).__name__ for answer in answers]
    assert told == ["CheckViolationError", 10, "RaiseError", 20, 30, "DataError"]
    assert await noted(table) == {1, 2, 3}


async def test_neighbours_hear_their_answers_while_the_search_goes_on(
    module_database: Database, table: Connection
) -> None:
    heard: list[tuple[list[int], list[bool]]] = []
    futures: list[asyncio.Future[int]] = []
    work = Notes(on_gather=lambda seen: heard.append((seen, [one.done() for one in futures])))
    async with open_teller(module_database.application_url) as teller:
        futures += [teller.submit(work, Note(number)) for number in (1, 2, UNLUCKY, 4)]
        await asyncio.gather(*futures, return_exceptions=True)
    assert heard[2:4] == [
        ([UNLUCKY, 4], [True, True, False, False]),
        ([UNLUCKY], [True, True, False, False]),
    ]
    assert await noted(table) == {1, 2, 4}


async def test_a_value_that_no_column_can_hold_fails_alone_at_the_ledgers_own_door(
    module_database: Database,
) -> None:
    async with (
        open_teller(module_database.application_url) as teller,
        open_connection(module_database.application_url) as connection,
    ):
        payer, payee = await open_accounts(teller, account(), account())
        sound, broken = transfer(payer, payee), transfer(payer, payee, user_data_32=2**31)
        negative = transfer(payer, payee, -1)
        answers = await asyncio.gather(
            *(codes(teller, one) for one in (sound, broken, negative)), return_exceptions=True
        )
        assert answers[0] == ["created"]
        assert isinstance(answers[1], asyncpg.NumericValueOutOfRangeError)
        assert isinstance(answers[2], ValueError)
        assert await counters(connection, payer) == (0, 100, 0, 0)


RETRIED = [
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.LockNotAvailableError,
]


@pytest.mark.parametrize("error", RETRIED, ids=lambda error: error.__name__)
async def test_what_may_be_run_again_is_run_three_times_at_most(
    module_database: Database, table: Connection, error: type[Exception]
) -> None:
    failures = [error("for the first time"), error("for the second time")]

    def fail(seen: object) -> None:
        if failures:
            raise failures.pop()
        raising(error("always"))(seen)

    work = Notes(on_record=fail)
    async with open_teller(module_database.application_url) as teller:
        assert await ask(teller, work, [Note(1), Note(2)]) == [10, 20]
        assert work.attempts == [[1, 2]] * 3
        (told,) = await ask(teller, work, [Note(UNLUCKY)])
    assert str(told) == "always"
    assert work.attempts[3:] == [[UNLUCKY]] * 3
    assert await noted(table) == {1, 2}


async def test_any_other_refusal_is_not_tried_again(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    async with open_teller(module_database.application_url) as teller:
        (told,) = await ask(teller, work, [Note(UNLUCKY)])
    assert isinstance(told, asyncpg.CheckViolationError)
    assert work.attempts == [[UNLUCKY]]
    assert await noted(table) == set()


async def impatient(database: Database, setting: str) -> Connection:
    """Connect with one kind of the server's patience cut to 50 ms."""
    connection = await connect(database.application_url, application_name="tests")
    await connection.execute(f"SET {setting} = '50ms'")
    return connection


async def test_a_statement_that_takes_too_long_fails_alone(
    module_database: Database, table: Connection
) -> None:
    work = Notes()
    work.statement = (2, "SELECT pg_sleep(30)")
    teller = Teller(
        connect=lambda: impatient(module_database, "statement_timeout"),
        clock=TestClock(NOW_US),
        lanes=1,
    )
    await teller.start()
    answers = await ask(teller, work, [Note(1), Note(2), Note(3)])
    await teller.close()
    assert answers[::2] == [10, 30]
    assert isinstance(answers[1], asyncpg.QueryCanceledError)
    assert await noted(table) == {1, 3}


async def test_an_account_that_somebody_else_keeps_locked_fails_alone(
    module_database: Database,
) -> None:
    teller = Teller(
        connect=lambda: impatient(module_database, "lock_timeout"), clock=TestClock(NOW_US), lanes=1
    )
    await teller.start()
    async with open_connection(module_database.application_url) as other:
        flags = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
        locked, free, payee = await open_accounts(
            teller, account(flags=flags), account(flags=flags), account()
        )
        await fund(teller, locked)
        await fund(teller, free)
        async with other.transaction():
            await other.execute("SELECT FROM balance WHERE account_id = $1 FOR UPDATE", locked)
            asked = [transfer(locked, payee), transfer(free, payee)]
            blocked, settled = await asyncio.gather(
                *(create_transfers(teller, [one]) for one in asked), return_exceptions=True
            )
        assert isinstance(blocked, asyncpg.LockNotAvailableError)
        assert not isinstance(settled, BaseException)
        assert [str(result.code) for result in settled] == ["created"]
        assert await codes(teller, asked[0]) == ["created"]
    await teller.close()
