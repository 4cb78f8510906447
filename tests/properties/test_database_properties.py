"""Whatever is asked of tellers on the real tables: the answers are those of a book of its own.

A machine asks one or two tellers, whose connections are lost now and then, and runs the same
requests one by one through the pure book. In the end a naive replay checks the tables.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import ClassVar, Final
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from tests.factories.ledger import open_connection, open_teller
from tests.factories.moments import NOW_US
from tests.ledger.invariants import COUNTERS, check_ledger, read_tables
from tests.properties.test_book_properties import account_sets, rarely, requests
from tests.proxy import Fault, Proxy, open_proxy
from tests.servers import Database
from tests.unit.ledger.building import Store
from wallet.core.clock import TestClock
from wallet.core.database import Connection
from wallet.core.ids import new_id
from wallet.ledger import patience
from wallet.ledger.book import Book
from wallet.ledger.create import CREATE, CreateAnswer, CreateRequest, create_transfers
from wallet.ledger.rules import (
    LINKED,
    NIL,
    PENDING,
    Account,
    HoldState,
    Transfer,
    TransferCode,
)
from wallet.ledger.teller import Teller

STEP_S: Final = 0.0137
"""Added to every wait, so that no sum of waits comes near to a hold's whole seconds."""

FAULTS: Final = [Fault.NEVER_ARRIVES, Fault.REPLY_IS_LOST]
SIDES: Final = (0, 1)
SIDE_BITS: Final = 16
HOT: Final = UUID(int=3 << SIDE_BITS)
"""An account that both sides add to, and that nothing limits."""


class World:
    """Two tellers on one database: the first one's connection goes through the proxy."""

    def __init__(
        self, runner: asyncio.Runner, url: str, proxy: Proxy, proxied_url: str, clock: TestClock
    ) -> None:
        self.runner, self.proxy, self.clock = runner, proxy, clock
        self._urls = (proxied_url, url)
        self._stacks = [AsyncExitStack(), AsyncExitStack()]
        self.tellers: dict[int, Teller] = {}
        self.connection: Connection | None = None

    async def start(self, number: int) -> None:
        """Start one of the tellers, in the place of the one before it."""
        await self._stacks[number].aclose()
        self._stacks[number] = AsyncExitStack()
        opened = open_teller(self._urls[number], clock=self.clock)
        self.tellers[number] = await self._stacks[number].enter_async_context(opened)

    async def close(self) -> None:
        """Close both."""
        for stack in self._stacks:
            await stack.aclose()


class DatabaseMachine(RuleBasedStateMachine):
    """Requests, time, restarts and lost connections on the real tables, and a store beside them.

    Each example has two sides with accounts and transfers of their own, which may be asked for
    at the same time, and one account that both add to.
    """

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.base = new_id(now_us=NOW_US).int >> 32 << 32
        self.store = Store()
        self.known = [0, 0]
        self.told: dict[UUID, int] = {}

    def id_of(self, identifier: UUID, side: int) -> UUID:
        """Return the id of this example and side for one that the strategies use."""
        if identifier == NIL:
            return NIL
        small = identifier.int if identifier == HOT else identifier.int | (side + 1) << SIDE_BITS
        return UUID(int=self.base | small)

    def accounts_of(self, accounts: Sequence[Account], side: int) -> list[Account]:
        """Return the accounts under ids of their own."""
        return [replace(one, id=self.id_of(one.id, side)) for one in accounts]

    def draw_requests(self, data: st.DataObject, side: int) -> list[list[Transfer]]:
        """Return some requests that have something to do with the state of a side."""
        tail = (1 << SIDE_BITS) - 1
        mine = self.base | (side + 1) << SIDE_BITS
        open_holds = [
            UUID(int=id_.int & tail)
            for id_, hold in self.store.holds.items()
            if hold.state is HoldState.PENDING and id_.int & ~tail == mine
        ]
        drawn = data.draw(requests(known=self.known[side], open_holds=open_holds))
        self.known[side] += len(drawn)
        events = [self.localize(one, side, hot=data.draw(rarely)) for one in drawn]
        cuts = sorted(data.draw(st.sets(st.integers(1, len(events)), max_size=4)))
        return [
            events[start:end]
            for start, end in pairwise([0, *cuts, len(events)])
            if events[start:end]
        ]

    def localize(self, event: Transfer, side: int, *, hot: bool) -> Transfer:
        """Return the event with the ids of this example; ``hot`` ones credit the hot account."""
        is_plain = event.flags & ~(LINKED | PENDING) == 0
        credit = HOT if hot and is_plain else event.credit_account_id
        return replace(
            event,
            id=self.id_of(event.id, side),
            debit_account_id=self.id_of(event.debit_account_id, side),
            credit_account_id=self.id_of(credit, side),
            pending_id=self.id_of(event.pending_id, side),
        )

    def maybe_lose(self, data: st.DataObject) -> None:
        """Have the next COMMIT through the proxy be lost, now and then."""
        self.world.proxy.faults[:] = [data.draw(st.sampled_from(FAULTS))] * data.draw(rarely)

    @initialize(first=account_sets(), second=account_sets())
    def begin(self, first: list[Account], second: list[Account]) -> None:
        """Have some accounts to begin with."""
        self.world.clock.advance(seconds=1 + STEP_S)
        hot = Account(self.id_of(HOT, 0), 1, 1)
        self.create_all([hot, *self.accounts_of(first, 0), *self.accounts_of(second, 1)], 0)

    @rule(accounts=account_sets(), side=st.sampled_from(SIDES), data=st.data())
    def create(self, accounts: list[Account], side: int, data: st.DataObject) -> None:
        """Create accounts, some of which may be there already."""
        self.maybe_lose(data)
        self.create_all(self.accounts_of(accounts, side), data.draw(st.sampled_from(SIDES)))

    def create_all(self, accounts: list[Account], number: int) -> None:
        """Create the accounts with one of the tellers and in the store."""
        request = CreateRequest(accounts=tuple(accounts))
        (answer,) = self.world.runner.run(self.submit(number, [request]))
        book = self.open_book()
        expected = [result.code for result in book.create_accounts(accounts)]
        assert [result.code for result in answer.accounts] == expected
        self.store.write(book)

    def open_book(self) -> Book:
        """Open a book over all of the store, after what has run out was released."""
        book = self.store.open(now=self.world.clock())
        book.expire_holds()
        return book

    async def submit(self, number: int, asked: Sequence[CreateRequest]) -> list[CreateAnswer]:
        """Submit the requests at once, as one batch, to one of the tellers."""
        teller = self.world.tellers[number]
        answers: list[CreateAnswer] = await asyncio.gather(
            *(teller.submit(CREATE, one) for one in asked)
        )
        return answers

    @rule(data=st.data(), side=st.sampled_from(SIDES), number=st.sampled_from(SIDES))
    def ask(self, data: st.DataObject, side: int, number: int) -> None:
        """Settle some requests of one side as one batch."""
        self.maybe_lose(data)
        asked = self.draw_requests(data, side)
        batch = [CreateRequest(transfers=tuple(one)) for one in asked]
        self.compare(asked, self.world.runner.run(self.submit(number, batch)))

    @rule(data=st.data())
    def ask_both(self, data: st.DataObject) -> None:
        """Settle requests of both sides at the same time, each with a teller of its own."""
        self.maybe_lose(data)
        asked = [self.draw_requests(data, side) for side in SIDES]
        batches = [[CreateRequest(transfers=tuple(one)) for one in of_side] for of_side in asked]

        async def submit_both() -> list[list[CreateAnswer]]:
            # Holds that have run out are released by whoever comes first, perhaps late for the
            # other; so let somebody come first.
            await create_transfers(self.world.tellers[1], [])
            return await asyncio.gather(*(self.submit(side, batches[side]) for side in SIDES))

        for of_side, answers in zip(asked, self.world.runner.run(submit_both()), strict=True):
            self.compare(of_side, answers)

    def compare(self, asked: list[list[Transfer]], answers: list[CreateAnswer]) -> None:
        """Run the requests one by one through books of their own and compare every result."""
        for request, answer in zip(asked, answers, strict=True):
            book = self.open_book()
            expected = [(result.code, result.amount) for result in book.create_transfers(request)]
            assert [(result.code, result.amount) for result in answer.transfers] == expected
            self.store.write(book)
            for event, result in zip(request, answer.transfers, strict=True):
                if result.code is TransferCode.CREATED:
                    self.told[event.id] = result.timestamp
                elif result.code is TransferCode.EXISTS:
                    assert result.timestamp == self.told[event.id]
                else:
                    assert result.timestamp == 0

    @rule(seconds=st.integers(0, 2))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.world.clock.advance(seconds=seconds + STEP_S)

    @rule(number=st.sampled_from(SIDES))
    def restart(self, number: int) -> None:
        """Replace a teller; whatever it remembered is gone."""
        self.world.proxy.faults.clear()
        self.world.runner.run(self.world.start(number))

    def teardown(self) -> None:
        """Hold the tables against a replay of themselves, and against the store."""
        self.world.proxy.faults.clear()
        if self.store.accounts:
            self.world.runner.run(self.check_tables())

    async def check_tables(self) -> None:
        """Release what has run out, and compare everything."""
        await create_transfers(self.world.tellers[1], [])
        self.store.write(self.open_book())
        assert self.world.connection is not None
        last_id = UUID(int=self.base | 2**32 - 1)
        tables = await read_tables(
            self.world.connection, first_id=UUID(int=self.base), last_id=last_id
        )
        check_ledger(tables, tellers=2)
        assert tables.transfers.keys() == self.store.transfers.keys() == self.told.keys()
        assert tables.burnt == self.store.burnt
        assert {id_: row["state"] for id_, row in tables.holds.items()} == {
            id_: str(hold.state) for id_, hold in self.store.holds.items()
        }
        for id_, balance in self.store.balances.items():
            stored = tables.balances[id_]
            fields = (*COUNTERS, "closed", "transfer_count")
            assert [stored[field] for field in fields] == [getattr(balance, f) for f in fields]


@pytest.fixture
def world(module_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two tellers on the module's database."""
    monkeypatch.setattr(patience, "RECONNECT_PAUSE_S", 0.001)
    url = module_database.application_url
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        proxy, proxied_url = runner.run(stack.enter_async_context(open_proxy(url)))
        world = World(runner, url, proxy, proxied_url, TestClock(NOW_US))
        world.connection = runner.run(stack.enter_async_context(open_connection(url)))
        for number in SIDES:
            runner.run(world.start(number))
        yield world
        runner.run(world.close())
        runner.run(stack.aclose())


def test_tellers_on_the_real_tables_answer_as_a_book_would(world: World) -> None:
    DatabaseMachine.world = world
    run_state_machine_as_test(
        DatabaseMachine,
        settings=settings(
            max_examples=settings().max_examples // 2, stateful_step_count=20, deadline=None
        ),
    )
