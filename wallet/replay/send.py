"""Send the payments: as many at a time as asked for, each with a code that was issued just now.

Whoever gets no answer, or a 503, asks again with the same key: the key makes that safe, and the
answer then is the one that was missed.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from time import perf_counter
from typing import Final
from uuid import UUID

import msgspec
from rich.progress import Progress, TaskID
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.auth.rules import Acr, FactorClass
from wallet.core.clock import Clock, to_datetime
from wallet.core.refusals import RefusedError
from wallet.payments.issue_codes import EXPIRES_S_MAX, GivenTo, issue_codes
from wallet.payments.rules import Level
from wallet.replay.client import HttpClient, Response
from wallet.replay.prepare import Scene
from wallet.replay.read_payments import RecordedPayment

ATTEMPTS_MAX: Final = 8
RETRY_AFTER_S_MAX: Final = 5.0
CODES_AHEAD: Final = 1_000
"""Codes issued at once; the next ones are made while these are being paid with."""

_CREATED: Final = 201
_RETRIED: Final = frozenset({429, 503})
_PATH: Final = "/v1/payments"


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """One payment, ready to be sent."""

    merchant_payment_id: str
    amount_yen: int
    headers: Mapping[str, str]
    body: bytes


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a ticket: a payment's id, a refusal's code, both, or no answer at all."""

    merchant_payment_id: str
    amount_yen: int
    latency_ms: float
    retries: int
    paid: bool = False
    payment_id: str | None = None
    refusal: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the server has said what became of it."""
        return self.paid or self.refusal is not None


class _Answer(msgspec.Struct, frozen=True, gc=False):
    id: str | None = None
    payment_id: str | None = None
    code: str = "unreadable_answer"


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


class Sending(msgspec.Struct, frozen=True):
    """What sending works with."""

    engine: AsyncEngine
    pepper: bytes
    clock: Clock
    base_url: str
    concurrency: int
    progress: Progress


async def check_server(sending: Sending, scene: Scene) -> None:
    """Refuse to begin when nobody answers, or when it is another city's server.

    Raises :class:`RefusedError` ``server_unreachable`` or ``server_of_another_city``.
    """
    client = HttpClient(sending.base_url)
    key = next(iter(scene.tills.values())).api_key
    try:
        response = await client.request("POST", _PATH, {"authorization": f"Bearer {key}"})
    except OSError as error:
        raise RefusedError(
            "server_unreachable", url=sending.base_url, error=str(error), try_this="make run"
        ) from None
    finally:
        client.close()
    if _read(response).code in ("unauthenticated", "key_wrong_mode"):
        # The key is in our database; a server that does not know it has another one.
        raise RefusedError("server_of_another_city", url=sending.base_url)


async def send(
    sending: Sending, *, payments: Sequence[RecordedPayment], scene: Scene
) -> list[Outcome]:
    """Send every payment and return what became of each, in the order of the answers."""
    tickets: asyncio.Queue[Ticket | None] = asyncio.Queue(maxsize=2 * CODES_AHEAD)
    outcomes: list[Outcome] = []
    task = sending.progress.add_task("Paying", total=len(payments))
    async with asyncio.TaskGroup() as group:
        group.create_task(_produce(sending, payments, scene, tickets))
        for _ in range(sending.concurrency):
            group.create_task(_work(sending, tickets, outcomes, task))
    return outcomes


async def _produce(
    sending: Sending,
    payments: Sequence[RecordedPayment],
    scene: Scene,
    tickets: "asyncio.Queue[Ticket | None]",
) -> None:
    async for ticket in _tickets(sending, payments, scene):
        await tickets.put(ticket)
    for _ in range(sending.concurrency):
        await tickets.put(None)


async def _tickets(
    sending: Sending, payments: Sequence[RecordedPayment], scene: Scene
) -> AsyncIterator[Ticket]:
    for start in range(0, len(payments), CODES_AHEAD):
        chunk = payments[start : start + CODES_AHEAD]
        wallet_ids: list[UUID] = [scene.wallets[payment.customer] for payment in chunk]
        codes = await issue_codes(
            sending.engine,
            wallet_ids=wallet_ids,
            pepper=sending.pepper,
            now_us=sending.clock(),
            expires_s=EXPIRES_S_MAX,
            given_to=_after_pin(sending.clock()),
        )
        for payment, code in zip(chunk, codes, strict=True):
            yield _ticket(payment, code, scene)


def _after_pin(now_us: int) -> GivenTo:
    """Return that a code is for somebody who has just entered a PIN.

    A recording does not say who was asked for one; what an amount asks for beyond is refused.
    """
    classes = (FactorClass.KNOWLEDGE, FactorClass.POSSESSION)
    return GivenTo(level=Level(Acr.PIN, classes, to_datetime(now_us)))


def _ticket(payment: RecordedPayment, code: str, scene: Scene) -> Ticket:
    till = scene.tills[payment.terminal]
    # The merchants are new in every run, so the line of the file is a good name for a payment.
    name = f"line-{payment.line}"
    body = {
        "merchant_payment_id": name,
        "amount": {"amount": payment.amount_yen, "currency": "JPY"},
        "instrument": {"type": "cpm_code", "value": code},
        "terminal_id": till.terminal_id,
    }
    headers = {
        "authorization": f"Bearer {till.api_key}",
        "content-type": "application/json",
        "idempotency-key": name,
    }
    return Ticket(name, payment.amount_yen, headers, _encode(body))


async def _work(
    sending: Sending,
    tickets: "asyncio.Queue[Ticket | None]",
    outcomes: list[Outcome],
    task: TaskID,
) -> None:
    client = HttpClient(sending.base_url)
    try:
        while (ticket := await tickets.get()) is not None:
            outcomes.append(await _pay(client, ticket))
            sending.progress.advance(task)
    finally:
        client.close()


async def _pay(client: HttpClient, ticket: Ticket) -> Outcome:
    """Send one ticket until it is answered, at most :data:`ATTEMPTS_MAX` times."""
    begun_s = perf_counter()
    response: Response | None = None
    for attempt in range(ATTEMPTS_MAX):
        try:
            response = await client.request("POST", _PATH, ticket.headers, ticket.body)
        except OSError:  # TimeoutError is one; the server may or may not have acted.
            response = None
        if response is not None and response.status not in _RETRIED:
            return _outcome(ticket, response, begun_s=begun_s, retries=attempt)
        if attempt < ATTEMPTS_MAX - 1:
            await asyncio.sleep(_pause_s(response, attempt))
    if response is None:
        latency_ms = (perf_counter() - begun_s) * 1000
        return Outcome(
            ticket.merchant_payment_id, ticket.amount_yen, latency_ms, retries=ATTEMPTS_MAX - 1
        )
    return _outcome(ticket, response, begun_s=begun_s, retries=ATTEMPTS_MAX - 1)


def _pause_s(response: Response | None, attempt: int) -> float:
    """Wait as long as the server says, or twice as long each time; never long."""
    told = "" if response is None else response.headers.get("retry-after", "")
    pause_s = float(told) if told.isdigit() else 0.1 * 2.0**attempt
    return min(pause_s, RETRY_AFTER_S_MAX)


def _outcome(ticket: Ticket, response: Response, *, begun_s: float, retries: int) -> Outcome:
    latency_ms = (perf_counter() - begun_s) * 1000
    answer = _read(response)
    paid = response.status == _CREATED
    return Outcome(
        ticket.merchant_payment_id,
        ticket.amount_yen,
        latency_ms,
        retries,
        paid,
        answer.id if paid else answer.payment_id,
        None if paid else answer.code,
    )


def _read(response: Response) -> _Answer:
    try:
        return _decode(response.body)
    except msgspec.MsgspecError:
        return _Answer(code=f"http_{response.status}")
