"""Kinds of money work: what each brings to a batch, and what it sees there."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from wallet.core.database import Connection
from wallet.ledger import storage
from wallet.ledger.book import Book


class Batch:
    """What a decision sees besides its request and facts: the book, the moment, the stops."""

    __slots__ = ("book", "now_us", "stops")

    def __init__(self, *, book: Book, now_us: int, stops: frozenset[str]) -> None:
        self.book = book
        self.now_us = now_us
        self.stops = stops


class Facts:
    """What ``gather`` found; each kind of work adds its own.

    ``account_ids`` are accounts the decisions look at; they are locked before any decision.
    ``added_ids`` are accounts that are only added to, whatever they hold: those that nothing
    limits are neither locked nor read. ``drawn`` are accounts that everybody draws on, with the
    most that is taken from each: they are locked when they may run short, and their floor is to be
    kept. ``prior`` is what the ledger knows of the ids that callers chose.
    """

    __slots__ = ("account_ids", "added_ids", "drawn", "prior")

    def __init__(self) -> None:
        self.account_ids: set[UUID] = set()
        self.added_ids: set[UUID] = set()
        self.drawn: dict[UUID, int] = {}
        self.prior: storage.Prior = storage.NOTHING_PRIOR


class Work(Protocol):
    """A kind of money work: one class for each kind, whichever object a request comes with.

    ``gather`` reads set-based for all requests of the kind. ``decide`` is pure, sees the book,
    and returns the request's answer or raises: then only that request fails. ``record`` writes
    what the answers need besides the ledger.

    A kind whose requests often need no reading at all may have ``foresee`` besides: of requests
    it returns :class:`Foreseen`, or None where ``gather`` must read for them.
    """

    async def gather(
        self, connection: Connection, requests: Sequence[Any], now_us: int
    ) -> Facts: ...

    def decide(self, request: Any, facts: Any, batch: Batch) -> Any: ...  # noqa: ANN401 - as above

    async def record(
        self,
        connection: Connection,
        facts: Any,  # noqa: ANN401 - each kind of work has its own
        answers: Sequence[Any],
        batch: Batch,
    ) -> None: ...


class Foreseen(Facts):
    """Facts that nobody has to read, but for whether the ledger knows any of ``transfer_ids``."""

    __slots__ = ("transfer_ids",)

    def __init__(self) -> None:
        super().__init__()
        self.transfer_ids: set[UUID] = set()


class Item:
    """One waiting request and the future its caller awaits."""

    __slots__ = ("answer", "error", "future", "request", "weight", "work")

    def __init__(self, work: Work, request: object, future: asyncio.Future[Any]) -> None:
        self.work = work
        self.request = request
        self.future = future
        self.weight: int = getattr(request, "weight", 1)
        self.answer: object = None
        self.error: Exception | None = None

    def resolve(self) -> None:
        """Tell the caller, unless it has gone away meanwhile."""
        if self.error is not None:
            self.fail(self.error)
        elif not self.future.done():
            self.future.set_result(self.answer)

    def fail(self, error: Exception) -> None:
        """Tell the caller of an error, unless it has heard or has gone away."""
        if not self.future.done():
            self.future.set_exception(error)
