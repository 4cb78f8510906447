"""Kinds of money work: what each brings to a batch, and what it sees there."""

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
    kept. ``asked_ids`` are ids of transfers that callers chose: whether the ledger knows them is
    asked with the locks. ``prior`` is what it is known to know of other ids.
    """

    __slots__ = ("account_ids", "added_ids", "asked_ids", "drawn", "prior")

    def __init__(self) -> None:
        self.account_ids: set[UUID] = set()
        self.added_ids: set[UUID] = set()
        self.asked_ids: set[UUID] = set()
        self.drawn: dict[UUID, int] = {}
        self.prior: storage.Prior = storage.NOTHING_PRIOR


class Work(Protocol):
    """A kind of money work: one class for each kind, whichever object a request comes with.

    ``gather`` reads set-based for all requests of the kind. ``decide`` is pure, sees the book,
    and returns the request's answer or raises: then only that request fails. ``record`` writes
    what the answers need besides the ledger.
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
