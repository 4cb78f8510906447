"""Who calls: what a key ring lets in, for how long, and what it costs the database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.refusals import Refusal
from wallet.merchants import authenticate
from wallet.merchants.authenticate import KeyRing, Principal
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.revoke_api_key import revoke_api_key

KEPT_S = 2.0


@pytest.fixture
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield the module's city, with a merchant of this test's own."""
    async with make_city(module_database.application_url, yen=0) as city:
        yield city


def make_ring(city: City, *, clock: TestClock | None = None, livemode: bool = False) -> KeyRing:
    """Return a process's key ring."""
    return KeyRing(
        engine=city.engine,
        pepper=PEPPER,
        livemode=livemode,
        clock=clock or TestClock(NOW_US),
        kept_s=KEPT_S,
    )


def bearer(city: City) -> str:
    """Return the header that the city's merchant calls with."""
    return f"Bearer {city.merchant.api_key}"


@contextmanager
def looked_up(city: City) -> Iterator[list[str]]:
    """Collect the statements that the engine sends meanwhile."""
    statements: list[str] = []

    def listen(_: object, __: object, statement: str, *___: Any) -> None:  # noqa: ANN401
        statements.append(statement)

    engine = city.engine.sync_engine
    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", listen)


async def test_a_good_key_names_its_merchant(city: City) -> None:
    ring = make_ring(city)
    principal = Principal(city.merchant.id, city.merchant.key_id)
    assert await ring.authenticate(bearer(city)) == principal
    assert await ring.authenticate(bearer(city).replace("Bearer", "bearer")) == principal


@pytest.mark.attack(4)
async def test_every_key_that_is_not_good_is_refused_in_the_same_words(city: City) -> None:
    ring = make_ring(city)
    await revoke_api_key(city.engine, key_id=city.merchant.key_id, now_us=NOW_US)
    key = city.merchant.api_key
    unknown = key[:-1] + ("a" if key[-1] != "a" else "b")
    refused = [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {key}",
        key,
        f"Bearer {unknown}",
        f"Bearer {'x' * 129}",
        "Bearer \ud800\x00é",
        f"Bearer {key}",
    ]
    answers = [await ring.authenticate(authorization) for authorization in refused]
    assert answers == [Refusal("unauthenticated")] * len(refused)


async def test_a_key_of_the_other_mode_is_told_so(city: City) -> None:
    live = await issue_api_key(
        city.engine, merchant_id=city.merchant.id, livemode=True, pepper=PEPPER, now_us=NOW_US
    )
    wrong = Refusal("key_wrong_mode")
    assert await make_ring(city, livemode=False).authenticate(f"Bearer {live.key}") == wrong
    assert await make_ring(city, livemode=True).authenticate(bearer(city)) == wrong


@pytest.mark.asvs("v5.0.0-8.3.2")
async def test_a_revoked_key_is_refused_by_every_process_once_its_time_is_over(
    city: City,
) -> None:
    clock = TestClock(NOW_US)
    rings = [make_ring(city, clock=clock) for _ in range(3)]
    for ring in rings:
        assert isinstance(await ring.authenticate(bearer(city)), Principal)
    await revoke_api_key(city.engine, key_id=city.merchant.key_id, now_us=NOW_US)
    clock.advance(seconds=KEPT_S - 0.001)
    for ring in rings:
        assert isinstance(await ring.authenticate(bearer(city)), Principal)
    clock.advance(seconds=0.001)
    for ring in rings:
        assert await ring.authenticate(bearer(city)) == Refusal("unauthenticated")


async def test_a_known_key_costs_the_database_one_look_for_each_time_it_is_kept(
    city: City,
) -> None:
    clock = TestClock(NOW_US)
    ring = make_ring(city, clock=clock)
    with looked_up(city) as statements:
        for _ in range(3):
            for _ in range(5):
                await ring.authenticate(bearer(city))
            clock.advance(seconds=KEPT_S)
    assert len(statements) == 3


async def test_a_crowd_with_one_key_costs_the_database_one_look(city: City) -> None:
    clock = TestClock(NOW_US)
    ring = make_ring(city, clock=clock)
    for seconds in (0.0, KEPT_S, 3 * KEPT_S):
        # Unknown yet, due to be asked again, and too old to be used unasked.
        clock.advance(seconds=seconds)
        with looked_up(city) as statements:
            answers = await asyncio.gather(*[ring.authenticate(bearer(city)) for _ in range(50)])
        assert {type(answer) for answer in answers} == {Principal}
        assert len(statements) == 1


async def test_the_crowd_goes_on_while_one_of_it_asks_again(city: City) -> None:
    clock = TestClock(NOW_US)
    ring = make_ring(city, clock=clock)
    await ring.authenticate(bearer(city))
    clock.advance(seconds=KEPT_S)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ring.authenticate(bearer(city)))
        await asyncio.sleep(0)
        # Answered without waiting for anything: the coroutine ends at its first step.
        coroutine = ring.authenticate(bearer(city))
        with pytest.raises(StopIteration) as answered:
            coroutine.send(None)
        assert isinstance(answered.value.value, Principal)
        assert not asking.done()


async def test_all_keys_in_use_are_asked_for_together(city: City) -> None:
    clock = TestClock(NOW_US)
    ring = make_ring(city, clock=clock)
    keys = [
        await issue_api_key(
            city.engine, merchant_id=city.merchant.id, livemode=False, pepper=PEPPER, now_us=NOW_US
        )
        for _ in range(4)
    ]
    used, revoked, unused = keys[:2], keys[2], keys[3]
    for key in keys:
        assert isinstance(await ring.authenticate(f"Bearer {key.key}"), Principal)
    await revoke_api_key(city.engine, key_id=revoked.id, now_us=NOW_US)
    clock.advance(seconds=KEPT_S)
    with looked_up(city) as statements:
        await ring.authenticate(f"Bearer {used[0].key}")
        assert isinstance(await ring.authenticate(f"Bearer {used[1].key}"), Principal)
    assert len(statements) == 1
    assert await ring.authenticate(f"Bearer {revoked.key}") == Refusal("unauthenticated")
    clock.advance(seconds=KEPT_S)
    await ring.authenticate(f"Bearer {used[0].key}")
    # Nobody has come with it since the last time, so it was not asked for and is looked up anew.
    with looked_up(city) as statements:
        assert isinstance(await ring.authenticate(f"Bearer {unused.key}"), Principal)
    assert len(statements) == 1


async def make_headers(city: City, count: int) -> list[str]:
    """Issue keys to the city's merchant and return the headers to call with."""
    keys = [
        await issue_api_key(
            city.engine, merchant_id=city.merchant.id, livemode=False, pepper=PEPPER, now_us=NOW_US
        )
        for _ in range(count)
    ]
    return [f"Bearer {key.key}" for key in keys]


@pytest.mark.parametrize(("at_once", "statements_expected"), [(500, 1), (3, 4)])
async def test_new_keys_that_come_together_are_looked_up_together(
    city: City, monkeypatch: pytest.MonkeyPatch, at_once: int, statements_expected: int
) -> None:
    monkeypatch.setattr(authenticate, "LOOKED_UP_MAX", at_once)
    headers = await make_headers(city, 10)
    ring = make_ring(city)
    with looked_up(city) as statements:
        answers = await asyncio.gather(
            *[ring.authenticate(header) for header in [*headers, "Bearer sk_test_guess"]]
        )
    assert len(statements) == statements_expected
    assert len({answer.key_id for answer in answers if isinstance(answer, Principal)}) == 10
    assert answers[-1] == Refusal("unauthenticated")


async def test_a_database_that_is_away_fails_those_who_ask_and_nobody_after_them(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await make_headers(city, 2)
    ring = make_ring(city)

    def away(_: object) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(authenticate, "read", away)
        answers = await asyncio.gather(
            *[ring.authenticate(header) for header in headers], return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [OSError, OSError]
    assert isinstance(await ring.authenticate(headers[0]), Principal)


async def test_who_gives_up_waiting_takes_the_answer_from_nobody_else(city: City) -> None:
    ring = make_ring(city)
    first, second = (asyncio.ensure_future(ring.authenticate(bearer(city))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert isinstance(await second, Principal)
    assert first.cancelled()


async def test_a_ring_keeps_no_more_keys_than_its_bound(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticate, "KEPT_KEYS_MAX", 2)
    ring = make_ring(city)
    headers = [bearer(city)]
    for _ in range(2):
        issued = await issue_api_key(
            city.engine, merchant_id=city.merchant.id, livemode=False, pepper=PEPPER, now_us=NOW_US
        )
        headers.append(f"Bearer {issued.key}")
    for header in headers:
        await ring.authenticate(header)
    with looked_up(city) as statements:
        await ring.authenticate(headers[1])
        await ring.authenticate(headers[2])
    assert statements == []
    with looked_up(city) as statements:
        await ring.authenticate(headers[0])
    assert len(statements) == 1


@pytest.mark.asvs("v5.0.0-2.4.1")
async def test_guesses_leave_nothing_behind(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticate, "KEPT_KEYS_MAX", 1)
    ring = make_ring(city)
    await ring.authenticate(bearer(city))
    for number in range(10):
        await ring.authenticate(f"Bearer sk_test_{number}")
    with looked_up(city) as statements:
        assert isinstance(await ring.authenticate(bearer(city)), Principal)
    assert statements == []


@pytest.mark.parametrize("kept_s", [-1.0, 2.6])
async def test_a_ring_that_would_keep_revoked_keys_too_long_is_not_made(
    city: City, kept_s: float
) -> None:
    with pytest.raises(ValueError, match=r"0 to 2\.5 s"):
        KeyRing(engine=city.engine, pepper=PEPPER, livemode=False, clock=city.clock, kept_s=kept_s)
