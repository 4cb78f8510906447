"""The teller: settles whatever money requests are waiting in one database transaction.

There is no timer. A batch is what queued while the last one committed, so a lone request waits
for nobody and a crowd shares one commit. Nobody gets an answer before COMMIT has returned.

Every kind of work must be idempotent by keys of its own, because that is how an unknown outcome
is resolved: when the connection dies during COMMIT the same batch is run again, and what had
been committed is found by its keys and answered from there.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final, Protocol, cast
from uuid import UUID

import asyncpg

from wallet.core.clock import Clock
from wallet.core.database import ATTEMPTS_MAX, RETRYABLE_SQLSTATES, Connection, sqlstate_of
from wallet.ledger import storage
from wallet.ledger.book import Book

logger = logging.getLogger(__name__)

BATCH_WEIGHT_MAX: Final = 8_192
"""Events in one batch; a request counts as one unless it says its ``weight``."""

SHARED_MIN: Final = 8
"""With fewer requests waiting, sharing them between lanes costs more than it brings."""

RECONNECT_ATTEMPTS_MAX: Final = 40
RECONNECT_PAUSE_S: Final = 0.25
"""A lost database is tried again for ten seconds; a restart or a failover fits into that."""

# Besides what any transaction may be retried on: another process wrote the same key first
# (the retry finds it), or held a lock for too long.
_RETRYABLE: Final = RETRYABLE_SQLSTATES | {"23505", "55P03"}

_CONNECTION_LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)


class Overloaded(Exception):  # noqa: N818 - it is an answer to the caller, not a fault
    """The queue is full or the teller is closing; nothing was looked at, nothing has changed."""


class OutcomeUnknown(Exception):  # noqa: N818
    """The database went away; the request may or may not have been settled.

    Asking again with the same key tells which.
    """


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
    limits are neither locked nor read. ``prior`` is what the ledger already knows of the ids that
    were asked for.
    """

    __slots__ = ("account_ids", "added_ids", "prior")

    def __init__(self) -> None:
        self.account_ids: set[UUID] = set()
        self.added_ids: set[UUID] = set()
        self.prior: storage.Prior = storage.NOTHING_PRIOR


class Work(Protocol):
    """A kind of money work.

    ``gather`` reads set-based for all requests of the kind. ``decide`` is pure, sees the book,
    and returns the request's answer or raises: then only that request fails. ``record`` writes
    what the answers need besides the ledger.
    """

    async def gather(
        self, connection: Connection, requests: Sequence[Any], now_us: int
    ) -> Facts: ...

    def decide(self, request: Any, facts: Any, batch: Batch) -> Any: ...  # noqa: ANN401

    async def record(
        self,
        connection: Connection,
        facts: Any,
        answers: Sequence[Any],
        batch: Batch,  # noqa: ANN401
    ) -> None: ...


class _Item:
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
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.answer)
        else:
            self.future.set_exception(self.error)


class Teller:
    """One queue, and a few lanes that each settle one batch of it at a time.

    While one lane waits for the database, another decides; what they both want is kept apart by
    the row locks, as between processes.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[Connection]],
        clock: Clock,
        lanes: int = 2,
        batch_max: int = 128,
        queue_max: int = 2_000,
    ) -> None:
        self._clock = clock
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue: deque[_Item] = deque()
        self._arrived = asyncio.Event()
        open_accounts = storage.OpenAccounts()
        self._lanes = [_Lane(connect, clock, open_accounts) for _ in range(lanes)]
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = lanes
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many requests are queued, those in the running batch not counted."""
        return len(self._queue)

    async def start(self) -> None:
        """Connect and begin to settle; raises when the database cannot be reached."""
        for lane in self._lanes:
            await lane.connected()
        self._tasks = [
            asyncio.create_task(self._run(lane), name="teller lane") for lane in self._lanes
        ]

    async def close(self) -> None:
        """Take no more requests, settle those that wait, and hang up."""
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._tasks)
        for lane in self._lanes:
            await lane.close()

    def submit(self, work: Work, request: object) -> asyncio.Future[Any]:
        """Queue one request; the future brings its answer once it is durably settled.

        Raises :class:`Overloaded` at once when the queue is full. The future raises
        :class:`OutcomeUnknown` when the database stayed away, and whatever ``decide`` raised.
        """
        if self._closing or len(self._queue) >= self._queue_max:
            raise Overloaded
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Item(work, request, future))
        self._arrived.set()
        return future

    async def _run(self, lane: "_Lane") -> None:
        while True:
            while not self._queue:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            items = self._take()
            self._idle -= 1
            try:
                await lane.settle(items)
            finally:
                self._idle += 1
            for item in items:
                item.resolve()

    def _take(self) -> list[_Item]:
        """Take what is waiting, up to the bounds of a batch."""
        queue = self._queue
        items = [queue.popleft()]
        weight = items[0].weight
        share = -(-len(queue) // self._idle) if len(queue) > SHARED_MIN else len(queue)
        while queue and len(items) <= min(share, self._batch_max) and weight < BATCH_WEIGHT_MAX:
            items.append(queue.popleft())
            weight += items[-1].weight
        return items


class _Lane:
    """One connection that settles one batch at a time."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        clock: Clock,
        open_accounts: storage.OpenAccounts,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._open_accounts = open_accounts
        self._connection: Connection | None = None

    async def connected(self) -> Connection:
        """Return the connection, made anew when it was lost."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    async def close(self) -> None:
        """Hang up in good order."""
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()

    async def settle(self, items: list[_Item]) -> None:
        """Settle the items together; when that cannot be, find those that are to blame."""
        try:
            await self._settle_together(items)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            if len(items) == 1 or isinstance(error, OutcomeUnknown):
                for item in items:
                    item.error = error
                logger.error("batch refused: %s", type(error).__name__, exc_info=error)
                return
            half = len(items) // 2
            await self.settle(items[:half])
            await self.settle(items[half:])

    async def _settle_together(self, items: list[_Item]) -> None:
        """Run the batch until it has committed; bounded retries of what may be retried."""
        attempt = 0
        while True:
            attempt += 1
            try:
                connection = await self.connected()
                await self._transact(connection, items)
            except Exception as error:
                if self._is_lost(error):
                    if attempt >= RECONNECT_ATTEMPTS_MAX:
                        raise OutcomeUnknown from error
                    await self._hang_up()
                    await asyncio.sleep(RECONNECT_PAUSE_S)
                    continue
                await self._roll_back()
                lost_rows = isinstance(error, storage.LostRowsError)
                if lost_rows:
                    self._open_accounts.forget()
                may_retry = lost_rows or sqlstate_of(error) in _RETRYABLE
                if attempt >= ATTEMPTS_MAX or not may_retry:
                    raise
            else:
                return

    def _is_lost(self, error: Exception) -> bool:
        """Whether the connection is gone, as against a statement having been refused."""
        gone = self._connection is None or self._connection.is_closed()
        return gone or isinstance(error, _CONNECTION_LOST)

    async def _transact(self, connection: Connection, items: list[_Item]) -> None:
        stops, next_expiry = await storage.begin(connection)
        # Read after the transaction has its number: whoever waits for all older transactions
        # knows that no row with an earlier timestamp can still appear.
        now_us = self._clock()
        by_work: dict[Work, list[_Item]] = {}
        for item in items:
            by_work.setdefault(item.work, []).append(item)
        facts = {
            work: await work.gather(connection, [item.request for item in group], now_us)
            for work, group in by_work.items()
        }
        book, open_ids = await self._open_book(
            connection, list(facts.values()), now_us, expired=(next_expiry or now_us + 1) <= now_us
        )
        batch = Batch(book=book, now_us=now_us, stops=stops)
        _decide(items, facts, batch)
        # Accounts first, because what a kind of work writes may refer to them.
        await storage.record_accounts(connection, book)
        for work, group in by_work.items():
            answers = [item.answer for item in group if item.error is None]
            if answers:
                await work.record(connection, facts[work], answers, batch)
        await storage.record(connection, book, open_ids=open_ids)
        await _commit(connection)

    async def _open_book(
        self, connection: Connection, facts: Collection[Facts], now_us: int, *, expired: bool
    ) -> tuple[Book, Collection[UUID]]:
        """Lock the accounts in one order and release the holds that have run out.

        Returns the book and the ids of those accounts that it holds open, without a balance.
        """
        expired_holds = await storage.lock_expired_holds(connection, now=now_us) if expired else {}
        prior = storage.merge([fact.prior for fact in facts], expired_holds)
        exact_ids = {account_id for fact in facts for account_id in fact.account_ids}
        added_ids = {account_id for fact in facts for account_id in fact.added_ids}
        for hold in prior.holds.values():
            added_ids |= {hold.transfer.debit_account_id, hold.transfer.credit_account_id}
        open_balances = self._open_accounts.lend(added_ids - exact_ids)
        locked = await storage.lock_balances(
            connection, (exact_ids | added_ids).difference(open_balances)
        )
        self._open_accounts.learn(locked.values())
        book = Book(
            now=now_us,
            balances={**locked, **open_balances},
            accounts=prior.accounts,
            transfers=prior.transfers,
            holds=prior.holds,
            failed=prior.burnt,
        )
        book.expire_holds()
        return book, open_balances.keys()

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _roll_back(self) -> None:
        try:
            await (await self.connected()).execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - a connection that cannot roll back is of no more use
            await self._hang_up()


def _decide(items: Iterable[_Item], facts: dict[Work, Any], batch: Batch) -> None:
    """Decide in the order of arrival; one request's fault is undone and stays its own."""
    for item in items:
        before = batch.book.checkpoint()
        item.answer = item.error = None
        try:
            item.answer = item.work.decide(item.request, facts[item.work], batch)
        except Exception as error:  # noqa: BLE001 - handed to the caller as it is
            batch.book.rollback(before)
            item.error = error


async def _commit(connection: Connection) -> None:
    """COMMIT in a task of its own, so that nothing can cancel it half way.

    A transaction that has failed answers COMMIT with ROLLBACK and no error: that must not pass.
    """
    status = await asyncio.shield(asyncio.ensure_future(connection.execute("COMMIT")))
    if cast("str", status) != "COMMIT":
        message = f"COMMIT was answered with {status}"
        raise RuntimeError(message)
