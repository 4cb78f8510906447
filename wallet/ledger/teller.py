"""The teller: settles whatever money requests are waiting in one database transaction.

A batch is what queued while the last one committed, so a lone request waits for nobody and a
crowd shares one commit. Nobody gets an answer before COMMIT has returned.

When the connection dies during COMMIT, the outcome is unknown and is looked up, never guessed.
What the batch was to write is searched for: if it is there, the batch was committed and its
answers stand. If not, the same batch is run again. Every kind of work must be idempotent by keys
of its own, because the old transaction may still be ending while the new one begins.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final, TypeVar
from uuid import UUID

from wallet.core.clock import Clock
from wallet.core.database import ATTEMPTS_MAX, Connection
from wallet.ledger import storage
from wallet.ledger.book import Book
from wallet.ledger.journal import MissingFactError
from wallet.ledger.open_accounts import OpenAccounts, add_up, is_beyond_limits
from wallet.ledger.patience import CONNECTION_LOST, Patience, may_pass
from wallet.ledger.rules import Balance
from wallet.ledger.work import Batch, Facts, Foreseen, Item, Work

logger = logging.getLogger(__name__)

BATCH_WEIGHT_MAX: Final = 8_192
"""Events in one batch; a request counts as one unless it says its ``weight``."""

LANE_PATIENCE_S: Final = 0.02
"""Nobody waits longer for a batch that is held up while another lane has nothing to do."""

_Opened = tuple[dict[type[Work], Facts], Batch, Collection[UUID]]
"""What each kind of work found, the batch with its book, and the accounts held open in it."""

T = TypeVar("T")


class Overloaded(Exception):  # noqa: N818 - it is an answer to the caller, not a fault
    """The queue is full or the teller is closing; nothing was looked at, nothing has changed."""


class OutcomeUnknown(Exception):  # noqa: N818
    """The database went away; the request may or may not have been settled.

    Asking again with the same key tells which.
    """


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
        alone_max: int = 24,
        batch_max: int = 128,
        queue_max: int = 2_000,
    ) -> None:
        """Prepare; ``connect`` opens a connection for each of the ``lanes``.

        While a batch is under way, up to ``alone_max`` requests wait for it, and its lane takes
        them next: a batch of its own costs what twenty more requests in one do.
        """
        self._clock = clock
        self._alone_max = alone_max
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue: deque[Item] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._patience: asyncio.TimerHandle | None = None
        self._is_late = False
        open_accounts = OpenAccounts()
        self._lanes = [_Lane(connect, clock, open_accounts) for _ in range(lanes)]
        self._tasks: list[asyncio.Task[None]] = []
        self._settling = 0
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many requests are queued, those in the running batch not counted."""
        return len(self._queue)

    async def start(self) -> None:
        """Connect and begin to settle; raises when the database cannot be reached."""
        try:
            for lane in self._lanes:
                await lane.connected()
        except BaseException:
            await self.close()
            raise
        self._tasks = [
            asyncio.create_task(self._run(lane), name="teller lane") for lane in self._lanes
        ]

    async def close(self) -> None:
        """Take no more requests, settle those that wait, and hang up."""
        self._closing = True
        while self._idle:
            self._wake()
        if self._tasks:
            # Not gather: whoever loses patience with closing must not cancel a batch half way.
            await asyncio.wait(self._tasks)
        while self._queue:
            self._queue.popleft().fail(Overloaded())
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
        self._queue.append(Item(work, request, future))
        self._call_lanes()
        return future

    async def _run(self, lane: "_Lane") -> None:
        while True:
            while not self._is_worth_a_batch():
                if lane.has_begun():
                    await lane.rest()
                elif self._closing and not self._queue:
                    return
                else:
                    await self._wait()
            await self._settle_next(lane)

    async def _settle_next(self, lane: "_Lane") -> None:
        items = self._take()
        self._settling += len(items)
        self._call_lanes()
        try:
            await lane.settle(items, goes_on=lambda: self._is_crowded(besides=len(items)))
            # Whoever has just been answered may ask again, and belongs to the next batch.
            await asyncio.sleep(0)
        finally:
            self._settling -= len(items)
            for item in items:
                if not item.future.done():  # The lane was cancelled.
                    item.fail(OutcomeUnknown())

    def _is_worth_a_batch(self) -> bool:
        """Whether what waits is enough for a batch of its own, beside the one under way if any."""
        may_wait = self._settling > 0 and not (self._is_late or self._closing)
        return len(self._queue) > (self._alone_max if may_wait else 0)

    def _is_crowded(self, *, besides: int) -> bool:
        """Whether there is more to do than the ``besides`` that a lane is about to commit."""
        return bool(self._queue) or self._settling > besides

    def _call_lanes(self) -> None:
        """Wake an idle lane when there is enough for it, or else in a while."""
        if self._is_worth_a_batch():
            self._wake()
        elif self._queue and self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(LANE_PATIENCE_S, self._lose_patience)

    def _lose_patience(self) -> None:
        self._is_late = True
        self._wake()

    def _wake(self) -> None:
        while self._idle:
            called = self._idle.popleft()
            if not called.done():
                called.set_result(None)
                return

    async def _wait(self) -> None:
        """Wait to be woken; what has too little company meanwhile does not wait for ever."""
        self._call_lanes()
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(called)
        try:
            await called
        finally:
            if called in self._idle:  # The lane was cancelled.
                self._idle.remove(called)

    def _take(self) -> list[Item]:
        """Take what is waiting, one request at least and no more than the bounds of a batch.

        A lane leaves what is beyond its share of all that is not settled yet to the next one.
        Otherwise a crowd that came together stays together: one lane settles fifty at a time
        while the other runs as often for three.
        """
        if self._patience is not None:
            self._patience.cancel()
        self._patience, self._is_late = None, False
        queue = self._queue
        unsettled = len(queue) + self._settling
        share = -(-unsettled // len(self._lanes)) if len(queue) > self._alone_max else len(queue)
        count_max = min(share, self._batch_max)
        items = [queue.popleft()]
        weight = items[0].weight
        while queue and len(items) < count_max and weight + queue[0].weight <= BATCH_WEIGHT_MAX:
            items.append(queue.popleft())
            weight += items[-1].weight
        return items


class _Lane:
    """One connection that settles one batch at a time."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        clock: Clock,
        open_accounts: OpenAccounts,
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

    def has_begun(self) -> bool:
        """Whether a transaction is open, in which nothing has been done yet."""
        return self._connection is not None and self._connection.is_in_transaction()

    async def rest(self) -> None:
        """End the transaction that was begun for a next batch, as there is none."""
        await self._roll_back()

    async def settle(self, items: list[Item], *, goes_on: Callable[[], bool]) -> None:
        """Settle the items together and answer them; when that cannot be, find who is to blame.

        Whoever is settled is answered at once, while the search goes on. ``goes_on`` is asked
        before COMMIT whether another batch follows; it is begun in the same round trip then.
        """
        try:
            await self._settle_together(items, goes_on=goes_on)
        except Exception as error:
            if len(items) == 1 or isinstance(error, OutcomeUnknown):
                logger.exception("batch refused")
                for item in items:
                    item.fail(error)
                return
        else:
            for item in items:
                item.resolve()
            return
        half = len(items) // 2
        await self.settle(items[:half], goes_on=goes_on)
        await self.settle(items[half:], goes_on=goes_on)

    async def _settle_together(self, items: list[Item], *, goes_on: Callable[[], bool]) -> None:
        """Run the batch until it has committed; bounded retries of what may be retried.

        Raises :class:`OutcomeUnknown` when the database stays away, and instead of any other
        error once a COMMIT was sent to which no answer came.
        """
        refusals = 0
        patience = Patience()
        unanswered: _Sent | None = None
        while True:
            sent: _Sent | None = None
            try:
                connection = await self.connected()
                if unanswered is not None and await unanswered.has_committed(connection, items):
                    return
                is_last = refusals + 1 >= ATTEMPTS_MAX
                book = await _own(self._prepare(connection, items, is_last=is_last))
                sent = _Sent(book, items)
                await _commit(connection, goes_on=goes_on())
            except Exception as error:
                if self._is_lost(error):
                    unanswered = sent or unanswered
                    await self._hang_up()
                    if not await patience.wait():
                        raise OutcomeUnknown from error
                    continue
                refusals += 1
                await self._roll_back()
                if not self._may_retry(error) or refusals >= ATTEMPTS_MAX:
                    if unanswered is not None:
                        raise OutcomeUnknown from error
                    raise
            else:
                return

    def _is_lost(self, error: Exception) -> bool:
        """Whether the connection is gone, as against a statement having been refused."""
        gone = self._connection is None or self._connection.is_closed()
        return gone or isinstance(error, CONNECTION_LOST)

    def _may_retry(self, error: Exception) -> bool:
        """Whether the same batch may succeed now; forgets what has proved to be wrong."""
        was_full = is_beyond_limits(error)
        if was_full or isinstance(error, storage.LostRowsError):
            self._open_accounts.forget()
        return was_full or may_pass(error)

    async def _prepare(self, connection: Connection, items: list[Item], *, is_last: bool) -> Book:
        """Do everything but the COMMIT and return the book; ``is_last`` is the last attempt."""
        await storage.begin(connection)
        by_kind: dict[type[Work], list[Item]] = {}
        for item in items:
            by_kind.setdefault(type(item.work), []).append(item)
        opened = await self._open_at_once(connection, items) if len(by_kind) == 1 else None
        if opened is None:
            opened = await self._gather_and_open(connection, by_kind)
        facts, batch, open_ids = opened
        book = batch.book
        _decide(items, facts, batch, is_last=is_last)
        self._open_accounts.note(book.booked)
        # Accounts first, because what a kind of work writes may refer to them.
        await storage.record_accounts(connection, book)
        for kind, group in by_kind.items():
            answers = [item.answer for item in group if item.error is None]
            if answers:
                await group[0].work.record(connection, facts[kind], answers, batch)
        await storage.record(connection, book, open_ids=open_ids)
        return book

    async def _open_at_once(self, connection: Connection, items: list[Item]) -> _Opened | None:
        """Lock and look in one round trip, where that is enough for what is asked."""
        work = items[0].work
        foresee: Callable[..., Foreseen | None] | None = getattr(work, "foresee", None)
        facts = foresee([item.request for item in items]) if foresee else None
        if facts is None:
            return None
        lent, wanted_ids = self._lend([facts], facts.added_ids)
        if not wanted_ids:
            return None
        locked = await storage.lock_and_look(
            connection, wanted_ids, facts.transfer_ids, now_us=self._clock()
        )
        if locked is None:
            await storage.begin_anew(connection)
            return None
        self._open_accounts.learn(locked, facts.drawn)
        # The clock once more: it counts from when the transaction has its number, as below.
        book = self._make_book(self._clock(), locked, lent, storage.NOTHING_PRIOR)
        batch = Batch(book=book, now_us=book.now, stops=frozenset())
        return {type(work): facts}, batch, lent.keys()

    async def _gather_and_open(
        self, connection: Connection, by_kind: dict[type[Work], list[Item]]
    ) -> _Opened:
        """Read what each kind of work needs, lock the accounts, release what has run out."""
        stops, next_expiry = await storage.obey(connection)
        # Read after the transaction has its number: whoever waits for all older transactions
        # knows that no row with an earlier timestamp can still appear.
        now_us = self._clock()
        facts = {
            kind: await group[0].work.gather(connection, [i.request for i in group], now_us)
            for kind, group in by_kind.items()
        }
        book, open_ids = await self._open_book(
            connection, list(facts.values()), now_us, expired=(next_expiry or now_us + 1) <= now_us
        )
        return facts, Batch(book=book, now_us=now_us, stops=stops), open_ids

    async def _open_book(
        self, connection: Connection, facts: Collection[Facts], now_us: int, *, expired: bool
    ) -> tuple[Book, Collection[UUID]]:
        """Lock the accounts in one order and release the holds that have run out.

        Returns the book and the ids of those accounts that it holds open, without a balance.
        """
        expired_holds = await storage.lock_expired_holds(connection, now=now_us) if expired else {}
        prior = storage.merge([fact.prior for fact in facts], expired_holds)
        added_ids = {account_id for fact in facts for account_id in fact.added_ids}
        for hold in prior.holds.values():
            added_ids |= {hold.transfer.debit_account_id, hold.transfer.credit_account_id}
        lent, wanted_ids = self._lend(facts, added_ids)
        locked = await storage.lock_balances(connection, wanted_ids)
        self._open_accounts.learn(locked, {i for fact in facts for i in fact.drawn})
        book = self._make_book(now_us, locked, lent, prior)
        book.expire_holds()
        return book, lent.keys()

    def _lend(
        self, facts: Collection[Facts], added_ids: set[UUID]
    ) -> tuple[dict[UUID, Balance], set[UUID]]:
        """Return what is held open without its balance, and the accounts that must be locked."""
        exact_ids = {account_id for fact in facts for account_id in fact.account_ids}
        drawn = add_up(fact.drawn for fact in facts)
        lent = self._open_accounts.lend(added_ids, drawn, exact_ids, kinds=len(facts))
        return lent, (exact_ids | added_ids | drawn.keys()).difference(lent)

    def _make_book(
        self,
        now_us: int,
        locked: dict[UUID, Balance],
        lent: dict[UUID, Balance],
        prior: storage.Prior,
    ) -> Book:
        self._open_accounts.date(lent.values())
        return Book(
            now=now_us,
            balances={**locked, **lent},
            accounts=prior.accounts,
            transfers=prior.transfers,
            holds=prior.holds,
            failed=prior.burnt,
        )

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _roll_back(self) -> None:
        try:
            await (await self.connected()).execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - a connection that cannot roll back is of no more use
            await self._hang_up()


class _Sent:
    """A batch whose COMMIT was sent: what it was to write, and what it was to answer."""

    def __init__(self, book: Book, items: Iterable[Item]) -> None:
        self._book = book
        self._outcomes = [(item.answer, item.error) for item in items]

    async def has_committed(self, connection: Connection, items: Iterable[Item]) -> bool:
        """Look it up; when it has, the items have their answers of then."""
        if not await storage.is_recorded(connection, self._book):
            return False
        for item, outcome in zip(items, self._outcomes, strict=True):
            item.answer, item.error = outcome
        return True


async def _own(work: Awaitable[T]) -> T:
    """Await what a lane does itself; a cancellation from inside of it must not end the lane."""
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        message = "a kind of work was cancelled from within"
        raise RuntimeError(message) from error


def _decide(
    items: Iterable[Item], facts: dict[type[Work], Any], batch: Batch, *, is_last: bool
) -> None:
    """Decide in the order of arrival; one request's fault is undone and stays its own.

    When the facts contradict each other, another process has written between two of the reads,
    and the batch is to be run again; in the last attempt that is an error like any other.
    """
    for item in items:
        before = batch.book.checkpoint()
        item.answer = item.error = None
        try:
            item.answer = item.work.decide(item.request, facts[type(item.work)], batch)
        except Exception as error:
            if isinstance(error, MissingFactError) and not is_last:
                raise
            batch.book.rollback(before)
            item.error = error


async def _commit(connection: Connection, *, goes_on: bool) -> None:
    """COMMIT in a task of its own, so that nothing can cancel it half way.

    A transaction that has failed answers COMMIT with ROLLBACK and no error: that must not pass.
    With ``goes_on`` the next transaction is begun at once; until it reads it holds up nobody.
    """
    statement = "COMMIT AND CHAIN" if goes_on else "COMMIT"
    status = await asyncio.shield(asyncio.ensure_future(connection.execute(statement)))
    if status != "COMMIT":
        message = f"COMMIT was answered with {status}"
        raise RuntimeError(message)
