"""One-time codes: the vectors of the RFCs, the edges of the window, and each step once."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pyotp
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.factors import new_principal
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.auth.totp import (
    CONFIRM_WITHIN_S,
    WRONG,
    Enrolment,
    check_totp,
    confirm_totp,
    enrol_totp,
    matching_step,
    remove_totp,
)
from wallet.core.clock import MICROSECONDS
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import Refusal, RefusedError

RFC_SECRET = b"12345678901234567890"
NOW_STEP = NOW_US // MICROSECONDS // 30
STEP_US = 30 * MICROSECONDS

EVERYTHING = text("SELECT totp::text FROM totp")
EVENTS = text("""
SELECT body ->> 'change' FROM outbox
WHERE kind = 'security.factor_changed' AND body ->> 'principal_id' = :id ORDER BY seq
""")


class Holder(msgspec.Struct):
    """Somebody with an authenticator app."""

    principal_id: UUID
    app: pyotp.TOTP

    def code(self, *, step: int = NOW_STEP) -> str:
        """Return what the app shows in a time step."""
        return self.app.generate_otp(step)


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city, whose counters are empty."""
    engine = make_engine(module_database.application_url, pool_size=8, application_name="tests")
    await write(engine, lambda connection: connection.execute(text("DELETE FROM attempt")))
    yield engine
    await engine.dispose()


@pytest.fixture
async def holder(engine: AsyncEngine) -> Holder:
    """Return somebody whose app was confirmed ten steps ago."""
    principal_id = new_principal()
    enrolment = await enrol(engine, principal_id)
    holder = Holder(principal_id, pyotp.TOTP(enrolment.secret))
    then_us = NOW_US - 10 * STEP_US
    assert await confirm(engine, holder, holder.code(step=NOW_STEP - 10), at_us=then_us) is None
    return holder


async def enrol(
    engine: AsyncEngine, principal_id: UUID, *, at_us: int = NOW_US - 10 * STEP_US
) -> Enrolment:
    """Begin an enrolment."""
    work = partial(
        enrol_totp,
        principal_id=principal_id,
        account_name="花子",
        issuer="市のウォレット",
        pepper=PEPPER,
        now_us=at_us,
    )
    return await write(engine, work)


async def confirm(
    engine: AsyncEngine, holder: Holder, code: str, *, at_us: int = NOW_US
) -> Refusal | None:
    """Confirm an enrolment."""
    work = partial(
        confirm_totp, principal_id=holder.principal_id, code=code, pepper=PEPPER, now_us=at_us
    )
    return await write(engine, work)


async def check(
    engine: AsyncEngine, holder: Holder, code: str, *, at_us: int = NOW_US
) -> Refusal | None:
    """Enter a code on a desktop."""
    work = partial(
        check_totp,
        principal_id=holder.principal_id,
        code=code,
        device_id=None,
        address="203.0.113.7",
        pepper=PEPPER,
        now_us=at_us,
    )
    return await write(engine, work)


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [
        (59, "287082"), (1_111_111_109, "081804"), (1_111_111_111, "050471"),
        (1_234_567_890, "005924"), (2_000_000_000, "279037"), (20_000_000_000, "353130"),
    ],
)  # fmt: skip
def test_the_vectors_of_rfc_6238_are_taken_in_their_step(time_s: int, expected: str) -> None:
    step = matching_step(RFC_SECRET, expected, now_us=time_s * MICROSECONDS)
    assert step == time_s // 30


@pytest.mark.parametrize(
    ("digest", "size", "expected"),
    [
        (hashlib.sha1, 20, "94287082 07081804 14050471 89005924 69279037 65353130"),
        (hashlib.sha256, 32, "46119246 68084774 67062674 91819424 90698825 77737706"),
        (hashlib.sha512, 64, "90693936 25091201 99943326 93441116 38618901 47863826"),
    ],
)
def test_the_library_computes_every_vector_of_rfc_6238(
    digest: Callable[..., Any], size: int, expected: str
) -> None:
    secret = base64.b32encode((b"1234567890" * 7)[:size]).decode()
    app = pyotp.TOTP(secret, digits=8, digest=digest)
    times = (59, 1_111_111_109, 1_111_111_111, 1_234_567_890, 2_000_000_000, 20_000_000_000)
    assert [app.at(time) for time in times] == expected.split()


@pytest.mark.asvs("v5.0.0-6.5.5")
@pytest.mark.asvs("v5.0.0-6.5.8")
@pytest.mark.parametrize(
    ("now_s", "code", "expected"),
    [
        (0, "755224", 0), (29, "755224", 0), (29, "287082", 1), (29, "359152", None),
        (59, "755224", 0), (59, "287082", 1), (59, "359152", 2), (59, "969429", None),
        (60, "755224", None), (89, "287082", 1), (90, "287082", None),
    ],
)  # fmt: skip
def test_the_window_is_one_step_early_or_late_and_ends_there(
    now_s: int, code: str, expected: int | None
) -> None:
    assert matching_step(RFC_SECRET, code, now_us=now_s * MICROSECONDS) == expected


def test_a_code_of_two_steps_counts_for_the_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyotp.TOTP, "generate_otp", lambda _app, _step: "287082")
    assert matching_step(RFC_SECRET, "287082", now_us=59 * MICROSECONDS) == 2


@pytest.mark.parametrize("typed", ["287082", "287 082", " 287082 ", "２８７０８２"])
def test_a_code_may_be_typed_as_people_type(typed: str) -> None:
    assert matching_step(RFC_SECRET, typed, now_us=59 * MICROSECONDS) == 1


@pytest.mark.parametrize("typed", ["", "28708", "2870820", "-287082", "28708x", "287082\ud83d"])
def test_what_is_no_code_matches_nothing(typed: str) -> None:
    assert matching_step(RFC_SECRET, typed, now_us=59 * MICROSECONDS) is None


async def test_a_code_with_leading_zeros_is_taken(engine: AsyncEngine, holder: Holder) -> None:
    step = next(n for n in range(NOW_STEP, NOW_STEP + 1_000) if holder.code(step=n)[0] == "0")
    assert await check(engine, holder, holder.code(step=step), at_us=step * STEP_US) is None


@pytest.mark.attack(9)
@pytest.mark.asvs("v5.0.0-6.5.1")
async def test_twenty_posts_of_one_code_at_once_are_one_success(
    engine: AsyncEngine, holder: Holder
) -> None:
    code = holder.code()
    answers = await asyncio.gather(*(check(engine, holder, code) for _ in range(20)))
    assert answers.count(None) == 1
    assert {answer.code for answer in answers if answer} <= {WRONG.code, "too_many_tries"}


@pytest.mark.attack(9)
@pytest.mark.asvs("v5.0.0-6.5.1")
async def test_after_a_step_no_code_of_it_or_before_it_is_taken(
    engine: AsyncEngine, holder: Holder
) -> None:
    assert await check(engine, holder, holder.code(step=NOW_STEP + 1)) is None
    for step in (NOW_STEP + 1, NOW_STEP, NOW_STEP - 1):
        assert await check(engine, holder, holder.code(step=step)) == WRONG
    later_us = NOW_US + STEP_US
    assert await check(engine, holder, holder.code(step=NOW_STEP + 2), at_us=later_us) is None


@pytest.mark.attack(9)
async def test_the_code_that_confirmed_the_app_signs_nobody_in(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    enrolment = await enrol(engine, principal_id)
    holder = Holder(principal_id, pyotp.TOTP(enrolment.secret))
    assert await confirm(engine, holder, holder.code()) is None
    assert await check(engine, holder, holder.code()) == WRONG


@pytest.mark.attack(8)
@pytest.mark.asvs("v5.0.0-6.3.1")
async def test_fifty_guesses_at_once_are_ten_tries_and_the_right_code_waits_a_day(
    engine: AsyncEngine, holder: Holder
) -> None:
    right = {holder.code(step=step) for step in range(NOW_STEP - 1, NOW_STEP + 2)}
    guesses = [f"{n:06}" for n in range(60) if f"{n:06}" not in right][:50]
    answers = await asyncio.gather(*(check(engine, holder, guess) for guess in guesses))
    assert answers.count(WRONG) == 10
    assert answers.count(None) == 0
    refused = Refusal("too_many_tries", {"retry_after_s": 86_400})
    assert await check(engine, holder, holder.code()) == refused
    tomorrow_us, tomorrow = NOW_US + 2_880 * STEP_US, NOW_STEP + 2_880
    assert await check(engine, holder, holder.code(step=tomorrow), at_us=tomorrow_us) is None


async def test_nothing_enrolled_lets_nobody_in(engine: AsyncEngine) -> None:
    nobody = Holder(new_principal(), pyotp.TOTP(pyotp.random_base32()))
    assert await check(engine, nobody, nobody.code()) == WRONG
    assert await confirm(engine, nobody, nobody.code()) == WRONG


async def test_an_app_that_was_not_confirmed_lets_nobody_in(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    enrolment = await enrol(engine, principal_id)
    holder = Holder(principal_id, pyotp.TOTP(enrolment.secret))
    assert await check(engine, holder, holder.code()) == WRONG


async def test_an_old_app_stays_good_until_the_new_one_is_confirmed(
    engine: AsyncEngine, holder: Holder
) -> None:
    enrolment = await enrol(engine, holder.principal_id)
    new = Holder(holder.principal_id, pyotp.TOTP(enrolment.secret))
    assert await confirm(engine, new, "000000") == WRONG
    assert await check(engine, holder, holder.code(step=NOW_STEP - 1)) is None
    assert await confirm(engine, new, new.code()) is None
    assert await check(engine, holder, holder.code(step=NOW_STEP + 1)) == WRONG
    assert await check(engine, new, new.code(step=NOW_STEP + 1)) is None


async def test_an_enrolment_must_be_confirmed_in_time(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    enrolment = await enrol(engine, principal_id, at_us=NOW_US - CONFIRM_WITHIN_S * MICROSECONDS)
    holder = Holder(principal_id, pyotp.TOTP(enrolment.secret))
    assert await confirm(engine, holder, holder.code()) == WRONG


async def test_an_app_that_was_removed_lets_nobody_in_and_its_owner_hears_of_it(
    engine: AsyncEngine, holder: Holder
) -> None:
    work = partial(remove_totp, principal_id=holder.principal_id, now_us=NOW_US)
    await write(engine, work)
    assert await check(engine, holder, holder.code()) == WRONG
    with pytest.raises(RefusedError, match="totp_unknown"):
        await write(engine, work)
    async with read(engine) as connection:
        told = await connection.execute(EVENTS, {"id": str(holder.principal_id)})
        assert told.scalars().all() == ["set", "removed"]


@pytest.mark.asvs("v5.0.0-13.3.1")
async def test_no_secret_can_be_read_in_the_database(engine: AsyncEngine, holder: Holder) -> None:
    secret = base64.b32decode(holder.app.secret)
    async with read(engine) as connection:
        rows = (await connection.execute(EVERYTHING)).scalars().all()
    assert rows
    assert not any(secret.hex() in row or holder.app.secret in row for row in rows)


async def test_the_uri_says_what_the_app_shall_show(engine: AsyncEngine) -> None:
    enrolment = await enrol(engine, new_principal())
    assert pyotp.parse_uri(enrolment.uri).secret == enrolment.secret
    assert enrolment.uri.startswith("otpauth://totp/%E5%B8%82%E3%81%AE")
    assert len(base64.b32decode(enrolment.secret)) == 20
