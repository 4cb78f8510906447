"""The emergency stop: what it takes, what it keeps, and what it holds up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.city import City, make_city
from tests.factories.ledger import (
    NOBODY,
    account,
    codes,
    count,
    fund,
    open_accounts,
    open_connection,
    open_teller,
    pending,
    transfer,
)
from tests.factories.moments import NOW_US
from tests.factories.payments import again, ask_to_pay, engage, fresh, pay, refused, release
from tests.factories.stops import release as release_by_two
from tests.ledger.meeting import WAITERS
from tests.patience import until
from tests.proxy import Fault, open_proxy
from tests.servers import Database
from wallet.core.clock import to_datetime
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import RefusedError
from wallet.ledger.create import create_accounts
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
from wallet.ops import stop
from wallet.payments.pay import Paid

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS

Command = Callable[..., Awaitable[bool]]


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """An engine on the module's database, where nothing is stopped."""
    engine = make_engine(module_database.application_url, pool_size=3, application_name="tests")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE stop_control SET scopes = '{}'"))
    yield engine
    await engine.dispose()


async def command(engine: AsyncEngine, what: Command, scope: str, reason: str = "a test") -> bool:
    """Engage or release a stop in a transaction of its own."""
    return await write(
        engine,
        lambda connection: what(
            connection, scope=scope, reason=reason, actor="cli:ops", now_us=NOW_US
        ),
    )


async def scopes(engine: AsyncEngine) -> list[str]:
    """Return what is stopped."""
    async with read(engine) as connection:
        return await stop.engaged_scopes(connection)


async def trail(engine: AsyncEngine, after: int = 0) -> list[tuple[object, ...]]:
    """Return every command in order: what, which scope, why, who and when."""
    async with read(engine) as connection:
        rows = await connection.execute(
            text("SELECT action, scope, reason, actor, created_at FROM stop_event ORDER BY ctid")
        )
        return [tuple(row) for row in rows][after:]


async def test_scopes_are_engaged_and_released_one_by_one(engine: AsyncEngine) -> None:
    assert await scopes(engine) == []
    assert await command(engine, stop.engage, "pay")
    assert await command(engine, stop.engage, "issue")
    assert not await command(engine, stop.engage, "pay")
    assert await scopes(engine) == ["issue", "pay"]
    assert await command(engine, release_by_two, "pay")
    assert not await command(engine, release_by_two, "pay")
    assert await scopes(engine) == ["issue"]


async def test_every_command_leaves_a_row_in_the_trail(engine: AsyncEngine) -> None:
    before = len(await trail(engine))
    await command(engine, stop.engage, "all", "  不正利用の疑い  ")
    await command(engine, stop.engage, "all", "again")
    await command(engine, release_by_two, "all", "確認済み")
    told = ("cli:ops", to_datetime(NOW_US))
    assert await trail(engine, before) == [
        ("engage", "all", "不正利用の疑い", *told),
        ("engage", "all", "again", *told),
        ("release", "all", "確認済み", *told),
    ]


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "everything",
        "all ",
        "pay,issue",
        "programme:",
        "programme:Coin",
        "programme:" + "a" * 65,
        "merchant:123",
        "merchant:" + "G" * 32,
        "all\n",
    ],
)
async def test_a_scope_that_does_not_exist_is_refused(engine: AsyncEngine, scope: str) -> None:
    before = await trail(engine)
    for what in (stop.engage, release_by_two):
        with pytest.raises(RefusedError) as error:
            await command(engine, what, scope)
        assert error.value.refusal.code == "stop_scope_unknown"
    assert (await scopes(engine), await trail(engine)) == ([], before)


@pytest.mark.parametrize("reason", ["", "   ", "\n\t", "x" * 501])
async def test_a_stop_and_a_release_say_why_in_so_many_words(
    engine: AsyncEngine, reason: str
) -> None:
    with pytest.raises(RefusedError) as error:
        await command(engine, stop.engage, "all", reason)
    assert error.value.refusal.code == "stop_reason_missing"
    assert error.value.refusal.facts == {"characters_max": 500}
    assert await command(engine, stop.engage, "all", "x" * 500)
    with pytest.raises(RefusedError) as error:
        await command(engine, release_by_two, "all", reason)
    assert error.value.refusal.code == "stop_reason_missing"


async def test_a_stop_takes_effect_when_its_transaction_commits(engine: AsyncEngine) -> None:
    async def think_better_of_it(connection: AsyncConnection) -> None:
        await stop.engage(connection, scope="all", reason="?", actor="cli:a", now_us=NOW_US)
        raise ZeroDivisionError

    before = await trail(engine)
    with pytest.raises(ZeroDivisionError):
        await write(engine, think_better_of_it)
    assert (await scopes(engine), await trail(engine)) == ([], before)


async def test_two_commands_at_once_are_both_kept(engine: AsyncEngine) -> None:
    wanted = ["all", "issue", "pay", "programme:coin"]
    await asyncio.gather(*(command(engine, stop.engage, scope) for scope in wanted))
    assert await scopes(engine) == wanted


@pytest.fixture
async def city(module_database: Database, engine: AsyncEngine) -> AsyncIterator[City]:
    """A city with 10,000 yen in its wallet, where nothing is stopped."""
    del engine
    async with make_city(module_database.application_url) as city:
        yield city


async def test_a_payment_in_a_stopped_scope_is_refused_and_can_be_made_once_money_flows(
    city: City,
) -> None:
    merchant = f"merchant:{city.merchant.id.hex}"
    for scope in ("all", "pay", "programme:coin", merchant):
        request = await fresh(city, city.wallet_id)
        await engage(city, scope)
        assert (await refused(city, request)).code == "service_stopped"
        await release(city, scope)
        answer = await ask_to_pay(city, again(city, request))
        assert isinstance(answer, Paid)
        assert (answer.payment.state, answer.replayed) == ("succeeded", False)


async def test_a_payment_outside_of_the_stopped_scope_goes_through(city: City) -> None:
    for scope in ("issue", "programme:other", f"merchant:{uuid4().hex}"):
        await engage(city, scope)
    await pay(city, await fresh(city, city.wallet_id))


async def test_a_payment_made_before_the_stop_is_still_told(city: City) -> None:
    request = await fresh(city, city.wallet_id)
    payment = await pay(city, request)
    await engage(city, "all")
    answer = await ask_to_pay(city, again(city, request))
    assert isinstance(answer, Paid)
    assert (answer.payment.id, answer.replayed) == (payment.id, True)


async def test_the_ledgers_own_door_books_nothing_while_all_is_stopped(
    module_database: Database, engine: AsyncEngine
) -> None:
    async with open_teller(module_database.application_url) as teller:
        payer, payee = await open_accounts(teller, account(flags=GUARDED), account())
        await fund(teller, payer, 100)
        earlier, waiting = transfer(payer, payee, 30), transfer(payer, payee, 50)
        assert await codes(teller, earlier) == ["created"]
        await command(engine, stop.engage, "all")
        for asked in ([waiting], [pending(payer, payee, 1)], [earlier, waiting]):
            with pytest.raises(RefusedError) as error:
                await codes(teller, *asked)
            assert error.value.refusal.code == "service_stopped"
        assert await codes(teller, earlier) == ["exists"]
        assert await codes(teller, transfer(payer, NOBODY)) == ["credit_account_not_found"]
        assert str((await create_accounts(teller, [account()]))[0].code) == "created"
        await command(engine, release_by_two, "all")
        await command(engine, stop.engage, "pay")
        assert await codes(teller, waiting) == ["created"]


async def test_a_refused_neighbour_does_not_hold_up_what_a_stop_allows(
    module_database: Database, engine: AsyncEngine
) -> None:
    async with open_teller(module_database.application_url) as teller:
        payer, payee = await open_accounts(teller, account(), account())
        asked = transfer(payer, payee)
        assert await codes(teller, asked) == ["created"]
        await command(engine, stop.engage, "all")
        stopped, repeated = await asyncio.gather(
            codes(teller, transfer(payer, payee)), codes(teller, asked), return_exceptions=True
        )
        assert isinstance(stopped, RefusedError)
        assert repeated == ["exists"]


async def test_a_stop_waits_for_the_batch_under_way_and_no_later_one_passes_it(
    module_database: Database, engine: AsyncEngine
) -> None:
    """The stop's own patience with locks would end long before the batch does."""
    async with (
        open_proxy(module_database.application_url) as (proxy, url),
        open_teller(url) as first,
        open_teller(module_database.application_url) as second,
        open_connection(module_database.application_url) as connection,
    ):
        payer, payee = await open_accounts(first, account(), account())
        under_way, later = transfer(payer, payee), transfer(payer, payee)
        proxy.faults.append(Fault.IS_HELD)
        told = asyncio.create_task(codes(first, under_way))
        await proxy.held.wait()

        async def hurried(connection: AsyncConnection) -> bool:
            await connection.execute(text("SET lock_timeout = '20ms'"))
            return await stop.engage(
                connection, scope="all", reason="!", actor="cli:a", now_us=NOW_US
            )

        stopping = asyncio.create_task(write(engine, hurried))
        await until(lambda: connection.fetchval(WAITERS, 1))
        queued = asyncio.create_task(codes(second, later))
        await until(lambda: connection.fetchval(WAITERS, 2))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        proxy.let_go.set()
        assert await stopping
        assert await count(connection, [under_way.id, later.id]) == 1
        assert await told == ["created"]
        with pytest.raises(RefusedError):
            await queued


async def test_reads_stay_open_while_a_stop_is_being_engaged(
    module_database: Database, engine: AsyncEngine
) -> None:
    async with (
        engine.begin() as connection,
        open_connection(module_database.application_url) as other,
    ):
        await stop.engage(connection, scope="all", reason="!", actor="cli:a", now_us=NOW_US)
        await other.execute("SET lock_timeout = '20ms'")
        assert await scopes(engine) == []
        assert await other.fetchval("SELECT count(*) FROM balance") is not None
        assert await other.fetchval("SELECT scopes FROM stop_control") == []
    assert await scopes(engine) == ["all"]
