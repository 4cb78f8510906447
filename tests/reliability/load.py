"""Concurrent customers who never lose their patience, and the history of what each was told.

A request that got no answer, or a 503, is sent again under the same key until it is answered.
Some are given up instead, some ask once more although they know, some show a code twice, and some
ask again while their first request is still under way.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import msgspec

from tests.factories.merchants import Merchant
from tests.reliability.scene import Scene
from wallet.core.ids import public_id
from wallet.payments.rules import CARD, CPM_CODE
from wallet.replay.client import HttpClient, Response

PATH: Final = "/v1/payments"
CLIENTS: Final = 16
CODES: Final = 400
"""One-time codes in stock; while they are gone customers pay by card."""

AMOUNT_YEN_MAX: Final = 400
HURRIED_TIMEOUT_S: Final = 0.7
"""Shorter than a restart, so that a second request meets the first one under way."""

PATIENT_TIMEOUT_S: Final = 30.0
SILENCE_TIMEOUT_S: Final = 30.0

GIVEN_UP: Final = 0.05
ASKED_TWICE: Final = 0.1
SHOWN_TWICE: Final = 0.05

_PAUSE_S: Final = 0.03
_encode = msgspec.json.Encoder().encode


class Ticket(msgspec.Struct, frozen=True):
    """One payment to make: ``name`` is its idempotency key and the merchant's own id for it."""

    name: str
    amount_yen: int
    instrument: str
    value: str
    headers: Mapping[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a request was told, and whether as something that had been told before."""

    status: int
    replayed: bool
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        """The body; a problem without what is each request's own."""
        told: dict[str, Any] = msgspec.json.decode(self.body)
        return {name: told[name] for name in told if name not in ("instance", "support_code")}

    @property
    def payment_id(self) -> str | None:
        """The payment that the answer is about, None when it is about none."""
        return self.told.get("payment_id" if self.status != 201 else "id")


class Entry:
    """A line of the history. ``doubts`` counts requests that brought no answer."""

    __slots__ = ("answers", "doubts", "given_up", "recorded_id", "ticket", "was_looked_up")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.answers: list[Answer] = []
        self.doubts = 0
        self.given_up = False
        self.was_looked_up = False
        self.recorded_id: UUID | None = None

    def look_up(self, recorded_id: UUID | None) -> None:
        """Note what the tables say of a request in doubt that nobody is working on any more."""
        self.was_looked_up = True
        self.recorded_id = recorded_id

    def doubt(self) -> None:
        """Note that a request brought no answer; what was looked up before is no longer known."""
        self.doubts += 1
        self.was_looked_up = False


def make_ticket(
    name: str, merchant: Merchant, *, amount_yen: int, instrument: str, value: str
) -> Ticket:
    """Return a ticket for a payment at the merchant."""
    headers = {
        "authorization": f"Bearer {merchant.api_key}",
        "content-type": "application/json",
        "idempotency-key": name,
    }
    body = {
        "merchant_payment_id": name,
        "amount": {"amount": amount_yen, "currency": "JPY"},
        "instrument": {"type": instrument, "value": value},
        "terminal_id": public_id("ter", merchant.terminal_id),
    }
    return Ticket(name, amount_yen, instrument, value, headers, _encode(body))


async def ask(client: HttpClient, ticket: Ticket) -> Answer:
    """Send the ticket once and return the answer; raises as the client does."""
    return answer_of(await client.request("POST", PATH, ticket.headers, ticket.body))


def answer_of(response: Response) -> Answer:
    """Return a response as an answer."""
    return Answer(
        status=response.status,
        replayed="idempotent-replayed" in response.headers,
        body=response.body,
    )


class Load:
    """The customers; :meth:`running` has them pay, :meth:`hold` stops them from sending."""

    def __init__(self, scene: Scene, base_url: str, *, rng: random.Random) -> None:
        self.history: list[Entry] = []
        self.problems: list[str] = []
        self._answered = 0
        self._scene = scene
        self._base_url = base_url
        self._rng = rng
        self._codes: deque[str] = deque()
        self._shown: deque[str] = deque(maxlen=CLIENTS)
        self._may_send = asyncio.Event()
        self._is_silent = asyncio.Event()
        self._is_enough = asyncio.Event()
        self._enough = 0
        self._under_way = 0
        self._ending = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the customers pay; at the end everybody is answered who has not given up."""
        self._may_send.set()
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                timeout_s = HURRIED_TIMEOUT_S if number % 2 else PATIENT_TIMEOUT_S
                group.create_task(self._pay_and_pay(timeout_s))
            yield
            self.go_on()
            self._ending = True

    async def refill(self) -> None:
        """Fill up the stock of codes; the database must be there."""
        self._codes.extend(await self._scene.codes(CODES - len(self._codes)))

    def hold(self) -> None:
        """Let nobody send; requests under way stay under way."""
        self._may_send.clear()

    def go_on(self) -> None:
        """Let everybody send again."""
        self._may_send.set()

    async def silence(self) -> list[Entry]:
        """Wait, held, until no request is under way, and return those that are in doubt."""
        async with asyncio.timeout(SILENCE_TIMEOUT_S):
            await self._is_silent.wait()
        return [e for e in self.history if not e.answers and not e.given_up and e.doubts]

    async def progress(self) -> float:
        """Wait until answers come that were asked for after now; return the seconds it took."""
        begun_s = time.monotonic()
        self._enough = self._answered + CLIENTS + 1
        self._is_enough.clear()
        async with asyncio.timeout(SILENCE_TIMEOUT_S):
            await self._is_enough.wait()
        return time.monotonic() - begun_s

    async def ask_again(self, entries: Collection[Entry]) -> None:
        """Ask once more what became of each, long after it was told."""
        client = HttpClient(self._base_url)
        try:
            for entry in entries:
                await self._ask(client, entry)
        finally:
            client.close()

    async def _pay_and_pay(self, timeout_s: float) -> None:
        client = HttpClient(self._base_url, timeout_s=timeout_s)
        try:
            while not self._ending:
                entry = Entry(self._draw())
                self.history.append(entry)
                while not entry.given_up and not entry.answers:
                    await self._ask(client, entry)
                if not entry.given_up and self._rng.random() < ASKED_TWICE:
                    await self._ask(client, entry)
        finally:
            client.close()

    async def _ask(self, client: HttpClient, entry: Entry) -> None:
        await self._may_send.wait()
        self._under_way += 1
        self._is_silent.clear()
        try:
            answer = await ask(client, entry.ticket)
        except OSError:
            answer = None
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._is_silent.set()
        if answer is not None and answer.status != 503:
            self._note(entry, answer)
            return
        entry.doubt()
        entry.given_up = not entry.answers and self._rng.random() < GIVEN_UP
        await asyncio.sleep(_PAUSE_S)

    def _note(self, entry: Entry, answer: Answer) -> None:
        """Write the answer down; after a look into the tables it is known what it must be."""
        self._answered += 1
        if self._answered >= self._enough:
            self._is_enough.set()
        must_be_replayed = bool(entry.answers) or entry.recorded_id is not None
        if (entry.answers or entry.was_looked_up) and answer.replayed != must_be_replayed:
            self.problems.append(
                f"{entry.ticket.name} was answered as {'old' if answer.replayed else 'new'}"
            )
        entry.was_looked_up = False
        entry.answers.append(answer)

    def _draw(self) -> Ticket:
        merchants, rng = self._scene.merchants, self._rng
        # Half of all customers are in one shop.
        merchant = merchants[0] if rng.random() < 0.5 else rng.choice(merchants)
        instrument, value = CARD, rng.choice(self._scene.cards)
        if self._codes and rng.random() < 0.5:
            instrument, value = CPM_CODE, self._draw_code()
        return make_ticket(
            f"payment-{len(self.history)}",
            merchant,
            amount_yen=rng.randint(1, AMOUNT_YEN_MAX),
            instrument=instrument,
            value=value,
        )

    def _draw_code(self) -> str:
        if self._shown and self._rng.random() < SHOWN_TWICE:
            return self._rng.choice(self._shown)
        code = self._codes.popleft()
        self._shown.append(code)
        return code
