"""A campaign from its draft to its end, on the real tables and a clock that is told when."""

import asyncio
import json
import subprocess
import sys
from collections import Counter as Tally
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.campaigns import (
    CLERK,
    CLOSES,
    OPENS,
    RESULTS_ON,
    VALUE,
    Fair,
    close_applications,
    first_come,
    make_applicant,
    make_fair,
    open_applications,
    terms,
)
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US, PEPPER
from tests.patience import until
from tests.servers import Database
from wallet.core.clock import TestClock, to_microseconds
from wallet.core.database import read, write
from wallet.core.ids import align_id, new_id
from wallet.ledger.teller import Teller
from wallet.people.persons import Opened
from wallet.vouchers.apply import find_application
from wallet.vouchers.campaigns import read_story, resume_campaign, suspend_campaign
from wallet.vouchers.campaigns_rules import NOTICE_FROM, State, end_of
from wallet.vouchers.check import decide_application
from wallet.vouchers.draw import (
    Draw,
    PublicValue,
    ask_for_list,
    commit_seed,
    find_draw,
    rename_value,
    reveal,
)
from wallet.vouchers.draw_due import load_entries
from wallet.vouchers.lapse_purchases import lapse_due
from wallet.vouchers.lottery import hash_of, list_text
from wallet.vouchers.lottery import listed as lottery_order
from wallet.vouchers.purchase_rules import ReserveRequest
from wallet.vouchers.purchase_stock import OnSale, list_sales
from wallet.vouchers.reserve import RESERVE, Reserved
from wallet.vouchers.results import offers_of, places_of, published

TOLD_AT = datetime.combine(RESULTS_ON, NOTICE_FROM)
SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_draw.py"
Rooms = tuple[AsyncEngine, Teller, TestClock]


@pytest.fixture
async def rooms(database: Database) -> AsyncIterator[Rooms]:
    """Yield an engine, a teller and a clock on a city of their own."""
    clock = TestClock(NOW_US)
    async with open_rooms(database.application_url, clock=clock) as (engine, teller):
        yield engine, teller, clock


async def lapse(fair: Fair, *, bought: int) -> None:
    """Have ``bought`` of the offers bought whole, and let the deadline of the others come."""
    async with read(fair.engine) as connection:
        statement = text(
            "SELECT application_id, deadline FROM win WHERE state = 'offered' ORDER BY 1"
        )
        offered = (await connection.execute(statement)).all()
    buy = text(
        "UPDATE win SET state = 'bought', units_bought = units WHERE application_id = ANY (:ids)"
    )
    values = {"ids": [one.application_id for one in offered[:bought]]}
    await write(fair.engine, lambda connection: connection.execute(buy, values))
    fair.go_to(offered[0].deadline)
    await fair.work()


async def files_of(fair: Fair, round_: int, directory: Path) -> dict[str, str]:
    """Write the published files of a draw, and return them."""
    files = await published(fair.engine, campaign_id=fair.id, round_=round_)
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8")
    return files


def verify(directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the script that everybody can run, without anything of ours in its way."""
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(directory), *more],
        capture_output=True,
        text=True,
        check=False,
    )


async def told_fair(rooms: Rooms, *, people: int, sets_total: int) -> tuple[Fair, list[Opened]]:
    """Return a campaign whose first round was drawn and told; everybody had asked for two."""
    engine, teller, clock = rooms
    two_rounds = terms(second_round=True)
    fair = await make_fair(engine, teller, clock, terms_=two_rounds, sets_total=sets_total)
    await open_applications(fair)
    opened = [await make_applicant(engine, now_us=clock()) for _ in range(people)]
    for one in opened:
        await fair.apply(one, units=2)
    await close_applications(fair)
    await fair.draw()
    fair.go_to(TOLD_AT)
    await fair.work()
    return fair, opened


async def test_results_are_told_on_their_day_and_winners_may_buy(rooms: Rooms) -> None:
    fair, people = await told_fair(rooms, people=8, sets_total=6)
    assert (await fair.now()).state is State.PURCHASING
    won = await fair.events("application.won")
    assert Tally(one["units"] for one in won) == {1: 6}
    assert len(await fair.events("application.lost")) == 2
    async with read(fair.engine) as connection:
        offers = [
            offer
            for one in people
            for offer in await offers_of(connection, one.person_id, now_us=fair.clock())
        ]
    assert len(offers) == 6
    assert {one.deadline for one in offers} == {end_of(RESULTS_ON + timedelta(days=7))}
    fair.go_to(offers[0].deadline)
    async with read(fair.engine) as connection:
        for one in people:
            assert await offers_of(connection, one.person_id, now_us=fair.clock()) == []


async def test_nobody_hears_of_a_draw_before_its_day(rooms: Rooms, tmp_path: Path) -> None:
    engine, teller, clock = rooms
    fair = await open_applications(await make_fair(engine, teller, clock))
    applicant = await make_applicant(engine, now_us=clock())
    made = await fair.apply(applicant)
    await close_applications(fair)
    await fair.draw()
    assert (await fair.now()).state is State.DRAWN
    assert await fair.events("application.won") == []
    async with read(engine) as connection:
        (place,) = await places_of(connection, made.id)
        assert place.units_won is None
        assert (await find_application(connection, made.id)).state == "accepted"
        assert await offers_of(connection, applicant.person_id, now_us=clock()) == []
    files = await files_of(fair, 1, tmp_path)
    assert files.keys() == {"draw.json", "list.csv"}
    assert json.loads(files["draw.json"])["result_sha256"] is None


async def test_anybody_can_recompute_a_draw_from_what_was_published(
    rooms: Rooms, tmp_path: Path
) -> None:
    fair, _ = await told_fair(rooms, people=8, sets_total=6)
    files = await files_of(fair, 1, tmp_path)
    checked = verify(tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert await published(fair.engine, campaign_id=fair.id, round_=1) == files
    hashes = {one["application_id"] for one in await fair.events("application.lost")}
    name = "app_" + UUID(hashes.pop()).hex
    assert (
        f"{name}: frame voucher, asked for 2, won 0."
        in verify(tmp_path, "--application", name).stdout
    )


async def test_what_was_not_bought_is_drawn_again_among_those_who_missed_it(
    rooms: Rooms, tmp_path: Path
) -> None:
    fair, _ = await told_fair(rooms, people=8, sets_total=6)
    await lapse(fair, bought=2)
    assert len(await fair.events("application.lapsed")) == 4
    assert (await fair.now()).state is State.LAPSED_UNITS
    value = PublicValue(named="日経平均株価の終値", at=VALUE.at + timedelta(days=20))
    await fair.commit(2, value)
    await fair.draw(2, value_at=value.at)
    assert (await fair.now()).state is State.SECOND_ROUND
    files = await files_of(fair, 2, tmp_path)
    assert verify(tmp_path).returncode == 0
    assert json.loads(files["draw.json"])["units"] == {"voucher": 4}
    # The two losers with both units, the two buyers with the one they did not win; the four who
    # let theirs lapse are not asked again.
    entries = [one.split(",")[2] for one in files["list.csv"].splitlines()[1:]]
    assert sorted(entries) == ["1", "1", "2", "2"]


async def test_the_whole_way_is_told_step_by_step(rooms: Rooms) -> None:
    fair, _ = await told_fair(rooms, people=3, sets_total=2)
    await lapse(fair, bought=1)
    value = PublicValue(named="翌月の終値", at=VALUE.at + timedelta(days=20))
    await fair.commit(2, value)
    await fair.draw(2, value_at=value.at)
    await lapse(fair, bought=1)
    fair.go_to(end_of((await fair.now()).terms.use_until))
    await fair.work()
    for state in list(State)[list(State).index(State.CLEARING) :]:
        await fair.step(state)
    async with read(fair.engine) as connection:
        story = await read_story(connection, fair.id)
    moved = [one for one in story if one.kind == "moved"]
    assert [one.to_state for one in moved] == [one for one in State if one is not State.DRAFT]
    assert all(one.public_text for one in story)
    opened = next(one for one in moved if one.to_state == State.APPLYING)
    assert (opened.actor, opened.scheduled_at) == ("clock", OPENS)


async def test_when_there_are_enough_everybody_wins_what_they_asked_for(rooms: Rooms) -> None:
    engine, teller, clock = rooms
    fair = await open_applications(await make_fair(engine, teller, clock))
    for units in (1, 2, 3):
        await fair.apply(await make_applicant(engine, now_us=clock()), units=units)
    await close_applications(fair)
    await fair.draw()
    fair.go_to(TOLD_AT)
    await fair.work()
    assert sorted(one["units"] for one in await fair.events("application.won")) == [1, 2, 3]
    assert await fair.events("application.lost") == []


async def test_a_campaign_that_nobody_applies_for_goes_on_all_the_same(
    rooms: Rooms, tmp_path: Path
) -> None:
    engine, teller, clock = rooms
    fair = await close_applications(await open_applications(await make_fair(engine, teller, clock)))
    await fair.draw()
    fair.go_to(TOLD_AT)
    await fair.work()
    assert (await fair.now()).state is State.LAPSED_UNITS
    await files_of(fair, 1, tmp_path)
    assert verify(tmp_path).returncode == 0
    await fair.step(State.IN_USE)


async def test_a_first_come_sale_opens_and_closes_by_the_clock(rooms: Rooms) -> None:
    engine, teller, clock = rooms
    fair = await make_fair(engine, teller, clock, terms_=first_come())
    value = PublicValue(named="x", at=CLOSES + timedelta(days=1))
    told = await fair.refused(
        fair.do(commit_seed, round_=1, value=value, actor=CLERK, pepper=PEPPER)
    )
    assert told.refusal.code == "draw_not_now"
    assert await fair.work() == 0
    fair.go_to(OPENS)
    await fair.work()
    assert (await fair.now()).state is State.PURCHASING
    on_sale = await sale_of(fair)
    assert on_sale is not None
    assert (on_sale.mode, on_sale.closes_us) == ("first_come", to_microseconds(CLOSES))
    fair.go_to(CLOSES)
    await fair.work()
    assert (await fair.now()).state is State.IN_USE


async def sale_of(fair: Fair) -> OnSale | None:
    """Return the sale of the campaign's frame, None when nobody can buy now."""
    async with read(fair.engine) as connection:
        (found,) = await list_sales(connection, now_us=fair.clock(), also_over=True)
    return found if found.opens_us <= fair.clock() < found.closes_us else None


async def test_a_sale_is_on_for_as_long_as_the_campaign_sells(rooms: Rooms) -> None:
    fair, _ = await told_fair(rooms, people=3, sets_total=2)
    on_sale = await sale_of(fair)
    assert on_sale is not None
    assert (on_sale.mode, on_sale.units_total) == ("offered", 2)
    assert on_sale.closes_us == to_microseconds(end_of(RESULTS_ON + timedelta(days=7)))
    fair.clock.advance(seconds=60)
    await fair.do(suspend_campaign, actor=CLERK, reason="決済の不具合")
    assert await sale_of(fair) is None
    fair.clock.advance(seconds=60)
    await fair.do(resume_campaign, actor=CLERK, reason="直しました")
    assert (await sale_of(fair) or on_sale).closes_us == on_sale.closes_us
    assert await sale_of(fair) is not None


async def test_an_offer_that_is_being_paid_for_does_not_lapse(rooms: Rooms) -> None:
    engine, teller, _ = rooms
    fair, people = await told_fair(rooms, people=1, sets_total=2)
    async with read(engine) as connection:
        (offer,) = await offers_of(connection, people[0].person_id, now_us=fair.clock())
    fair.go_to(offer.deadline - timedelta(hours=1))
    request = ReserveRequest(
        purchase_id=align_id(new_id(now_us=fair.clock())),
        person_id=people[0].person_id,
        wallet_id=people[0].wallet_id,
        programme=offer.frame,
        units=1,
        idempotency_key="once",
        application_id=offer.application_id,
    )
    assert isinstance(await teller.submit(RESERVE, request), Reserved)
    fair.go_to(offer.deadline)
    await fair.work()
    assert (await fair.now()).state is State.PURCHASING
    assert await fair.events("application.lapsed") == []
    assert await lapse_due(engine, now_us=fair.clock()) == 1
    await fair.work()
    assert (await fair.now()).state is State.LAPSED_UNITS
    assert len(await fair.events("application.lapsed")) == 1


async def test_a_suspended_campaign_stands_still_until_it_is_resumed(rooms: Rooms) -> None:
    engine, teller, clock = rooms
    fair = await open_applications(await make_fair(engine, teller, clock))
    applicant = await make_applicant(engine, now_us=clock())
    await fair.do(suspend_campaign, actor=CLERK, reason="申込画面の不具合")
    told = await fair.refused(fair.apply(applicant))
    assert told.refusal.code == "campaign_suspended"
    fair.go_to(CLOSES)
    assert await fair.work() == 0
    told = await fair.refused(fair.step(State.CLOSED))
    assert told.refusal.code == "campaign_suspended"
    again = fair.do(suspend_campaign, actor=CLERK, reason="もう一度")
    assert (await fair.refused(again)).refusal.code == "campaign_suspended"
    await fair.do(resume_campaign, actor=CLERK, reason="直しました")
    again = fair.do(resume_campaign, actor=CLERK, reason="もう一度")
    assert (await fair.refused(again)).refusal.code == "campaign_not_suspended"
    await fair.work()
    assert (await fair.now()).state is State.CHECKING


async def test_the_steps_of_a_draw_are_taken_in_their_order_or_not_at_all(rooms: Rooms) -> None:
    engine, teller, clock = rooms
    fair = await open_applications(await make_fair(engine, teller, clock))
    office = {"round_": 1, "actor": CLERK}

    async def told(verb: object, **fields: object) -> str:
        return (await fair.refused(fair.do(verb, **office, **fields))).refusal.code

    late = PublicValue(named="x", at=VALUE.at + timedelta(days=1))
    said = {"public_value": "1", "pepper": PEPPER}
    assert await told(commit_seed, value=late, pepper=PEPPER) == "draw_not_now"
    assert await told(ask_for_list) == "draw_not_now"
    assert await told(reveal, **said) == "draw_not_listed"
    await fair.apply(await make_applicant(engine, now_us=clock()))
    await close_applications(fair)
    early = PublicValue(named="x", at=VALUE.at - timedelta(hours=1))
    assert await told(rename_value, value=early, reason="r") == "draw_value_invalid"
    await fair.do(ask_for_list, **office)
    assert await told(ask_for_list) == "draw_listed"
    await fair.work()
    assert await told(rename_value, value=late, reason="r") == "draw_listed"
    assert await told(reveal, **said) == "draw_too_early"
    fair.go_to(VALUE.at)
    assert await told(reveal, public_value="  ", pepper=PEPPER) == "draw_value_invalid"
    await fair.do(reveal, **office, **said)
    assert await told(reveal, **said) == "draw_revealed"


async def test_a_list_that_is_late_needs_a_later_value(rooms: Rooms) -> None:
    engine, teller, clock = rooms
    fair = await close_applications(await open_applications(await make_fair(engine, teller, clock)))
    fair.go_to(VALUE.at)
    office = {"round_": 1, "actor": CLERK}
    told = await fair.refused(fair.do(ask_for_list, **office))
    assert told.refusal.code == "draw_value_invalid"
    late = PublicValue(named="翌週の終値", at=VALUE.at + timedelta(days=1))
    await fair.do(rename_value, **office, value=late, reason="確認に時間がかかったため")
    await fair.draw(value_at=late.at)
    async with read(engine) as connection:
        held = await find_draw(connection, fair.id, 1)
    assert held is not None
    assert held.drawn_at is not None


async def test_a_draw_that_was_interrupted_goes_on_to_the_same_result(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, teller, clock = rooms
    fair = await open_applications(await make_fair(engine, teller, clock, sets_total=3))
    for _ in range(5):
        await fair.apply(await make_applicant(engine, now_us=clock()), units=2)
    await close_applications(fair)
    monkeypatch.setattr("wallet.vouchers.draw_due.ENTRIES_PER_PORTION", 2)
    monkeypatch.setattr("wallet.vouchers.draw_due.ENTRIES_PER_READ", 2)
    monkeypatch.setattr("wallet.vouchers.check.CHECKED_PER_ROUND", 2)
    await fair.draw()
    undo = text("UPDATE draw_entry SET units_won = NULL WHERE application_id IN"
                " (SELECT application_id FROM draw_entry ORDER BY 1 LIMIT 3)")  # fmt: skip
    before = await _result(fair)
    await write(engine, lambda connection: connection.execute(undo))
    forget = text("UPDATE draw SET drawn_at = NULL, result_hash = NULL")
    await write(engine, lambda connection: connection.execute(forget))
    await fair.work()
    assert await _result(fair) == before
    fair.go_to(TOLD_AT)
    await fair.work()
    await fair.work()
    told = await fair.events("application.won"), await fair.events("application.lost")
    assert [len(ones) for ones in told] == [3, 2]


async def test_a_list_that_another_worker_is_filling_is_not_closed_too_early(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, teller, clock = rooms
    monkeypatch.setattr("wallet.vouchers.draw_due.ENTRIES_PER_PORTION", 1)
    fair = await open_applications(await make_fair(engine, teller, clock))
    made = [await fair.apply(await make_applicant(engine, now_us=clock())) for _ in range(3)]
    await close_applications(fair)
    await fair.do(ask_for_list, round_=1, actor=CLERK)
    first = min(one.id for one in made)
    asked = await find_first_draw(engine, fair)
    take = text(
        "INSERT INTO draw_entry (draw_id, application_id, frame, units_asked)"
        " VALUES (:id, :application_id, 'voucher', 1)"
    )
    hold = text("SELECT FROM draw WHERE id = :id FOR NO KEY UPDATE")
    waits = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with engine.begin() as other:  # It has taken the first portion, and not committed it.
        await other.execute(hold, {"id": asked.id})
        await other.execute(take, {"id": asked.id, "application_id": first})
        work = asyncio.create_task(fair.work())

        async def is_waiting() -> object:
            async with read(engine) as connection:
                return (await connection.execute(waits)).scalar_one()

        await until(is_waiting)
    await asyncio.gather(work, fair.work())
    listed = await find_first_draw(engine, fair)
    entries, _ = await load_entries(engine, listed)
    assert len(entries) == 3
    assert listed.list_hash == hash_of(list_text(lottery_order(entries)))


async def find_first_draw(engine: AsyncEngine, fair: Fair) -> Draw:
    """Return the first round of a campaign."""
    async with read(engine) as connection:
        held = await find_draw(connection, fair.id, 1)
    assert held is not None
    return held


async def test_a_list_that_was_changed_is_not_drawn_from(
    rooms: Rooms, caplog: pytest.LogCaptureFixture
) -> None:
    engine, teller, clock = rooms
    fair = await open_applications(await make_fair(engine, teller, clock, sets_total=1))
    friend, _ = [await fair.apply(await make_applicant(engine, now_us=clock())) for _ in range(2)]
    await close_applications(fair)
    reject = partial(
        decide_application, application_id=friend.id, reason="duplicate", now_us=clock()
    )
    await write(engine, reject)
    await fair.do(ask_for_list, round_=1, actor=CLERK)
    await fair.work()
    async with read(engine) as connection:
        held = await find_draw(connection, fair.id, 1)
    assert held is not None
    let_in = text(
        "INSERT INTO draw_entry (draw_id, application_id, frame, units_asked)"
        " VALUES (:draw_id, :application_id, 'voucher', 1)"
    )
    values = {"draw_id": held.id, "application_id": friend.id}
    await write(engine, lambda connection: connection.execute(let_in, values))
    fair.go_to(VALUE.at)
    said = {"public_value": "1", "actor": CLERK, "pepper": PEPPER}
    await fair.do(reveal, round_=1, **said)
    assert await fair.work() == 0
    assert "its list was changed" in caplog.text
    assert (await fair.now()).state is State.CHECKING


async def _result(fair: Fair) -> tuple[list[tuple[object, ...]], bytes | None]:
    async with read(fair.engine) as connection:
        statement = text("SELECT application_id, units_won FROM draw_entry ORDER BY 1")
        rows = [tuple(row) for row in await connection.execute(statement)]
        held = await find_draw(connection, fair.id, 1)
        assert held is not None
        return rows, held.result_hash
