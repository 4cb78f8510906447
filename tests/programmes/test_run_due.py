"""The worker makes programmes of drafts once, whoever else works, and follows the calendar."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.city import City, make_city
from tests.factories.drafts import CONFIRMED, EXCLUDED, LIVE_ON, clean_points, clean_voucher
from tests.factories.moments import NOW_US, japanese
from tests.factories.payments import engage, release
from tests.factories.people import make_wallet
from tests.factories.programmes import spending
from tests.factories.sales import put_on_sale, wish
from tests.factories.sales import told as told_to_buyer
from tests.factories.vouchers import ask, make_request
from tests.servers import Database
from wallet.core.clock import JST
from wallet.core.database import read, write
from wallet.merchants.rules import CATEGORIES
from wallet.programmes.draft_queries import find_programme, list_drafts, list_versions
from wallet.programmes.legal_settings import legal_settings
from wallet.programmes.run_due import Done, apply_due, move_on, run_due
from wallet.programmes.terms import ProgrammeDraft
from wallet.programmes.write_drafts import approve_draft, save_draft, schedule_draft, submit_draft
from wallet.proof import prove
from wallet.vouchers.issue import Issued, Refused

LATER_US = japanese("2026-12-01T00:00:00")
EVENTS = text("SELECT kind, body FROM outbox WHERE kind LIKE 'programme.%' ORDER BY seq")


async def schedule(
    engine: AsyncEngine,
    draft: ProgrammeDraft,
    *,
    seen: int = 0,
    live_on: date = LIVE_ON,
    now_us: int = NOW_US,
) -> None:
    """Take a draft all the way to its day."""

    async def work(connection: AsyncConnection) -> None:
        law: dict[str, Any] = {"settings": legal_settings(), "known_categories": CATEGORIES}
        saved = await save_draft(
            connection, draft=draft, seen_revision=seen, by="stf_test", now_us=now_us
        )
        named: dict[str, Any] = {"code": draft.code, "revision": saved.revision, "now_us": now_us}
        await submit_draft(connection, **named, **law)
        await approve_draft(connection, draft_id=saved.id, now_us=now_us, **law)
        await schedule_draft(connection, live_on=live_on, **named)

    await write(engine, work)


async def state_of(engine: AsyncEngine, code: str) -> str | None:
    """Return the state of a programme, None when there is none."""
    async with read(engine) as connection:
        found = await find_programme(connection, code=code)
    return None if found is None else str(found.state)


async def budget_of(engine: AsyncEngine, code: str) -> int:
    """Return what is in a budget, in yen."""
    query = text("""
        SELECT b.credits_posted - b.debits_posted FROM programme AS p
        JOIN balance AS b ON b.account_id = p.budget_account_id WHERE p.code = :code
    """)
    async with read(engine) as connection:
        return int((await connection.execute(query, {"code": code})).scalar_one())


async def told(engine: AsyncEngine) -> list[str]:
    """Return what others hear of programmes, in order."""
    async with read(engine) as connection:
        return [row.kind for row in await connection.execute(EVENTS)]


@pytest.fixture
async def city(database: Database) -> AsyncIterator[City]:
    """Yield a city of the test's own."""
    async with make_city(database.application_url) as city:
        yield city


async def test_a_programme_is_there_before_it_is_live_and_cannot_be_issued_yet(
    city: City,
) -> None:
    await schedule(city.engine, clean_voucher("early"), live_on=date(2026, 12, 1))
    assert await apply_due(city.engine, city.teller, now_us=NOW_US) == Done(1, 0, 0, 0)
    assert await state_of(city.engine, "early") == "scheduled"
    wallet_id = await make_wallet(city.engine)
    refused = await ask(city.teller, make_request(wallet_id, "early", sets=1))
    assert isinstance(refused, Refused)
    assert refused.refusal.code == "programme_not_live"
    await put_on_sale(city.engine, "early")
    assert await told_to_buyer(city.teller, wish(wallet_id, "early")) == "programme_not_live"
    assert await apply_due(city.engine, city.teller, now_us=LATER_US) == Done(0, 0, 1, 0)
    issued = await ask(city.teller, make_request(wallet_id, "early", sets=1))
    assert isinstance(issued, Issued)
    assert await told(city.engine) == ["programme.applied", "programme.live"]
    assert (await prove(city.engine, now_us=LATER_US)).ok


async def test_the_day_before_its_day_nothing_begins(city: City) -> None:
    await schedule(city.engine, clean_points("exact"), live_on=date(2026, 12, 1))
    await apply_due(city.engine, city.teller, now_us=NOW_US)
    just_before_us = LATER_US - 1
    assert await apply_due(city.engine, city.teller, now_us=just_before_us) == Done(0, 0, 0, 0)
    assert await state_of(city.engine, "exact") == "scheduled"


async def test_a_programme_ends_when_its_last_day_is_over_in_japan(city: City) -> None:
    last = spending(last_day=date(2026, 11, 30), excluded_categories=EXCLUDED)
    await schedule(city.engine, clean_points("short", spending=last))
    await apply_due(city.engine, city.teller, now_us=NOW_US)
    assert await state_of(city.engine, "short") == "live"
    assert await apply_due(city.engine, city.teller, now_us=LATER_US - 1) == Done(0, 0, 0, 0)
    assert await apply_due(city.engine, city.teller, now_us=LATER_US) == Done(0, 0, 0, 1)
    assert await state_of(city.engine, "short") == "ended"
    async with read(city.engine) as connection:
        found = await find_programme(connection, code="short")
        assert found is not None
        versions = await list_versions(connection, programme_id=found.id)
    assert [str(one.state) for one in versions] == ["ended", "live", "scheduled"]
    assert versions[0].created_at.astimezone(JST).isoformat() == "2026-12-01T00:00:00+09:00"


async def test_a_new_version_waits_for_its_day_and_brings_its_budget(city: City) -> None:
    await schedule(city.engine, clean_points("grows", budget_yen=1_000))
    await apply_due(city.engine, city.teller, now_us=NOW_US)
    more = clean_points("grows", budget_yen=1_500, name="もっとポイント")
    await schedule(city.engine, more, seen=1, live_on=date(2026, 12, 1))
    assert await apply_due(city.engine, city.teller, now_us=NOW_US) == Done(0, 0, 0, 0)
    assert await budget_of(city.engine, "grows") == 1_000
    assert await apply_due(city.engine, city.teller, now_us=LATER_US) == Done(1, 0, 0, 0)
    assert await budget_of(city.engine, "grows") == 1_500
    async with read(city.engine) as connection:
        found = await find_programme(connection, code="grows")
    assert found is not None
    assert (found.terms.name, found.version) == ("もっとポイント", 3)
    assert (await prove(city.engine, now_us=LATER_US)).ok


async def test_a_smaller_budget_takes_nothing_back(city: City) -> None:
    await schedule(city.engine, clean_points("shrinks", budget_yen=1_000))
    await apply_due(city.engine, city.teller, now_us=NOW_US)
    await schedule(city.engine, clean_points("shrinks", budget_yen=10), seen=1)
    assert await apply_due(city.engine, city.teller, now_us=NOW_US) == Done(1, 0, 0, 0)
    assert await budget_of(city.engine, "shrinks") == 1_000


async def test_what_is_scheduled_may_still_change_in_every_way(city: City) -> None:
    await schedule(city.engine, clean_voucher("draftlike"), live_on=date(2026, 12, 24))
    await apply_due(city.engine, city.teller, now_us=NOW_US)
    first = clean_voucher("draftlike")
    assert first.frame is not None
    cheaper = msgspec.structs.replace(first.frame, price_yen=4_000, sets_total=50)
    changed = clean_voucher("draftlike", frame=cheaper)
    await schedule(city.engine, changed, seen=1, live_on=date(2026, 12, 1))
    assert await apply_due(city.engine, city.teller, now_us=NOW_US) == Done(1, 0, 0, 0)
    async with read(city.engine) as connection:
        found = await find_programme(connection, code="draftlike")
    assert found is not None
    assert (str(found.state), found.live_on) == ("scheduled", date(2026, 12, 1))
    assert found.terms.frame == cheaper


async def test_a_revision_that_came_too_late_is_refused_and_says_why(city: City) -> None:
    """It was approved while the programme was scheduled, and that has begun since."""
    await schedule(city.engine, clean_voucher("late"), live_on=date(2026, 12, 1))
    await apply_due(city.engine, city.teller, now_us=NOW_US)
    first = clean_voucher("late")
    assert first.frame is not None
    dearer = msgspec.structs.replace(first.frame, price_yen=6_000)
    await schedule(city.engine, clean_voucher("late", frame=dearer), seen=1)
    async with read(city.engine) as connection:
        (draft, _) = await list_drafts(connection, code="late")
    assert draft.refusal is None
    # Another worker lets it begin between that approval and this round.
    await move_on(city.engine, now_us=LATER_US)
    done = await apply_due(city.engine, city.teller, now_us=LATER_US)
    assert done.refused == 1
    async with read(city.engine) as connection:
        (draft, _) = await list_drafts(connection, code="late")
    assert draft.refusal is not None
    assert draft.refusal["code"] == "programme_invalid"
    assert draft.refusal["problems"] == [
        "frame.price_yen: stays as it is while the programme is live."
    ]
    assert "programme.refused" in await told(city.engine)


async def work_side_by_side(city: City, database: Database) -> None:
    """Have four workers do what is due, none of whom is refused anything."""
    rounds: Sequence[Done | None] = await asyncio.gather(
        *(run_due(city.engine, database.application_url, lambda: NOW_US) for _ in range(4))
    )
    assert sum(done.refused for done in rounds if done) == 0


async def test_many_workers_make_one_programme_and_fund_it_once(
    city: City, database: Database
) -> None:
    codes = [f"many-{number}" for number in range(3)]
    for seen, budget_yen in enumerate((100, 150)):
        for code in codes:
            await schedule(city.engine, clean_points(code, budget_yen=budget_yen), seen=seen)
        await work_side_by_side(city, database)
        assert [await state_of(city.engine, code) for code in codes] == ["live"] * 3
        assert [await budget_of(city.engine, code) for code in codes] == [budget_yen] * 3
    assert (await told(city.engine)).count("programme.live") == 3
    assert (await told(city.engine)).count("programme.applied") == 6
    assert await run_due(city.engine, database.application_url, lambda: NOW_US) is None
    assert (await prove(city.engine, now_us=NOW_US)).ok


async def test_while_everything_is_stopped_drafts_wait(city: City) -> None:
    await schedule(city.engine, clean_points("waits"))
    await engage(city, "all")
    assert await apply_due(city.engine, city.teller, now_us=NOW_US) == Done(0, 0, 0, 0)
    await release(city, "all")
    assert await apply_due(city.engine, city.teller, now_us=NOW_US) == Done(1, 0, 1, 0)


async def test_a_version_that_was_written_stays(city: City) -> None:
    await schedule(city.engine, clean_points("kept", confirmed=CONFIRMED))
    await apply_due(city.engine, city.teller, now_us=NOW_US)

    async def tamper(statement: str) -> None:
        await write(city.engine, lambda connection: connection.execute(text(statement)))

    for statement in (
        "UPDATE programme_version SET terms = '{}'",
        "DELETE FROM programme_version",
        "UPDATE programme_draft SET terms = '{}'",
        "DELETE FROM programme_draft",
    ):
        with pytest.raises(Exception, match="permission denied"):
            await tamper(statement)
    # Terms that change without becoming the next version are refused by their key.
    with pytest.raises(Exception, match="pk_programme_version"):
        await tamper("UPDATE programme SET terms = jsonb_set(terms, '{name}', '\"x\"')")
