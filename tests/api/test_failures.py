"""When the database is slow, away or broken, the door says something true."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2 as httpx
import pytest
from fastapi import FastAPI

from tests.api.answers import is_replay, payment_of, problem_of
from tests.api.ways import body_of
from tests.factories.city import City, make_city
from tests.factories.tills import PAYMENTS, Till, open_till
from tests.factories.vouchers import purses_of
from tests.proxy import Fault, Proxy, open_proxy
from tests.servers import Database
from wallet.core.database import Connection
from wallet.ledger import patience
from wallet.payments import storage
from wallet.settings import Settings


@asynccontextmanager
async def behind_proxy(database: Database) -> AsyncIterator[tuple[Till, Proxy]]:
    """Yield a till whose way to the database leads through a proxy."""
    async with (
        make_city(database.application_url) as city,
        open_proxy(database.application_url) as (proxy, url),
        open_till(city, database_url=url) as till,
    ):
        yield till, proxy


@asynccontextmanager
async def locked(database: Database, table: str) -> AsyncIterator[None]:
    """Keep everybody else from a table for a while, as a careless migration would."""
    connection = await asyncpg.connect(database.owner_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def own(database: Database, statement: str) -> None:
    """Run a statement as the owner of the database."""
    connection = await asyncpg.connect(database.owner_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def without(database: Database, privilege: str) -> AsyncIterator[None]:
    """Take a privilege away from the application for a while."""
    await own(database, f"REVOKE {privilege} FROM wallet_app")
    try:
        yield
    finally:
        await own(database, f"GRANT {privilege} TO wallet_app")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on a database that is away after a moment instead of ten seconds."""
    monkeypatch.setattr(patience, "RECONNECT_S_MAX", 0.2)
    monkeypatch.setattr(patience, "RECONNECT_PAUSE_S", 0.05)


async def payments_of(city: City) -> dict[str, int]:
    """Return what is in the purse of the city's wallet."""
    return await purses_of(city.engine, city.wallet_id)


@pytest.mark.asvs("v5.0.0-15.2.2")
async def test_who_comes_when_the_queue_is_full_is_sent_away_before_any_work(
    module_database: Database,
) -> None:
    settings = Settings(teller_queue_max=3)
    async with (
        make_city(module_database.application_url) as city,
        open_till(city, settings=settings) as till,
    ):
        bodies = [await body_of(till) for _ in range(12)]
        await till.get(PAYMENTS)  # Now the key is known, and paying needs the teller alone.
        async with locked(module_database, "stop_control"):
            calls = [asyncio.create_task(till.pay(body)) for body in bodies]
            done, waiting = await asyncio.wait(calls, timeout=0.5)
            sent_away = [call.result() for call in done]
        settled = await asyncio.gather(*waiting)
        for response in sent_away:
            problem_of(response, "overloaded")
        assert sent_away
        assert [payment_of(one)["paid"] for one in settled] == [True] * len(waiting)
        # Nothing was looked at, so the same request goes through in quieter times.
        replayed = [is_replay(await till.pay(body)) for body in bodies]
        assert replayed.count(False) == len(sent_away)


@pytest.mark.usefixtures("impatient")
async def test_a_payment_whose_commit_was_not_answered_is_unknown_and_never_declined(
    module_database: Database,
) -> None:
    async with behind_proxy(module_database) as (till, proxy):
        body = till.body(till.city.code)
        proxy.faults, proxy.down_after_fault = [Fault.REPLY_IS_LOST], True
        told = problem_of(await till.pay(body, Idempotency_Key="unknown"), "result_unknown")
        assert "お金は減っていません" not in told["user_message"]["body"]
        assert told["next_action"] == "retry_same_key"
        proxy.is_up = True
        response = await till.pay(body, Idempotency_Key="unknown")
        assert payment_of(response)["paid"]
        assert is_replay(response)
        assert await payments_of(till.city) == {"coin free": 9_000}


@pytest.mark.usefixtures("impatient")
async def test_a_payment_whose_commit_never_arrived_is_unknown_too_and_then_paid_once(
    module_database: Database,
) -> None:
    async with behind_proxy(module_database) as (till, proxy):
        body = till.body(till.city.code)
        proxy.faults, proxy.down_after_fault = [Fault.NEVER_ARRIVES], True
        problem_of(await till.pay(body, Idempotency_Key="unknown"), "result_unknown")
        assert await payments_of(till.city) == {"coin free": 10_000}
        proxy.is_up = True
        response = await till.pay(body, Idempotency_Key="unknown")
        assert payment_of(response)["paid"]
        assert not is_replay(response)
        assert await payments_of(till.city) == {"coin free": 9_000}


@pytest.mark.parametrize("fault", [Fault.REPLY_IS_LOST, Fault.NEVER_ARRIVES])
async def test_a_connection_lost_while_committing_is_made_good_before_anybody_hears(
    module_database: Database, fault: Fault
) -> None:
    async with behind_proxy(module_database) as (till, proxy):
        body = till.body(till.city.code)
        proxy.faults = [fault]
        response = await till.pay(body)
        assert payment_of(response)["paid"]
        assert not is_replay(response)
        assert await payments_of(till.city) == {"coin free": 9_000}


async def test_a_till_killed_while_it_writes_pays_once(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = storage.record
    killed: list[int] = []

    async def record_and_be_killed(connection: Connection, *data: Any, **more: Any) -> None:  # noqa: ANN401 - whatever it takes
        await record(connection, *data, **more)
        if not killed:
            killed.append(connection.get_server_pid())
            await own(module_database, f"SELECT pg_terminate_backend({killed[0]})")

    monkeypatch.setattr(storage, "record", record_and_be_killed)
    async with make_city(module_database.application_url) as city, open_till(city) as till:
        response = await till.pay(till.body(city.code))
        assert killed
        assert payment_of(response)["paid"]
        assert await payments_of(city) == {"coin free": 9_000}


async def test_a_commit_that_the_database_turned_into_a_rollback_is_our_fault_and_no_success(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = storage.record

    async def record_and_ignore_an_error(connection: Connection, *data: Any, **more: Any) -> None:  # noqa: ANN401 - whatever it takes
        await record(connection, *data, **more)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")

    async with make_city(module_database.application_url) as city, open_till(city) as till:
        body = till.body(city.code)
        with monkeypatch.context() as patched:
            patched.setattr(storage, "record", record_and_ignore_an_error)
            problem_of(await till.pay(body), "internal_error")
        assert await payments_of(city) == {"coin free": 10_000}
        assert not is_replay(await till.pay(body))
        assert await payments_of(city) == {"coin free": 9_000}


@pytest.mark.asvs("v5.0.0-16.5.3")
async def test_what_nobody_foresaw_is_our_fault_and_nothing_has_changed(
    module_database: Database,
) -> None:
    async with make_city(module_database.application_url) as city, open_till(city) as till:
        body = till.body(city.code)
        async with without(module_database, "INSERT ON payment"):
            told = problem_of(await till.pay(body), "internal_error")
        assert told["next_action"] == "retry_same_key"
        assert await payments_of(city) == {"coin free": 10_000}
        assert payment_of(await till.pay(body))["paid"]


async def divide() -> int:
    """Fail in a way that has nothing to do with the database."""
    return 1 // 0


@pytest.mark.asvs("v5.0.0-13.4.2")
@pytest.mark.asvs("v5.0.0-16.5.1")
async def test_a_mistake_of_ours_is_a_problem_with_a_name_and_tells_nothing_of_it(
    module_database: Database,
) -> None:
    async with make_city(module_database.application_url) as city, open_till(city) as till:
        assert isinstance(till.plane.application, FastAPI)
        till.plane.application.add_api_route("/planted", divide)
        response = await till.get("/planted")
        problem_of(response, "internal_error")
        assert "division" not in response.text
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", [PAYMENTS, f"{PAYMENTS}/pay_{'0' * 32}"])
async def test_what_nobody_foresaw_while_reading_is_a_problem_with_a_name(
    module_database: Database, path: str
) -> None:
    async with (
        make_city(module_database.application_url) as city,
        open_till(city) as till,
        without(module_database, "SELECT ON payment"),
    ):
        problem_of(await till.get(path), "internal_error")


@pytest.mark.asvs("v5.0.0-16.5.2")
async def test_a_database_that_is_away_makes_everything_unavailable_but_life(
    module_database: Database,
) -> None:
    async with behind_proxy(module_database) as (till, proxy):
        proxy.go_down()
        for response in (
            await till.pay(till.body(till.city.code)),
            await till.get(PAYMENTS),
            await till.get("/readyz"),
        ):
            problem_of(response, "unavailable")
        alive = await till.get("/livez")
        assert (alive.status_code, alive.json()) == (200, {"status": "alive"})


async def read_until_it_works(till: Till, path: str) -> list[int]:
    """Return the statuses of up to ten reads, the last of which worked."""
    statuses: list[int] = []
    for _ in range(10):
        response = await till.get(path)
        statuses.append(response.status_code)
        if response.status_code == 200:
            break
        problem_of(response, "unavailable")
    return statuses


@pytest.mark.parametrize("path", [PAYMENTS, "/readyz"])
async def test_a_till_reads_again_as_soon_as_the_database_is_back(
    module_database: Database, path: str
) -> None:
    async with behind_proxy(module_database) as (till, proxy):
        assert payment_of(await till.pay(till.body(till.city.code)))["paid"]
        together = await asyncio.gather(*[till.get(path) for _ in range(8)])
        assert {one.status_code for one in together} == {200}
        proxy.go_down()
        problem_of(await till.get(path), "unavailable")
        proxy.is_up = True
        assert (await read_until_it_works(till, path))[-1] == 200


async def test_a_till_pays_again_as_soon_as_the_database_is_back(module_database: Database) -> None:
    async with behind_proxy(module_database) as (till, proxy):
        assert payment_of(await till.pay(till.body(till.city.code)))["paid"]
        proxy.go_down()
        call = asyncio.create_task(till.pay(await body_of(till)))
        await asyncio.sleep(0.1)
        assert not call.done()
        proxy.is_up = True
        assert payment_of(await call)["paid"]


async def test_a_table_that_somebody_holds_makes_reading_unavailable_and_no_fault(
    module_database: Database,
) -> None:
    settings = Settings(pool_size=1)
    async with (
        make_city(module_database.application_url) as city,
        open_till(city, settings=settings) as till,
    ):
        assert (await till.get(PAYMENTS)).status_code == 200
        async with locked(module_database, "payment"):
            # One waits for the lock, the other for the only connection; both in vain.
            responses = await asyncio.gather(till.get(PAYMENTS), till.get(PAYMENTS))
        for response in responses:
            problem_of(response, "unavailable")
        assert (await till.get(PAYMENTS)).status_code == 200


async def test_a_plane_that_closes_settles_what_waits_and_takes_no_more(
    module_database: Database,
) -> None:
    async with make_city(module_database.application_url) as city:
        async with open_till(city) as till:
            bodies = [await body_of(till) for _ in range(5)]
            await till.get(PAYMENTS)
            plane = till.plane
            calls = [asyncio.create_task(till.pay(body)) for body in bodies]
            await asyncio.sleep(0)
        assert [payment_of(one)["paid"] for one in await asyncio.gather(*calls)] == [True] * 5
        transport = httpx.ASGITransport(plane, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://till") as client:
            response = await client.post(PAYMENTS, json=bodies[0], headers=till.headers())
        problem_of(response, "overloaded")
