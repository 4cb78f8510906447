"""Counters of guesses: exact for whose secret it is, tallied for who guesses."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.factors import new_principal
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.auth.guess_limits import (
    LIMITS,
    Ladder,
    Subjects,
    address_range,
    allow,
    fail,
    forget,
    subjects_of,
    succeed,
    sweep,
)
from wallet.core.clock import MICROSECONDS
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import Refusal

MINUTE_US = 60 * MICROSECONDS
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

ROWS = text("SELECT kind, failures FROM attempt ORDER BY kind")
EVERYTHING = text("SELECT attempt::text FROM attempt")


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city, whose counters are empty."""
    engine = make_engine(module_database.application_url, pool_size=8, application_name="tests")
    await write(engine, lambda connection: connection.execute(text("DELETE FROM attempt")))
    yield engine
    await engine.dispose()


def stranger(account: str, address: str = "203.0.113.7") -> Subjects:
    """Return somebody on the internet who names an account."""
    return subjects_of(pepper=PEPPER, account=account, address=address)


def owner(account: str) -> Subjects:
    """Return a device of the account's, at the same address as the strangers."""
    return subjects_of(
        pepper=PEPPER, account=account, device_id=new_principal(), address="203.0.113.7"
    )


async def ask(
    engine: AsyncEngine, kind: str, subjects: Subjects, *, at_us: int = NOW_US
) -> Refusal | None:
    """Ask for a try and leave it as it is."""
    return await write(engine, partial(allow, kind=kind, subjects=subjects, now_us=at_us))


async def miss(
    engine: AsyncEngine, kind: str, subjects: Subjects, *, times: int = 1, at_us: int = NOW_US
) -> list[Refusal | None]:
    """Guess wrongly so many times, in one transaction; refused tries are not guesses."""

    async def work(connection: AsyncConnection) -> list[Refusal | None]:
        answers = []
        for _ in range(times):
            answer = await allow(connection, kind=kind, subjects=subjects, now_us=at_us)
            if answer is None:
                await fail(connection, kind=kind, subjects=subjects, now_us=at_us)
            answers.append(answer)
        return answers

    return await write(engine, work)


async def get_right(
    engine: AsyncEngine, kind: str, subjects: Subjects, *, at_us: int = NOW_US
) -> None:
    """Take a try and be right."""

    async def work(connection: AsyncConnection) -> None:
        assert await allow(connection, kind=kind, subjects=subjects, now_us=at_us) is None
        await succeed(connection, kind=kind, subjects=subjects, now_us=at_us)

    await write(engine, work)


def test_a_ladder_pauses_longer_and_longer_and_repeats_the_pause_before_the_last() -> None:
    ladder = Ladder(rungs=((2, 60), (4, 600), (6, 9_999)))
    assert ladder.pauses_s() == [0, 60, 0, 600, 600, 9_999]


def test_a_ladder_of_one_rung_repeats_it() -> None:
    assert Ladder(rungs=((3, 60),)).pauses_s() == [0, 0, 60]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:1234::1", "2001:db8:1:1200::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("testclient", None),
        ("", None),
    ],
)
def test_an_address_counts_for_its_range(address: str, expected: str | None) -> None:
    assert address_range(address) == expected


@pytest.mark.parametrize("kind", LIMITS)
def test_no_kind_of_secret_may_be_guessed_without_end(kind: str) -> None:
    limits = LIMITS[kind]
    assert any((limits.ladder, limits.holder, limits.address_range, limits.everywhere))
    if limits.ladder is not None:
        assert limits.ladder.pauses_s()[-1] >= 3_600
        assert sum(pause == 0 for pause in limits.ladder.pauses_s()) <= 50


@pytest.mark.asvs("v5.0.0-6.3.1")
async def test_tries_end_at_the_rung_and_begin_again_after_the_pause(engine: AsyncEngine) -> None:
    guesser = stranger("hanako")
    answers = await miss(engine, "otp", guesser, times=12)
    assert answers == [None] * 10 + [Refusal("too_many_tries", {"retry_after_s": 86_400})] * 2
    assert await ask(engine, "otp", guesser, at_us=NOW_US + DAY_US - 1) == Refusal(
        "too_many_tries", {"retry_after_s": 1}
    )
    later = await miss(engine, "otp", guesser, times=12, at_us=NOW_US + DAY_US)
    assert later.count(None) == 10


@pytest.mark.attack(8)
@pytest.mark.parametrize(("kind", "most"), [("otp", 10), ("pin", 5), ("password", 10)])
async def test_fifty_tries_at_once_get_no_further_than_the_counter(
    engine: AsyncEngine, kind: str, most: int
) -> None:
    subjects = owner("hanako")
    answers = await asyncio.gather(*(ask(engine, kind, subjects) for _ in range(50)))
    assert answers.count(None) == most
    assert {answer.code for answer in answers if answer} == {"too_many_tries"}


@pytest.mark.attack(3)
@pytest.mark.asvs("v5.0.0-6.1.1")
@pytest.mark.parametrize("kind", ["password", "otp"])
async def test_a_thousand_failures_of_strangers_do_not_lock_the_owners_device(
    engine: AsyncEngine, kind: str
) -> None:
    answers = await miss(engine, kind, stranger("hanako"), times=1_000)
    assert answers.count(None) == 10
    assert await ask(engine, kind, stranger("hanako")) is not None
    await get_right(engine, kind, owner("hanako"))


async def test_kinds_are_counted_apart(engine: AsyncEngine) -> None:
    await miss(engine, "otp", stranger("hanako"), times=11)
    assert await ask(engine, "otp", stranger("hanako")) is not None
    assert await ask(engine, "password", stranger("hanako")) is None


async def test_accounts_are_counted_apart(engine: AsyncEngine) -> None:
    await miss(engine, "otp", stranger("hanako"), times=11)
    assert await ask(engine, "otp", stranger("taro")) is None


async def test_a_right_try_gives_a_device_all_its_tries_back(engine: AsyncEngine) -> None:
    device = owner("hanako")
    await miss(engine, "pin", device, times=4)
    await get_right(engine, "pin", device)
    assert (await miss(engine, "pin", device, times=6)).count(None) == 5


async def test_a_right_try_gives_an_account_one_try_back(engine: AsyncEngine) -> None:
    await miss(engine, "otp", stranger("hanako"), times=9)
    await get_right(engine, "otp", stranger("hanako"))
    assert (await miss(engine, "otp", stranger("hanako"), times=5)).count(None) == 1


async def test_a_try_that_never_ended_stays_counted(engine: AsyncEngine) -> None:
    device = owner("hanako")
    for _ in range(5):
        assert await ask(engine, "pin", device) is None
    assert await ask(engine, "pin", device) is not None


async def test_thirty_wrong_pins_close_a_device_until_the_pin_is_set_anew(
    engine: AsyncEngine,
) -> None:
    device = owner("hanako")
    for day in range(40):
        await miss(engine, "pin", device, times=40, at_us=NOW_US + day * DAY_US)
    year_us = NOW_US + 365 * DAY_US
    assert await ask(engine, "pin", device, at_us=year_us) is not None
    await write(engine, partial(forget, kind="pin", subjects=device))
    assert await ask(engine, "pin", device, at_us=year_us) is None


async def test_a_slip_of_the_finger_now_and_then_never_adds_up(engine: AsyncEngine) -> None:
    for day in range(0, 365, 4):
        at_us = NOW_US + day * DAY_US
        assert await miss(engine, "password", stranger("hanako"), at_us=at_us) == [None]
        await get_right(engine, "password", stranger("hanako"), at_us=at_us)


async def test_a_guesser_with_patience_is_ended_at_the_last_rung(engine: AsyncEngine) -> None:
    guesses = 0
    for hour in range(0, 120 * 24, 6):
        at_us = NOW_US + hour * HOUR_US
        answers = await miss(engine, "card_pin", stranger("card"), times=5, at_us=at_us)
        guesses += answers.count(None)
    assert guesses == 10


@pytest.mark.attack(1)
async def test_a_range_of_addresses_is_closed_after_a_hundred_failures(
    engine: AsyncEngine,
) -> None:
    for number in range(100):
        assert await miss(engine, "password", stranger(f"account {number}")) == [None]
    assert await ask(engine, "password", stranger("account 100", "203.0.113.99")) is not None
    assert await ask(engine, "password", stranger("account 101", "203.0.114.1")) is None
    over_us = NOW_US + 10 * MINUTE_US
    assert await ask(engine, "password", stranger("account 102"), at_us=over_us) is None


@pytest.mark.attack(1)
async def test_stuffing_from_everywhere_ends_at_the_citys_budget_and_owners_go_on(
    engine: AsyncEngine,
) -> None:
    async def stuff(connection: AsyncConnection) -> int:
        guesses = 0
        for number in range(1_200):
            who = stranger(f"leaked pair {number}", f"198.{18 + number % 2}.{number % 250}.1")
            if await allow(connection, kind="password", subjects=who, now_us=NOW_US) is None:
                await fail(connection, kind="password", subjects=who, now_us=NOW_US)
                guesses += 1
        return guesses

    assert await write(engine, stuff) == 1_000
    assert await ask(engine, "password", stranger("hanako", "192.0.2.1")) is not None
    assert await ask(engine, "password", owner("hanako")) is None


@pytest.mark.attack(2)
async def test_one_pin_on_many_devices_is_closed_after_fifty(engine: AsyncEngine) -> None:
    def guess(pin: str) -> Subjects:
        return subjects_of(pepper=PEPPER, device_id=new_principal(), value=pin)

    answers = [(await miss(engine, "pin", guess("592817")))[0] for _ in range(60)]
    assert answers.count(None) == 50
    assert await ask(engine, "pin", guess("592818")) is None
    assert await ask(engine, "pin", guess("592817"), at_us=NOW_US + HOUR_US) is None


async def test_codes_too_long_to_guess_cost_a_write_only_when_they_are_wrong(
    engine: AsyncEngine,
) -> None:
    terminal = subjects_of(pepper=PEPPER, account="terminal 1")
    await get_right(engine, "code", terminal)
    async with read(engine) as connection:
        assert (await connection.execute(ROWS)).all() == []
    assert (await miss(engine, "code", terminal, times=201)).count(None) == 200


async def test_who_guesses_must_be_known_where_the_secret_is_somebodys(
    engine: AsyncEngine,
) -> None:
    with pytest.raises(ValueError, match="an account or a device"):
        await ask(engine, "pin", subjects_of(pepper=PEPPER, value="592817"))


@pytest.mark.asvs("v5.0.0-14.2.6")
async def test_nothing_that_is_counted_can_be_read(engine: AsyncEngine) -> None:
    who = subjects_of(pepper=PEPPER, account="hanako", address="203.0.113.7", value="592817")
    await miss(engine, "card_pin", who)
    async with read(engine) as connection:
        rows = (await connection.execute(EVERYTHING)).scalars().all()
    assert len(rows) == 2
    assert not any(word in row for word in ("hanako", "203.0", "592817") for row in rows)


@pytest.mark.asvs("v5.0.0-14.2.7")
async def test_sweeping_removes_what_means_nothing_any_more(engine: AsyncEngine) -> None:
    await miss(engine, "otp", stranger("hanako"), times=3)
    locked = owner("taro")
    for day in range(40):
        await miss(engine, "pin", locked, times=40, at_us=NOW_US + day * DAY_US)
    assert await write(engine, partial(sweep, now_us=NOW_US)) == 0
    assert await write(engine, partial(sweep, now_us=NOW_US + 100 * DAY_US)) == 3
    async with read(engine) as connection:
        assert (await connection.execute(ROWS)).all() == [("pin", 30)]
