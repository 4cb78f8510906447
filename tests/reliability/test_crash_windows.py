"""Every moment at which a payment can be cut off, one by one, and what the same key tells then."""

import asyncio
import secrets
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.proxy import Fault, open_proxy
from tests.reliability.backends import backends_of_tills, held_payments, wait_until_gone
from tests.reliability.faulty_till import BATCH_MIN
from tests.reliability.judge import judge, look_up
from tests.reliability.load import PATH, Answer, Entry, Ticket, ask, make_ticket
from tests.reliability.processes import HOST, Till, is_alive, running_till
from tests.reliability.scene import Scene, make_scene, payees
from tests.servers import Database
from wallet.payments.rules import CARD, CPM_CODE
from wallet.replay.client import HttpClient

IN_FLIGHT: Final = 64
SAME_KEY: Final = 100


class Counter:
    """A shop's counter with a till that lives, and tills beside it that die."""

    def __init__(self, scene: Scene, till: Till, logs: Path) -> None:
        self.scene = scene
        self.till = till
        self._logs = logs
        self._history: list[Entry] = []

    def ticket(
        self,
        *,
        name: str | None = None,
        amount_yen: int = 120,
        code: str | None = None,
        wallet: int = 0,
    ) -> Ticket:
        """Return a payment by card, or by a code."""
        return make_ticket(
            name or f"payment-{secrets.token_hex(8)}",
            self.scene.merchants[0],
            amount_yen=amount_yen,
            instrument=CPM_CODE if code else CARD,
            value=code or self.scene.cards[wallet],
        )

    async def die(self, window: str, *tickets: Ticket) -> list[Entry]:
        """Ask a till that dies in the window; return the entries as the tables then are."""
        url = self.scene.database_url
        others = await backends_of_tills(url)
        with running_till(
            database_url=url,
            log=self._logs / f"{window}.log",
            command=(sys.executable, "-m", "tests.reliability.faulty_till", window),
        ) as till:
            backends = await backends_of_tills(url) - others
            answers = await self._crowd(till, tickets)
            till.wait_for_death()
        assert None in answers, "everybody was answered by a till that should have died"
        await wait_until_gone(url, backends)
        return await self.entries(tickets, answers)

    async def _crowd(self, till: Till, tickets: tuple[Ticket, ...]) -> list[Answer | None]:
        """Send all tickets so that the last ones wait for the first, and go on together."""
        if len(tickets) == 1:
            return [await ask_once(till.base_url, tickets[0])]
        async with held_payments(self.scene.database_url) as held:
            asking = []
            for number, ticket in enumerate(tickets, 1):
                asking.append(asyncio.create_task(ask_once(till.base_url, ticket)))
                if number <= 2:  # One for each lane, and the others queue.
                    await held.wait_for(number)
            await all_read(till)
        return list(await asyncio.gather(*asking))

    async def entries(
        self, tickets: tuple[Ticket, ...], answers: list[Answer | None]
    ) -> list[Entry]:
        """Write down what was asked and answered, and look up what the tables say."""
        entries = [Entry(ticket) for ticket in tickets]
        for entry, answer in zip(entries, answers, strict=True):
            entry.answers += [] if answer is None else [answer]
        await look_up(self.scene.database_url, payees(self.scene), entries)
        self._history += entries
        return entries

    async def ask(self, ticket: Ticket) -> Answer:
        """Ask the till that lives."""
        answer = await ask_once(self.till.base_url, ticket)
        assert answer is not None
        return answer

    async def ask_again(self, entries: list[Entry]) -> None:
        """Ask again, twice: the key tells what had become of it, and then all is well."""
        for _ in range(2):
            answers = await asyncio.gather(*(self.ask(entry.ticket) for entry in entries))
            for entry, answer in zip(entries, answers, strict=True):
                told = bool(entry.answers) or entry.recorded_id is not None
                assert answer.status == 201
                assert answer.replayed == told, "the key did not tell what had become of it"
                entry.answers.append(answer)
        problems = await judge(self.scene.database_url, payees(self.scene), self._history)
        assert not problems, "\n".join(problems)


async def ask_once(base_url: str, ticket: Ticket) -> Answer | None:
    """Ask on a connection of its own; None when no answer came."""
    client = HttpClient(base_url)
    try:
        return await ask(client, ticket)
    except OSError:
        return None
    finally:
        client.close()


async def all_read(till: Till) -> None:
    """Wait until the till has read what was sent: what is sent later is answered later."""
    for _ in range(3):
        await asyncio.sleep(0)
        assert await asyncio.to_thread(is_alive, till.port)


def send_unheard(till: Till, ticket: Ticket) -> socket.socket:
    """Send a request on a plain socket, and leave the answer to whoever wants to read it."""
    head = "".join(f"{name}: {value}\r\n" for name, value in ticket.headers.items())
    line = f"POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {len(ticket.body)}\r\n"
    connection = socket.create_connection((HOST, till.port), timeout=10)
    connection.sendall(f"{line}{head}\r\n".encode() + ticket.body)
    return connection


def reset(connection: socket.socket) -> None:
    """Hang up with a reset, as a crashed device or a broken line does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture(scope="module")
def scene(module_database: Database) -> Scene:
    """Return the city of this module."""
    return asyncio.run(make_scene(module_database.application_url, wallets=4, merchants=1))


@pytest.fixture(scope="module")
def counter(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """Yield the counter of this module."""
    logs = tmp_path_factory.mktemp("tills")
    with running_till(database_url=scene.database_url, log=logs / "living.log") as till:
        yield Counter(scene, till, logs)


async def test_a_till_that_dies_before_begin_has_taken_nothing(counter: Counter) -> None:
    entries = await counter.die("before_begin", counter.ticket())
    assert entries[0].recorded_id is None
    await counter.ask_again(entries)


async def test_a_till_that_dies_with_its_locks_has_taken_nothing(counter: Counter) -> None:
    (code,) = await counter.scene.codes(1)
    entries = await counter.die("after_lock", counter.ticket(code=code))
    assert entries[0].recorded_id is None
    await counter.ask_again(entries)


async def test_a_till_that_dies_before_commit_has_taken_nothing(counter: Counter) -> None:
    (code,) = await counter.scene.codes(1)
    entries = await counter.die("before_commit", counter.ticket(code=code))
    assert entries[0].recorded_id is None
    await counter.ask_again(entries)


async def test_a_till_that_dies_while_it_commits_is_told_by_the_key(counter: Counter) -> None:
    (code,) = await counter.scene.codes(1)
    await counter.ask_again(await counter.die("while_committing", counter.ticket(code=code)))


async def test_a_till_that_dies_before_its_answer_has_taken_the_money_once(
    counter: Counter,
) -> None:
    (code,) = await counter.scene.codes(1)
    entries = await counter.die("after_commit", counter.ticket(code=code))
    assert entries[0].recorded_id is not None
    await counter.ask_again(entries)


@pytest.mark.parametrize("fault", [Fault.REPLY_IS_LOST, Fault.NEVER_ARRIVES])
async def test_a_commit_whose_reply_is_lost_is_looked_up_before_the_answer(
    counter: Counter, tmp_path: Path, fault: Fault
) -> None:
    tickets = (counter.ticket(), counter.ticket(wallet=1))
    async with open_proxy(counter.scene.database_url) as (proxy, url):
        till = Till(database_url=url, log=tmp_path / "till.log")
        try:
            await asyncio.to_thread(till.start)
            proxy.faults.append(fault)
            answers = [await ask_once(till.base_url, ticket) for ticket in tickets]
        finally:
            await asyncio.to_thread(till.close)
    assert not proxy.faults
    assert [a and (a.status, a.replayed) for a in answers] == [(201, False), (201, False)]
    await counter.ask_again(await counter.entries(tickets, answers))


async def test_an_answer_that_nobody_read_is_given_again(counter: Counter) -> None:
    ticket = counter.ticket()
    connection = await asyncio.to_thread(send_unheard, counter.till, ticket)
    arrived = await asyncio.to_thread(connection.recv, 12, socket.MSG_PEEK)
    assert arrived == b"HTTP/1.1 201"
    reset(connection)
    entries = await counter.entries((ticket,), [None])
    assert entries[0].recorded_id is not None
    await counter.ask_again(entries)


async def test_who_hangs_up_while_paying_has_paid_once_and_disturbs_nobody(
    counter: Counter,
) -> None:
    tickets = (counter.ticket(), counter.ticket(wallet=1))
    async with held_payments(counter.scene.database_url) as held:
        connection = await asyncio.to_thread(send_unheard, counter.till, tickets[0])
        await held.wait_for(1)
        neighbour = asyncio.create_task(counter.ask(tickets[1]))
        await all_read(counter.till)
        reset(connection)
        await all_read(counter.till)
    answer = await neighbour
    assert answer.status == 201
    assert (await counter.ask(tickets[0])).replayed
    await counter.ask_again(await counter.entries(tickets, [None, answer]))


async def test_a_hundred_requests_under_one_key_are_one_payment(counter: Counter) -> None:
    (code,) = await counter.scene.codes(1)
    ticket = counter.ticket(code=code)
    async with held_payments(counter.scene.database_url) as held:
        asking = [asyncio.create_task(counter.ask(ticket))]
        await held.wait_for(1)
        asking += [asyncio.create_task(counter.ask(ticket)) for _ in range(SAME_KEY - 1)]
        await held.wait_for(2)
        await all_read(counter.till)
    answers = await asyncio.gather(*asking)
    assert sum(not answer.replayed for answer in answers) == 1
    assert all(answer.told == answers[0].told for answer in answers)
    await counter.ask_again(await counter.entries((ticket,), [answers[0]]))


async def test_a_key_that_survived_a_crash_pays_for_nothing_else(counter: Counter) -> None:
    entries = await counter.die("after_commit", counter.ticket(amount_yen=500))
    recorded_id = entries[0].recorded_id
    assert recorded_id is not None
    other = counter.ticket(name=entries[0].ticket.name, amount_yen=501)
    answer = await counter.ask(other)
    assert (answer.status, answer.told["code"]) == (422, "idempotency_conflict")
    assert answer.told["different"] == ["/amount/amount"]
    assert answer.payment_id == f"pay_{recorded_id.hex}"
    await counter.ask_again(entries)


async def test_a_batch_dies_as_a_whole_with_64_requests_in_flight(counter: Counter) -> None:
    codes = await counter.scene.codes(IN_FLIGHT)
    entries = await counter.die("in_a_crowd", *(counter.ticket(code=code) for code in codes))
    assert sum(entry.recorded_id is None for entry in entries) >= BATCH_MIN
    await counter.ask_again(entries)
