"""A till with a named fault: it dies by its own hand at some point of a payment, or is careless.

``python -m tests.reliability.faulty_till before_commit --port 8000`` is ``wallet serve`` but for
that. It ends by SIGKILL, as if the power went: nothing is flushed, rolled back or said.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from wallet import cli
from wallet.core.database import Connection, connect
from wallet.ledger import storage, teller
from wallet.ledger.book import Book
from wallet.planes import frame

BATCH_MIN: Final = 24
"""Payments in the batch that ``in_a_crowd`` waits for."""


def die() -> NoReturn:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError  # SIGKILL cannot be caught.


def before_begin() -> None:
    """Die with a request in hand and no transaction."""

    async def begin(connection: Connection) -> NoReturn:
        del connection
        die()

    _replace(storage, "begin", begin)


def after_lock() -> None:
    """Die with every row of the payment locked and nothing decided."""
    _die_after(storage, "lock_balances")


def before_commit() -> None:
    """Die with everything written and nothing committed."""
    _die_after(storage, "record")


def while_committing() -> None:
    """Die when COMMIT has left and before anything has come back."""
    commit: Callable[..., Awaitable[None]] = teller._commit  # noqa: SLF001 - a crash asks nobody

    async def commit_and_die(connection: Connection, *, goes_on: bool) -> NoReturn:
        committing = asyncio.ensure_future(commit(connection, goes_on=goes_on))
        for _ in range(3):  # The task begins, the one it shields sends, the loop hands it on.
            await asyncio.sleep(0)
        del committing
        die()

    _replace(teller, "_commit", commit_and_die)


def after_commit() -> None:
    """Die when the money has moved and nobody has been told."""
    _die_after(teller, "_commit")


def in_a_crowd() -> None:
    """Die before COMMIT, as soon as a batch is as large as :data:`BATCH_MIN`."""

    def is_large(_: Connection, book: Book) -> bool:
        return len(book.booked) >= BATCH_MIN

    _die_after(storage, "record", where=is_large)


def not_durable() -> None:
    """Acknowledge what has not reached the disk, which no kill of the till alone would show."""

    async def connect_carelessly(url: str, *, application_name: str) -> Connection:
        connection = await connect(url, application_name=application_name)
        await connection.execute("SET synchronous_commit = off")
        return connection

    _replace(frame, "connect", connect_carelessly)


FAULTS: Final[dict[str, Callable[[], None]]] = {
    fault.__name__: fault
    for fault in (
        before_begin,
        after_lock,
        before_commit,
        while_committing,
        after_commit,
        in_a_crowd,
        not_durable,
    )
}


def _die_after(module: object, name: str, *, where: Callable[..., bool] = lambda *_: True) -> None:
    """Let the function do its work, and die when it has and the condition holds."""
    original: Callable[..., Awaitable[object]] = getattr(module, name)

    async def dying(*arguments: Any, **named: Any) -> object:  # noqa: ANN401 - as the original's
        result = await original(*arguments, **named)
        if where(*arguments):
            die()
        return result

    _replace(module, name, dying)


def _replace(module: object, name: str, function: Callable[..., object]) -> None:
    """Put a function where the till looks another one up, which must be there."""
    assert hasattr(module, name), f"{module} has no {name} any more"
    setattr(module, name, function)


if __name__ == "__main__":
    named, *options = sys.argv[1:]
    FAULTS[named]()
    sys.argv = ["wallet", "serve", *options]
    cli.main()
