"""A kind of work for the tests of the teller: it notes numbers in a table of its own."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from wallet.core.database import Connection
from wallet.ledger.rules import Transfer
from wallet.ledger.work import Batch, Facts

UNLUCKY: Final = 13
"""The table refuses this number as it is written."""
LATE: Final = 14
"""The table refuses this number at COMMIT."""

TABLE: Final = f"""
DROP TABLE IF EXISTS note;
DROP FUNCTION IF EXISTS refuse_late;
CREATE TABLE note (number integer PRIMARY KEY CHECK (number <> {UNLUCKY}));
GRANT SELECT, INSERT ON note TO wallet_app;
CREATE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'too late for %', NEW.number;
END $$;
CREATE CONSTRAINT TRIGGER note_refuses_late AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.number = {LATE}) EXECUTE FUNCTION refuse_late();
"""


class Note(msgspec.Struct, frozen=True):
    """A number to note, and transfers to book with it."""

    number: int
    transfers: tuple[Transfer, ...] = ()
    weight: int = 1


class Notes:
    """Notes numbers; the answer to each is ten times the number.

    ``attempts`` are the numbers of each batch that was tried. ``on_gather``, ``on_decide`` and
    ``on_record`` may raise for some of the numbers; ``gate``, when given, holds every batch up.
    """

    def __init__(self, **hooks: Callable[[Any], None]) -> None:
        self.attempts: list[list[int]] = []
        self.gate: asyncio.Event | None = None
        self.begun = asyncio.Event()
        self.statement: tuple[int, str] | None = None
        self._hooks = hooks

    def _call(self, hook: str, numbers: object) -> None:
        self._hooks.get(hook, lambda _: None)(numbers)

    async def gather(self, connection: Connection, requests: Sequence[Note], now_us: int) -> Facts:
        """Look up the accounts of the transfers."""
        del now_us
        numbers = [request.number for request in requests]
        self.attempts.append(numbers)
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.statement is not None and self.statement[0] in numbers:
            await connection.execute(self.statement[1])
        self._call("on_gather", numbers)
        facts = Facts()
        for one in (t for request in requests for t in request.transfers):
            facts.added_ids |= {one.debit_account_id, one.credit_account_id}
        return facts

    def decide(self, request: Note, facts: Facts, batch: Batch) -> int:
        """Book the transfers; a refusal of the ledger is a fault of the test."""
        del facts
        results = batch.book.create_transfers(request.transfers)
        assert {str(result.code) for result in results} <= {"created"}, results
        self._call("on_decide", request.number)
        return request.number * 10

    async def record(
        self, connection: Connection, facts: Facts, answers: Sequence[int], batch: Batch
    ) -> None:
        """Write the numbers."""
        del facts, batch
        numbers = [answer // 10 for answer in answers]
        self._call("on_record", numbers)
        await connection.execute("INSERT INTO note SELECT * FROM unnest($1::integer[])", numbers)


async def noted(connection: Connection) -> set[int]:
    """Return every number in the table."""
    return {row[0] for row in await connection.fetch("SELECT number FROM note")}
