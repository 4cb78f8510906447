"""Recovery codes: each once, a new sheet voids the old, and nobody guesses 120 bits."""

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.factors import new_principal
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.auth.recovery_codes import (
    WRONG,
    count_recovery_codes,
    issue_recovery_codes,
    use_recovery_code,
)
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import Refusal

EVERYTHING = text("SELECT recovery_code::text FROM recovery_code")
EVENTS = text("""
SELECT body ->> 'change' FROM outbox
WHERE kind = 'security.factor_changed' AND body ->> 'principal_id' = :id ORDER BY seq
""")


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city, whose counters are empty."""
    engine = make_engine(module_database.application_url, pool_size=8, application_name="tests")
    await write(engine, lambda connection: connection.execute(text("DELETE FROM attempt")))
    yield engine
    await engine.dispose()


async def issue(engine: AsyncEngine, principal_id: UUID) -> list[str]:
    """Issue a sheet."""
    work = partial(issue_recovery_codes, principal_id=principal_id, pepper=PEPPER, now_us=NOW_US)
    return await write(engine, work)


async def use(engine: AsyncEngine, principal_id: UUID, code: str) -> Refusal | None:
    """Enter a code."""
    work = partial(
        use_recovery_code,
        principal_id=principal_id,
        code=code,
        address="203.0.113.7",
        pepper=PEPPER,
        now_us=NOW_US,
    )
    return await write(engine, work)


async def left(engine: AsyncEngine, principal_id: UUID) -> int:
    """Return how many codes are left."""
    async with read(engine) as connection:
        return await count_recovery_codes(connection, principal_id=principal_id)


@pytest.mark.asvs("v5.0.0-6.5.3")
@pytest.mark.asvs("v5.0.0-6.5.4")
async def test_a_sheet_has_ten_codes_of_120_bits_that_people_can_read(engine: AsyncEngine) -> None:
    codes = await issue(engine, new_principal())
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){5}[0-9A-HJKMNP-TV-Z]{4}", c) for c in codes)


@pytest.mark.asvs("v5.0.0-6.5.1")
async def test_every_code_is_good_once(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    codes = await issue(engine, principal_id)
    assert [await use(engine, principal_id, code) for code in codes[:3]] == [None] * 3
    assert [await use(engine, principal_id, code) for code in codes[:3]] == [WRONG] * 3
    assert await left(engine, principal_id) == 7


@pytest.mark.attack(9)
@pytest.mark.asvs("v5.0.0-6.5.1")
async def test_twenty_at_once_with_one_code_are_one_success(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    code, *_ = await issue(engine, principal_id)
    answers = await asyncio.gather(*(use(engine, principal_id, code) for _ in range(20)))
    assert answers.count(None) == 1
    assert await left(engine, principal_id) == 9


@pytest.mark.parametrize("hyphen", ["-", " ", ""])
async def test_a_code_may_be_typed_as_people_write(engine: AsyncEngine, hyphen: str) -> None:
    principal_id = new_principal()
    one, other, *_ = await issue(engine, principal_id)
    assert await use(engine, principal_id, one.replace("-", hyphen)) is None
    assert await use(engine, principal_id, other.lower().replace("-", hyphen)) is None


async def test_letters_that_look_like_digits_are_read_as_digits(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    codes = await issue(engine, principal_id)
    code = next(code for code in codes if "1" in code or "0" in code)
    assert await use(engine, principal_id, code.replace("1", "l").replace("0", "O")) is None


async def test_a_code_is_of_one_person_only(engine: AsyncEngine) -> None:
    code, *_ = await issue(engine, new_principal())
    somebody_else = new_principal()
    await issue(engine, somebody_else)
    assert await use(engine, somebody_else, code) == WRONG


async def test_a_new_sheet_voids_the_old_one_and_what_was_used_of_it(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    old = await issue(engine, principal_id)
    await use(engine, principal_id, old[0])
    new = await issue(engine, principal_id)
    assert await use(engine, principal_id, old[1]) == WRONG
    assert await left(engine, principal_id) == 10
    assert await use(engine, principal_id, new[0]) is None


async def test_two_sheets_issued_at_once_leave_one_that_works_whole(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    sheets = await asyncio.gather(*(issue(engine, principal_id) for _ in range(6)))
    assert await left(engine, principal_id) == 10
    good = [await use(engine, principal_id, sheet[0]) is None for sheet in sheets]
    assert good.count(True) == 1
    sheet = sheets[good.index(True)]
    assert [await use(engine, principal_id, code) for code in sheet[1:4]] == [None] * 3


@pytest.mark.attack(8)
async def test_ten_wrong_codes_make_everybody_wait(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    code, *_ = await issue(engine, principal_id)
    answers = await asyncio.gather(*(use(engine, principal_id, f"{n:024}") for n in range(50)))
    assert answers.count(WRONG) == 10
    assert await use(engine, principal_id, code) == Refusal(
        "too_many_tries", {"retry_after_s": 3_600}
    )


async def test_nobody_without_a_sheet_gets_in(engine: AsyncEngine) -> None:
    assert await use(engine, new_principal(), "0000-0000-0000-0000-0000-0000") == WRONG
    assert await use(engine, new_principal(), "") == WRONG


async def test_issuing_and_using_are_told_to_the_owner(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    code, *_ = await issue(engine, principal_id)
    await use(engine, principal_id, code)
    async with read(engine) as connection:
        told = (await connection.execute(EVENTS, {"id": str(principal_id)})).scalars().all()
    assert told == ["set", "used"]


@pytest.mark.asvs("v5.0.0-6.5.2")
async def test_no_code_can_be_read_in_the_database(engine: AsyncEngine) -> None:
    codes = await issue(engine, new_principal())
    async with read(engine) as connection:
        rows = " ".join((await connection.execute(EVERYTHING)).scalars().all())
    assert not any(code in rows or code.replace("-", "") in rows for code in codes)
