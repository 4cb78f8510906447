"""Sending: every payment once, asked again until it is answered, with the same key."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rich.progress import Progress

from tests.factories.city import City, make_city
from tests.factories.moments import NOW, PEPPER
from tests.replay.scripted import HANG_UP, Script, answer, scripted
from tests.servers import Database
from wallet.core.refusals import RefusedError
from wallet.replay import send as room
from wallet.replay.prepare import Scene, Till
from wallet.replay.read_payments import RecordedPayment
from wallet.replay.send import Outcome, Sending, check_server, send

CREATED = answer(201, b'{"id": "pay_1", "status": "succeeded"}')
BUSY = answer(503, b'{"code": "overloaded"}', "Retry-After: 0")
DECLINED = answer(402, b'{"code": "balance_insufficient", "payment_id": "pay_2"}')


@pytest.fixture
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield the module's city."""
    async with make_city(module_database.application_url) as city:
        yield city


def sending_to(city: City, url: str, *, concurrency: int = 1) -> Sending:
    """Return what sending works with."""
    progress = Progress(disable=True)
    return Sending(city.engine, PEPPER, city.clock, url, concurrency, progress)


def scene_of(city: City) -> Scene:
    """Return a scene of one customer and one till."""
    till = Till(f"ter_{city.merchant.terminal_id.hex}", city.merchant.api_key)
    return Scene({"c": city.wallet_id}, {"t": till}, [city.merchant.id])


async def send_to(
    city: City, script: Script, *, payments: int = 1, concurrency: int = 1
) -> list[Outcome]:
    """Send some payments to the server that plays the script."""
    recorded = [RecordedPayment(n, NOW, "c", "t", 100 + n) for n in range(2, 2 + payments)]
    sending = sending_to(city, script.url, concurrency=concurrency)
    return await send(sending, payments=recorded, scene=scene_of(city))


def said(outcome: Outcome) -> tuple[bool, int, str | None, str | None]:
    """Return what became of a payment, its latency left out."""
    return outcome.paid, outcome.retries, outcome.payment_id, outcome.refusal


def body_of(request: bytes) -> dict[str, Any]:
    """Return the JSON of a request."""
    body: dict[str, Any] = json.loads(request.partition(b"\r\n\r\n")[2])
    return body


async def test_a_payment_is_asked_for_as_the_api_wants_it(city: City) -> None:
    async with scripted(CREATED) as script:
        (outcome,) = await send_to(city, script)
    assert said(outcome) == (True, 0, "pay_1", None)
    (request,) = script.requests
    head = request.partition(b"\r\n\r\n")[0].decode()
    assert head.startswith("POST /v1/payments HTTP/1.1\r\n")
    assert f"authorization: Bearer {city.merchant.api_key}" in head
    assert "idempotency-key: line-2" in head
    body = body_of(request)
    code = body["instrument"].pop("value")
    assert code.startswith("code_")
    assert body == {
        "merchant_payment_id": "line-2",
        "amount": {"amount": 102, "currency": "JPY"},
        "instrument": {"type": "cpm_code"},
        "terminal_id": f"ter_{city.merchant.terminal_id.hex}",
    }


@pytest.mark.parametrize("trouble", [BUSY, HANG_UP], ids=["busy", "hang-up"])
async def test_who_was_not_answered_asks_again_in_the_very_same_words(
    city: City, trouble: bytes | None
) -> None:
    async with scripted(trouble, CREATED) as script:
        (outcome,) = await send_to(city, script)
    assert said(outcome) == (True, 1, "pay_1", None)
    assert script.requests[0] == script.requests[1]


async def test_a_refusal_is_an_answer_and_is_not_asked_again(city: City) -> None:
    async with scripted(DECLINED) as script:
        (outcome,) = await send_to(city, script)
    assert said(outcome) == (False, 0, "pay_2", "balance_insufficient")
    assert outcome.answered
    assert len(script.requests) == 1


async def test_an_answer_that_cannot_be_read_is_named_by_its_status(city: City) -> None:
    async with scripted(answer(500, b"<html>")) as script:
        (outcome,) = await send_to(city, script)
    assert said(outcome) == (False, 0, None, "http_500")


async def test_who_is_never_answered_says_so_in_the_end(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ATTEMPTS_MAX", 2)
    async with scripted(HANG_UP) as script:
        (outcome,) = await send_to(city, script)
    assert said(outcome) == (False, 1, None, None)
    assert not outcome.answered
    assert len(script.requests) == 2


async def test_every_payment_is_sent_once_by_as_many_as_were_asked_for(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CODES_AHEAD", 4)  # Codes come in more than one portion.
    async with scripted(CREATED) as script:
        outcomes = await send_to(city, script, payments=10, concurrency=3)
    names = {f"line-{n}" for n in range(2, 12)}
    assert {outcome.merchant_payment_id for outcome in outcomes} == names
    bodies = [body_of(request) for request in script.requests]
    assert {body["merchant_payment_id"] for body in bodies} == names
    assert len({body["instrument"]["value"] for body in bodies}) == len(bodies) == 10
    assert script.connections == 3


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(401, b'{"code": "unauthenticated"}'), "server_of_another_city"),
        (answer(401, b'{"code": "key_wrong_mode"}'), "server_of_another_city"),
        (HANG_UP, "server_unreachable"),
    ],
    ids=["unknown", "mode", "hang-up"],
)
async def test_another_citys_server_is_sent_nothing(
    city: City, reply: bytes | None, code: str
) -> None:
    async with scripted(reply) as script:
        with pytest.raises(RefusedError) as refused:
            await check_server(sending_to(city, script.url), scene_of(city))
    assert refused.value.refusal.code == code
    assert refused.value.refusal.facts["url"] == script.url


async def test_a_server_that_knows_the_key_is_the_right_one(city: City) -> None:
    async with scripted(answer(400, b'{"code": "body_invalid"}')) as script:
        await check_server(sending_to(city, script.url), scene_of(city))
    assert len(script.requests) == 1
