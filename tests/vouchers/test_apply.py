"""Applications on the real tables: once each, by whatever way, and never changed again."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.campaigns import (
    CLERK,
    CLOSES,
    OPENS,
    Fair,
    close_applications,
    make_applicant,
    make_fair,
    open_applications,
    terms,
)
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.people import make_wallet
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.ledger.teller import Teller
from wallet.people.guardians import add_guardianship
from wallet.people.persons import Opened
from wallet.programmes.terms import Eligibility
from wallet.vouchers.apply import (
    Application,
    Wish,
    apply,
    find_application,
    give_wallet,
    withdraw,
)
from wallet.vouchers.apply_rules import ApplicantFacts, SoftIdentity
from wallet.vouchers.check import decide_application
from wallet.vouchers.draw import ask_for_list
from wallet.vouchers.profiles import Profile, add_to_list, keep_profile
from wallet.vouchers.results import applications_of, count_applications, list_applications

Rooms = tuple[AsyncEngine, Teller, TestClock]

_numbers = itertools.count()
TARO = SoftIdentity(name="姫路 太郎", birth_date=date(1950, 4, 1), address="本町68-1")


@pytest.fixture
async def rooms(module_database: Database) -> AsyncIterator[Rooms]:
    """Yield an engine, a teller and a clock in the module's city."""
    clock = TestClock(NOW_US)
    async with open_rooms(module_database.application_url, clock=clock) as (engine, teller):
        yield engine, teller, clock


async def opened_fair(rooms: Rooms, eligibility: Eligibility | None = None, **of: object) -> Fair:
    """Return a campaign that takes applications."""
    engine, teller, clock = rooms
    frame = f"voucher-{next(_numbers)}"
    made = await make_fair(
        engine,
        teller,
        clock,
        terms_=terms(frame, **of),
        frames=(frame,),
        eligibility=eligibility,
    )
    return await open_applications(made)


async def profile(fair: Fair, opened: Opened, **fields: object) -> None:
    """Write down what the city knows of somebody."""
    kept = Profile(**fields)  # type: ignore[arg-type] # fields of several types
    work = partial(
        keep_profile,
        person_id=opened.person_id,
        profile=kept,
        pepper=PEPPER,
        now_us=fair.clock(),
    )
    await write(fair.engine, work)


async def decide(fair: Fair, application: Application, reason: str | None) -> Application:
    """Decide an application as the office does."""
    work = partial(
        decide_application,
        application_id=application.id,
        reason=reason,
        now_us=fair.clock(),
    )
    return await write(fair.engine, work)


async def run(fair: Fair, statement: str) -> None:
    """Run a statement as the application."""
    await write(fair.engine, lambda connection: connection.execute(text(statement)))


async def again(fair: Fair, application: Application) -> Application:
    """Return an application as it stands now."""
    async with read(fair.engine) as connection:
        return await find_application(connection, application.id)


async def paper(fair: Fair, units: int = 1, **changes: object) -> Application:
    """Send a paper of somebody unknown in."""
    fields = {"channel": "paper", "identity": TARO, **changes}
    made, _ = await fair.send(None, units, **fields)
    return made


async def test_the_same_application_again_is_answered_and_another_one_is_refused(
    rooms: Rooms,
) -> None:
    fair = await opened_fair(rooms)
    person = await make_applicant(fair.engine, now_us=fair.clock())
    made, is_new = await fair.send(person, 2)
    assert (made.state, made.units_asked, is_new) == ("submitted", 2, True)
    assert await fair.send(person, 2) == (made, False)
    told = await fair.refused(fair.send(person, 3))
    assert (told.refusal.code, told.refusal.facts) == ("application_exists", {"units_asked": 2})
    assert len(await fair.events("application.submitted")) == 1


async def test_a_hundred_taps_are_one_application(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    person = await make_applicant(fair.engine, now_us=fair.clock())
    papers = [fair.send(None, 1, channel="paper", identity=TARO) for _ in range(20)]
    taps = [fair.send(person, 1) for _ in range(30)]
    answers = await asyncio.gather(*papers, *taps)
    assert len({made.id for made, _ in answers}) == 2
    assert sum(is_new for _, is_new in answers) == 2


async def test_units_of_all_frames_together_stay_within_the_limit_under_a_rush(
    rooms: Rooms,
) -> None:
    engine, teller, clock = rooms
    frames = ("general", "silver", "child")
    made = await make_fair(
        engine, teller, clock, terms_=terms(*frames, units_per_person=10), frames=frames
    )
    fair = await open_applications(made)
    person = await make_applicant(engine, now_us=clock())
    answers = await asyncio.gather(
        *(fair.send(person, 5, frame=one) for one in frames), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, RefusedError)]
    assert [one.refusal.code for one in refused] == ["units_too_many"]
    assert refused[0].refusal.facts == {"units_max": 0}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"frame": "other"}, "frame_unknown"),
        ({"units": 11}, "units_too_many"),
    ],
    ids=["frame", "units"],
)
async def test_what_can_never_be_is_refused_at_once(
    rooms: Rooms, changes: dict[str, Any], code: str
) -> None:
    fair = await opened_fair(rooms)
    person = await make_applicant(fair.engine, now_us=fair.clock())
    told = await fair.refused(fair.send(person, **changes))
    assert told.refusal.code == code


async def test_nobody_applies_before_the_day_or_after_it(rooms: Rooms) -> None:
    engine, teller, clock = rooms
    fair = await make_fair(engine, teller, clock, terms_=terms("early"), frames=("early",))
    person = await make_applicant(engine, now_us=clock())
    assert (await fair.refused(fair.send(person))).refusal.code == "applications_closed"
    await open_applications(fair)
    made = await fair.apply(person)
    fair.go_to(CLOSES)  # The worker has not closed it yet; the hour has come all the same.
    other = await make_applicant(engine, now_us=clock())
    assert (await fair.refused(fair.send(other))).refusal.code == "applications_closed"
    leave = write(engine, partial(withdraw, application_id=made.id, now_us=clock()))
    assert (await fair.refused(leave)).refusal.code == "applications_closed"


async def test_whoever_withdraws_may_apply_anew(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    person = await make_applicant(fair.engine, now_us=fair.clock())
    first = await fair.apply(person, 1)
    for _ in range(2):  # Twice is as good as once.
        await write(fair.engine, partial(withdraw, application_id=first.id, now_us=fair.clock()))
    second = await fair.apply(person, 3)
    assert (await again(fair, first)).state == "withdrawn"
    assert (second.id, second.units_asked) != (first.id, 1)
    assert len(await fair.events("application.withdrawn")) == 1


async def test_what_was_asked_for_cannot_be_changed_by_any_statement_of_ours(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    await fair.apply(await make_applicant(fair.engine, now_us=fair.clock()))
    for change in ("units_asked = 9", "frame = 'x'", "applicant_key = ''"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            await run(fair, f"UPDATE application SET {change}")  # noqa: S608 - the lines above


async def test_a_guardian_sees_the_wards_application_as_their_own(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    now_us = fair.clock()
    child, parent, other = [await make_applicant(fair.engine, now_us=now_us) for _ in range(3)]
    await write(
        fair.engine,
        lambda connection: add_guardianship(
            connection,
            guardian_id=parent.person_id,
            wallet_id=child.wallet_id,
            kind="child",
            now_us=now_us,
        ),
    )
    made = await fair.apply(child)
    assert made.person_id == child.person_id
    async with read(fair.engine) as connection:
        for who, seen in ((child, [made]), (parent, [made]), (other, [])):
            found = await applications_of(connection, who.person_id, before=None, limit=10)
            assert found == seen


async def test_a_wallet_must_be_there_and_be_active(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    person = await make_applicant(fair.engine, now_us=fair.clock())
    card_only = await make_wallet(fair.engine)
    nobody = fair.send(None, wallet_id=card_only)
    assert (await fair.refused(nobody)).refusal.code == "person_unknown"
    stranger = await make_applicant(fair.engine, now_us=fair.clock())
    mixed = fair.send(person, person_id=stranger.person_id)
    assert (await fair.refused(mixed)).refusal.code == "wallet_unknown"
    freeze = text("UPDATE wallet SET state = 'frozen' WHERE id = :id")
    await write(
        fair.engine, lambda connection: connection.execute(freeze, {"id": person.wallet_id})
    )
    assert (await fair.refused(fair.send(person))).refusal.code == "wallet_frozen"


async def test_who_is_surely_not_meant_is_told_at_once_and_who_may_be_is_taken(
    rooms: Rooms,
) -> None:
    fair = await opened_fair(rooms, Eligibility(resident=True, min_age=65))
    elsewhere = await make_applicant(fair.engine, now_us=fair.clock(), resident=False)
    told = await fair.refused(fair.send(elsewhere))
    assert told.refusal.code == "application_not_eligible"
    assert told.refusal.facts["reasons"] == ["not_resident"]
    old, young, unknown, late = [
        await make_applicant(fair.engine, now_us=fair.clock()) for _ in range(4)
    ]
    await profile(fair, old, birth_year=1950)
    await profile(fair, young, birth_year=1990)
    assert (await fair.refused(fair.send(young))).refusal.facts["reasons"] == ["age"]
    taken, open_, later = [await fair.apply(one) for one in (old, unknown, late)]
    await profile(fair, late, birth_year=1960)
    await close_applications(fair)
    assert (await again(fair, taken)).state == "accepted"
    assert (await again(fair, later)).state == "accepted"
    rejected = await again(fair, open_)
    assert (rejected.state, rejected.reason) == ("rejected", "unconfirmed")
    (event,) = await fair.events("application.rejected")
    assert event["reason"] == "unconfirmed"


async def test_a_list_lets_in_whoever_is_on_it(rooms: Rooms) -> None:
    fair = await opened_fair(rooms, Eligibility(list="carers"))
    on, off = [await make_applicant(fair.engine, now_us=fair.clock()) for _ in range(2)]
    work = partial(add_to_list, list_code="carers", person_ids=[on.person_id], now_us=fair.clock())
    assert [await write(fair.engine, work) for _ in range(2)] == [1, 0]
    await fair.apply(on)
    assert (await fair.refused(fair.send(off))).refusal.facts["reasons"] == ["not_listed"]


async def test_a_paper_makes_the_same_object_and_has_to_say_everything(rooms: Rooms) -> None:
    fair = await opened_fair(rooms, Eligibility(resident=True))
    told = await fair.refused(paper(fair))
    assert told.refusal.facts["reasons"] == ["unconfirmed"]
    made = await paper(fair, facts=ApplicantFacts(resident=True))
    assert (made.channel, made.person_id, made.state) == ("paper", None, "submitted")
    written_otherwise = SoftIdentity(
        name="姫路太郎", birth_date=TARO.birth_date, address="本町６８－１"
    )
    twice = await paper(fair, identity=written_otherwise, facts=ApplicantFacts(resident=True))
    assert twice == made
    assert (await fair.refused(fair.send(None, 1))).refusal.code == "person_unknown"
    await close_applications(fair)
    assert (await again(fair, made)).state == "accepted"


async def test_a_paper_is_given_a_wallet_once_and_its_units_go_there(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    made, card_wallet = await paper(fair), await make_wallet(fair.engine)
    other = await make_applicant(fair.engine, now_us=fair.clock())

    def give(application: Application, wallet_id: UUID) -> Awaitable[Application]:
        work = partial(give_wallet, application_id=application.id, wallet_id=wallet_id)
        return write(fair.engine, work)

    nowhere = await fair.refused(give(made, uuid4()))
    assert nowhere.refusal.code == "wallet_unknown"
    given = await give(made, card_wallet)
    assert given.wallet_id == card_wallet
    assert await paper(fair) == given  # The paper itself says the same as before.
    twice = await fair.refused(give(made, other.wallet_id))
    assert twice.refusal.code == "application_decided"
    known, _ = await fair.send(None, channel="paper", person_id=other.person_id)
    stranger = await make_applicant(fair.engine, now_us=fair.clock())
    of_another = await fair.refused(give(known, stranger.wallet_id))
    assert of_another.refusal.code == "wallet_unknown"
    assert (await give(known, other.wallet_id)).wallet_id == other.wallet_id


async def test_nothing_that_was_written_on_a_paper_is_kept(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    await paper(fair)
    async with read(fair.engine) as connection:
        for table in ("application", "campaign_event", "outbox"):
            whole = f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} AS t"  # noqa: S608 - as above
            kept = (await connection.execute(text(whole))).scalar_one()
            for secret in ("太郎", "本町", "1950-04-01"):
                assert secret not in kept


async def test_what_looks_like_a_duplicate_waits_for_somebody(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    person, single = [await make_applicant(fair.engine, now_us=fair.clock()) for _ in range(2)]
    await profile(fair, person, identity=TARO)
    by_app, by_paper, alone = await fair.apply(person), await paper(fair), await fair.apply(single)
    early = await fair.refused(decide(fair, by_paper, "duplicate"))
    assert early.refusal.code == "applications_not_checked"
    await close_applications(fair)
    assert (await again(fair, alone)).state == "accepted"
    async with read(fair.engine) as connection:
        flagged = await list_applications(
            connection, fair.id, state=None, only_flagged=True, before=None, limit=10
        )
    assert {one.id for one in flagged} == {by_app.id, by_paper.id}
    assert {one.reason for one in flagged} == {"possible_duplicate"}
    listing = fair.do(ask_for_list, round_=1, actor=CLERK)
    told = await fair.refused(listing)
    assert (told.refusal.code, told.refusal.facts) == ("applications_unchecked", {"waiting": 2})
    await decide(fair, by_app, None)
    assert (await decide(fair, by_paper, "duplicate")).state == "rejected"
    await fair.draw()
    async with read(fair.engine) as connection:
        counted = await count_applications(connection, fair.id)
    assert {(one.channel, one.state, one.applications) for one in counted} == {
        ("app", "accepted", 2),
        ("paper", "rejected", 1),
    }


async def test_a_rejection_can_be_taken_back_until_the_list_is_fixed(rooms: Rooms) -> None:
    fair = await opened_fair(rooms, Eligibility(min_age=65))
    made = await fair.apply(await make_applicant(fair.engine, now_us=fair.clock()))
    await close_applications(fair)
    assert (await again(fair, made)).state == "rejected"
    unknown = await fair.refused(decide(fair, made, "looks odd"))
    assert unknown.refusal.code == "reason_unknown"
    assert (await decide(fair, made, None)).state == "accepted"
    twice = await fair.refused(decide(fair, made, None))
    assert twice.refusal.code == "application_decided"
    await fair.do(ask_for_list, round_=1, actor=CLERK)
    late = await fair.refused(decide(fair, made, "duplicate"))
    assert late.refusal.code == "draw_listed"


async def test_whoever_applies_in_the_last_moment_is_in_the_list_or_was_refused(
    rooms: Rooms,
) -> None:
    fair = await opened_fair(rooms)
    people = [await make_applicant(fair.engine, now_us=fair.clock()) for _ in range(12)]
    before_us, clock_us = fair.clock(), fair.clock

    async def one(opened: Opened, number: int) -> bool:
        await asyncio.sleep(number * 0.002)
        wish = Wish(
            campaign_id=fair.id,
            frame="voucher",
            units=1,
            channel="app",
            wallet_id=opened.wallet_id,
        )
        work = partial(apply, wish=wish, made_by="per_x", pepper=PEPPER, now_us=before_us)
        try:
            await write(fair.engine, work)
        except RefusedError:
            return False
        return True

    async def close() -> None:
        await asyncio.sleep(0.008)
        fair.go_to(CLOSES)
        await fair.work()

    *taken, _ = await asyncio.gather(*(one(o, n) for n, o in enumerate(people)), close())
    assert clock_us() > before_us
    await fair.work()
    async with read(fair.engine) as connection:
        counted = await count_applications(connection, fair.id)
    accepted = [one_.applications for one_ in counted if one_.state == "accepted"]
    assert sum(accepted) == sum(bool(one_) for one_ in taken)


async def test_the_schema_refuses_a_draw_out_of_its_order(rooms: Rooms) -> None:
    fair = await opened_fair(rooms)
    late = OPENS + timedelta(days=30)
    for change in (
        "seed = sha256('x')::bytea, public_value = '1', revealed_at = public_value_at",
        f"list_asked_at = '{late}', list_hash = sha256('x'), units = '{{}}', listed_at = '{late}'",
        "result_hash = sha256('x'), drawn_at = public_value_at",
    ):
        of_ours = f"UPDATE draw SET {change} WHERE campaign_id = '{fair.id}'"  # noqa: S608 - the lines above
        with pytest.raises(Exception, match="violates check constraint"):
            await run(fair, of_ours)
