"""Refreshing: one successor for each generation, and the end of a session that was copied."""

import asyncio
import json
import sys
from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import (
    REFRESH_PATH,
    Phone,
    call,
    events_of,
    make_phone,
    refresh,
    sign_in,
)
from tests.servers import ROOT, Database
from tests.soft_device import SoftDevice
from wallet.auth.authenticate import Caller
from wallet.auth.open_session import RESIDENT, STAFF
from wallet.auth.proofs import PROOF_REPLAYED, UNAUTHENTICATED
from wallet.auth.refresh_session import GRACE_S, Request, refresh_session
from wallet.auth.tokens import Tokens
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read
from wallet.core.refusals import Refusal

_STATE = text("SELECT generation, revoked_because FROM session WHERE id = :id")

# Another process of the same city: it is given requests, waits for the word, and sends them all.
_RACER = """
import asyncio, json, sys
import msgspec
from tests.factories.moments import PEPPER
from tests.factories.phones import open_engine
from wallet.auth.refresh_session import Request, refresh_session

async def main():
    url, now_us, requests = json.loads(sys.stdin.readline())
    requests = msgspec.convert(requests, list[Request])
    async with open_engine(url, pool_size=5) as engine:
        async with engine.connect():
            print("ready", flush=True)
            sys.stdin.readline()
        answers = await asyncio.gather(
            *[refresh_session(engine, request=r, pepper=PEPPER, now_us=now_us) for r in requests]
        )
    print(json.dumps([getattr(answer, "refresh_token", answer.__class__.__name__)
                      for answer in answers]))

asyncio.run(main())
"""


def later(seconds: float) -> int:
    """Return a moment after the tests' own."""
    return NOW_US + int(seconds * MICROSECONDS)


async def state_of(engine: AsyncEngine, session_id: UUID) -> tuple[int, str | None]:
    """Return a session's generation and why it has ended."""
    async with read(engine) as connection:
        row = (await connection.execute(_STATE, {"id": session_id})).one()
        return row.generation, row.revoked_because


async def send(engine: AsyncEngine, request: Request, *, now_us: int = NOW_US) -> Tokens | Refusal:
    """Send a request for tokens."""
    return await refresh_session(engine, request=request, pepper=PEPPER, now_us=now_us)


async def next_tokens(
    engine: AsyncEngine, phone: Phone, token: str | None = None, *, now_us: int = NOW_US
) -> Tokens:
    """Refresh, or fail the test."""
    tokens = await refresh(engine, phone, token, now_us=now_us)
    assert isinstance(tokens, Tokens), tokens
    return tokens


async def test_a_refresh_gives_the_next_pair(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    tokens = await next_tokens(engine, phone, now_us=later(600))
    assert tokens.session_id == phone.tokens.session_id
    assert (tokens.expires_in_s, tokens.refresh_expires_in_s) == (600, RESIDENT.idle_s)
    answer = await call(engine, phone, token=tokens.access_token, now_us=later(601))
    assert isinstance(answer, Caller)


@pytest.mark.asvs("v5.0.0-10.4.5")
async def test_the_last_token_gets_the_same_successor_for_a_minute(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    first = await next_tokens(engine, phone)
    again = await next_tokens(engine, phone, now_us=later(GRACE_S - 1))
    assert (again.access_token, again.refresh_token) == (first.access_token, first.refresh_token)
    assert again.expires_in_s == first.expires_in_s - GRACE_S + 1
    assert await state_of(engine, first.session_id) == (2, None)


@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-10.4.5")
async def test_the_last_token_ends_the_session_once_that_minute_is_over(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    tokens = await next_tokens(engine, phone)
    assert await refresh(engine, phone, now_us=later(GRACE_S)) == UNAUTHENTICATED
    assert await state_of(engine, tokens.session_id) == (2, "refresh_reused")
    # Whoever holds the newest pair, thief or owner, is out too.
    assert await refresh(engine, phone, tokens.refresh_token) == UNAUTHENTICATED
    assert await call(engine, phone, token=tokens.access_token) == UNAUTHENTICATED


@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-6.3.5")
async def test_a_token_older_than_the_last_ends_the_session_and_its_owner_is_told(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    second = await next_tokens(engine, phone)
    third = await next_tokens(engine, phone, second.refresh_token)
    assert await refresh(engine, phone) == UNAUTHENTICATED
    assert await refresh(engine, phone, third.refresh_token) == UNAUTHENTICATED
    assert await events_of(engine, phone.principal_id) == [
        (
            "security.refresh_reused",
            {
                "principal_id": str(phone.principal_id),
                "device_id": str(phone.device_id),
                "session_id": str(third.session_id),
            },
        )
    ]


@pytest.mark.attack(5)
async def test_a_stolen_token_without_the_key_neither_refreshes_nor_ends_anything(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    second = await next_tokens(engine, phone)
    await next_tokens(engine, phone, second.refresh_token)
    thief = Phone(
        principal_id=phone.principal_id,
        device_id=phone.device_id,
        tokens=phone.tokens,
        soft=SoftDevice(),
    )
    stolen = phone.refresh_request(phone.tokens.refresh_token)
    for request in (
        thief.refresh_request(phone.tokens.refresh_token),
        thief.refresh_request(second.refresh_token),
        replace(stolen, proof=None),
        replace(stolen, path="/app/v1/other"),
        replace(stolen, method="PUT"),
        replace(stolen, body=stolen.body + b" "),
        replace(stolen, refresh_token=phone.tokens.access_token),
    ):
        assert await send(engine, request) == UNAUTHENTICATED
    assert await state_of(engine, second.session_id) == (3, None)


@pytest.mark.attack(4)
async def test_a_made_up_token_is_refused_and_ends_nothing(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    genuine = phone.tokens.refresh_token
    kind, session, generation, mac = genuine.split("_", 3)
    for token in (
        "",
        "rt_",
        genuine[:-1],
        f"{kind}_{session}_{generation}_{'A' * 43}",
        f"{kind}_{session}_9_{mac}",
        f"{kind}_{uuid4().hex}_{generation}_{mac}",
        f"at_{session}_{generation}_{mac}",
    ):
        assert await refresh(engine, phone, token) == UNAUTHENTICATED
    assert await state_of(engine, phone.tokens.session_id) == (1, None)


@pytest.mark.attack(19)
async def test_a_refresh_that_is_sent_again_with_its_proof_is_refused(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    request = phone.refresh_request()
    assert isinstance(await send(engine, request), Tokens)
    assert await send(engine, request) == PROOF_REPLAYED
    assert await state_of(engine, phone.tokens.session_id) == (2, None)


@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_ten_refreshes_at_once_sign_nobody_out(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    answers = await asyncio.gather(*[refresh(engine, phone) for _ in range(10)])
    assert len({answer.refresh_token for answer in answers if isinstance(answer, Tokens)}) == 1
    assert all(isinstance(answer, Tokens) for answer in answers)
    assert await state_of(engine, phone.tokens.session_id) == (2, None)
    assert await events_of(engine, phone.principal_id) == []
    (first, *_) = answers
    assert isinstance(first, Tokens)
    assert isinstance(await call(engine, phone, token=first.access_token), Caller)


async def race(url: str, requests: Sequence[Request], *, processes: int = 2) -> list[str]:
    """Send the requests from several processes at one word, and return what each was answered."""
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RACER, cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(processes)
    ]  # fmt: skip
    try:
        for number, racer in enumerate(racers):
            assert racer.stdin is not None
            assert racer.stdout is not None
            asked = [url, NOW_US, list(requests[number::processes])]
            racer.stdin.write(msgspec.json.encode(asked) + b"\n")
            assert await asyncio.wait_for(racer.stdout.readline(), 20) == b"ready\n"
        # Let go together: the word is on its way to all before any of them reads it.
        done = await asyncio.gather(*[racer.communicate(b"go\n") for racer in racers])
    finally:
        for racer in racers:
            if racer.returncode is None:
                racer.kill()
                await racer.wait()
    return [answer for printed, _ in done for answer in json.loads(printed)]


async def test_ten_refreshes_from_two_processes_sign_nobody_out(
    engine: AsyncEngine, module_database: Database
) -> None:
    phone = await make_phone(engine)
    requests = [phone.refresh_request() for _ in range(10)]
    answers = await race(module_database.application_url, requests)
    expected = await next_tokens(engine, phone)
    assert answers == [expected.refresh_token] * 10
    assert await state_of(engine, phone.tokens.session_id) == (2, None)


@pytest.mark.asvs("v5.0.0-7.3.1")
@pytest.mark.parametrize("seconds", [RESIDENT.idle_s - 1, RESIDENT.idle_s])
async def test_a_session_that_nobody_uses_ends_after_a_month(
    engine: AsyncEngine, seconds: int
) -> None:
    phone = await make_phone(engine)
    answer = await refresh(engine, phone, now_us=later(seconds))
    assert isinstance(answer, Tokens) is (seconds < RESIDENT.idle_s)


@pytest.mark.asvs("v5.0.0-7.3.2")
@pytest.mark.asvs("v5.0.0-10.4.8")
async def test_a_session_in_use_ends_after_a_year_all_the_same(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    tokens, moment = phone.tokens, 0
    while moment + RESIDENT.idle_s - 1 < RESIDENT.lasts_s:
        moment += RESIDENT.idle_s - 1
        tokens = await next_tokens(engine, phone, tokens.refresh_token, now_us=later(moment))
    assert tokens.refresh_expires_in_s < RESIDENT.idle_s
    answer = await refresh(engine, phone, tokens.refresh_token, now_us=later(RESIDENT.lasts_s))
    assert answer == UNAUTHENTICATED


@pytest.mark.asvs("v5.0.0-7.3.1")
@pytest.mark.asvs("v5.0.0-7.3.2")
async def test_staff_are_out_after_an_hour_idle_and_a_day_in_all(engine: AsyncEngine) -> None:
    tokens = await sign_in(engine, uuid4(), None)

    async def ask(token: str, seconds: int) -> Tokens | Refusal:
        request = Request(
            refresh_token=token, proof=None, method="POST", path=REFRESH_PATH, body=b""
        )
        return await send(engine, request, now_us=later(seconds))

    idle = await sign_in(engine, uuid4(), None)
    assert await ask(idle.refresh_token, STAFF.idle_s) == UNAUTHENTICATED
    for seconds in range(3_500, STAFF.lasts_s - 1, 3_500):
        answer = await ask(tokens.refresh_token, seconds)
        assert isinstance(answer, Tokens)
        tokens = answer
    assert isinstance(await ask(tokens.refresh_token, STAFF.lasts_s - 1), Tokens)
    assert await ask(tokens.refresh_token, STAFF.lasts_s) == UNAUTHENTICATED
