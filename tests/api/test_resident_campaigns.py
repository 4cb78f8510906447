"""Applying through the doors of the app, seeing where it stands, and checking the draw."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import jsonschema_rs
import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.campaigns import (
    CLOSES,
    OPENS,
    RESULTS_ON,
    Fair,
    close_applications,
    make_fair,
    open_applications,
    terms,
)
from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US
from tests.factories.pockets import Pocket, open_pocket
from tests.factories.residents import Resident, make_resident, within
from tests.servers import Database
from wallet.core.clock import TestClock, to_microseconds
from wallet.core.ids import public_id
from wallet.people.counter import open_at_counter, raise_at_counter
from wallet.people.guardians import add_guardianship
from wallet.programmes.terms import Eligibility
from wallet.vouchers.campaigns_rules import NOTICE_FROM, State
from wallet.vouchers.results import published

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPLICATIONS = "/app/v1/applications"
CAMPAIGNS = "/app/v1/campaigns"
TOLD_AT = datetime.combine(RESULTS_ON, NOTICE_FROM)
_numbers = itertools.count()


@pytest_asyncio.fixture(loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city in which it is the day that applications open, and stays it.

    A campaign's own clock goes on without the phones', whose sessions would be over by then.
    """
    url = module_database.application_url
    async with make_city(url, clock=TestClock(to_microseconds(OPENS)), yen=0) as city:
        yield city


@pytest_asyncio.fixture(loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors."""
    async with open_pocket(city) as pocket:
        yield pocket


async def fair_in(pocket: Pocket, eligibility: Eligibility | None = None) -> Fair:
    """Return a campaign in the pocket's city that takes applications."""
    code, city = f"fair-{next(_numbers)}", pocket.city
    made = await make_fair(
        city.engine,
        city.teller,
        TestClock(NOW_US),
        terms_=terms(code),
        frames=(code,),
        eligibility=eligibility,
        sets_total=3,
    )
    return await open_applications(made)


async def make_applicant(pocket: Pocket, *, resident: bool = True) -> Resident:
    """Return somebody with a phone whom the counter has seen."""
    made = await make_resident(pocket.city.engine, now_us=pocket.app.clock())
    await within(
        pocket.city.engine,
        lambda connection: raise_at_counter(
            connection, person_id=made.id, resident=resident, now_us=pocket.app.clock()
        ),
    )
    return made


async def send(pocket: Pocket, fair: Fair, who: Resident, units: int = 1, **changes: Any) -> Any:  # noqa: ANN401 - JSON
    """Apply by a phone."""
    body = {
        "campaign_id": public_id("cmp", fair.id),
        "frame": fair.frame,
        "units": units,
        **changes,
    }
    return await pocket.app.call(who.phone, "POST", APPLICATIONS, body)


async def look(pocket: Pocket, who: Resident, path: str) -> Any:  # noqa: ANN401 - JSON
    """Return what a door shows to somebody."""
    response = await pocket.app.call(who.phone, "GET", path)
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_application_is_made_once_and_seen_for_ever_after(pocket: Pocket) -> None:
    fair, who = await fair_in(pocket), await make_applicant(pocket)
    made = await send(pocket, fair, who, 2)
    assert (made.status_code, made.json()["state"]) == (201, "submitted")
    assert made.json()["text"] == "申込を受け付けました。"
    again = await send(pocket, fair, who, 2)
    assert (again.status_code, again.json()) == (200, made.json())
    assert problem_of(await send(pocket, fair, who, 1), "application_exists")["units_asked"] == 2
    assert (await look(pocket, who, APPLICATIONS))["data"] == [made.json()]
    await close_applications(fair)
    (listed,) = (await look(pocket, who, APPLICATIONS))["data"]
    assert listed["state"] == "accepted"


async def test_who_has_withdrawn_may_apply_anew(pocket: Pocket) -> None:
    fair, who = await fair_in(pocket), await make_applicant(pocket)
    path = f"{APPLICATIONS}/{(await send(pocket, fair, who)).json()['id']}"
    assert (await pocket.app.call(who.phone, "DELETE", path)).status_code == 204
    pocket.app.clock.advance(seconds=1)
    assert (await send(pocket, fair, who, 3)).status_code == 201
    states = [one["state"] for one in (await look(pocket, who, APPLICATIONS))["data"]]
    assert states == ["submitted", "withdrawn"]
    page = await look(pocket, who, f"{APPLICATIONS}?limit=1")
    rest = await look(pocket, who, f"{APPLICATIONS}?limit=1&cursor={page['next_cursor']}")
    assert [page["data"][0]["state"], rest["data"][0]["state"]] == states
    assert (page["has_more"], rest["has_more"]) == (True, False)


async def test_what_cannot_be_is_told_why(pocket: Pocket) -> None:
    fair = await fair_in(pocket, Eligibility(resident=True))
    who, elsewhere = await make_applicant(pocket), await make_applicant(pocket, resident=False)
    told = problem_of(await send(pocket, fair, elsewhere), "application_not_eligible")
    assert told["reasons"] == ["not_resident"]
    problem_of(await send(pocket, fair, who, 4), "units_too_many")
    problem_of(await send(pocket, fair, who, frame="other"), "frame_unknown")
    problem_of(await send(pocket, fair, who, wallet_id="wal_" + "0" * 32), "wallet_unknown")
    problem_of(await send(pocket, fair, who, campaign_id="cmp_" + "0" * 32), "campaign_unknown")
    problem_of(await send(pocket, fair, who, 0), "request_invalid")
    problem_of(
        await pocket.app.call(who.phone, "GET", f"{APPLICATIONS}/app_{'0' * 32}"),
        "application_unknown",
    )
    await close_applications(fair)
    problem_of(await send(pocket, fair, who), "applications_closed")


async def test_nobody_sees_or_withdraws_anothers_application(pocket: Pocket) -> None:
    fair = await fair_in(pocket)
    who, other = await make_applicant(pocket), await make_applicant(pocket)
    path = f"{APPLICATIONS}/{(await send(pocket, fair, who)).json()['id']}"
    for method in ("GET", "DELETE"):
        problem_of(await pocket.app.call(other.phone, method, path), "application_unknown")
    problem_of(
        await send(pocket, fair, other, wallet_id=public_id("wal", who.wallet_id)),
        "wallet_unknown",
    )
    assert (await look(pocket, other, APPLICATIONS))["data"] == []


async def test_a_guardian_applies_for_a_child_and_sees_it(pocket: Pocket) -> None:
    fair, parent = await fair_in(pocket), await make_applicant(pocket)
    now_us = pocket.app.clock()

    async def take_in(connection: Any) -> Any:  # noqa: ANN401 - a connection, and who was opened
        child = await open_at_counter(connection, resident=True, now_us=now_us)
        await add_guardianship(
            connection,
            guardian_id=parent.id,
            wallet_id=child.wallet_id,
            kind="child",
            now_us=now_us,
        )
        return child

    child = await within(pocket.city.engine, take_in)
    of_child = {"wallet_id": public_id("wal", child.wallet_id)}
    both = [await send(pocket, fair, parent), await send(pocket, fair, parent, 1, **of_child)]
    assert [one.status_code for one in both] == [201, 201]
    seen = (await look(pocket, parent, APPLICATIONS))["data"]
    assert {one["id"] for one in seen} == {one.json()["id"] for one in both}
    path = f"{APPLICATIONS}/{both[1].json()['id']}"
    assert (await look(pocket, parent, path))["places"] == []


async def test_the_result_is_there_on_its_day_and_can_be_found_in_the_list(
    pocket: Pocket,
) -> None:
    fair = await fair_in(pocket)
    people = [await make_applicant(pocket) for _ in range(4)]
    ids = [(await send(pocket, fair, one)).json()["id"] for one in people]
    await close_applications(fair)
    await fair.draw()
    early = [
        await look(pocket, one, f"{APPLICATIONS}/{i}") for one, i in zip(people, ids, strict=True)
    ]
    assert {one["state"] for one in early} == {"accepted"}
    assert {one["places"][0]["units_won"] for one in early} == {None}
    fair.go_to(TOLD_AT)
    await fair.work()
    late = [
        await look(pocket, one, f"{APPLICATIONS}/{i}") for one, i in zip(people, ids, strict=True)
    ]
    assert sorted(one["state"] for one in late) == ["lost", "won", "won", "won"]
    result = (await published(fair.engine, campaign_id=fair.id, round_=1))["result.csv"]
    for one in late:
        (place,) = one["places"]
        assert f"{fair.frame},{place['entry']},1,{place['units_won']}\n" in result
    shown = await look(pocket, people[0], f"{CAMPAIGNS}/{public_id('cmp', fair.id)}")
    (drawn,) = shown["draws"]
    # What is told is enough to recompute one's own hash, and everybody's result.
    named = f"wallet-draw/1 entry\n{drawn['salt']}\n{ids[0]}".encode()
    assert hashlib.sha256(named).hexdigest() == late[0]["places"][0]["entry"]
    assert hashlib.sha256(result.encode()).hexdigest() == drawn["result_sha256"]
    assert hashlib.sha256(bytes.fromhex(drawn["seed"])).hexdigest() == drawn["commitment"]


async def test_a_campaign_is_shown_from_its_publication_on(pocket: Pocket) -> None:
    who, code = await make_applicant(pocket), f"fair-{next(_numbers)}"
    city = pocket.city
    fair = await make_fair(
        city.engine, city.teller, TestClock(NOW_US), terms_=terms(code), frames=(code,)
    )
    name = public_id("cmp", fair.id)
    (shown,) = [one for one in (await look(pocket, who, CAMPAIGNS))["data"] if one["id"] == name]
    assert (shown["state"], shown["accepts"]) == ("published", False)
    assert datetime.fromisoformat(shown["apply_from"]) == OPENS
    assert datetime.fromisoformat(shown["apply_until"]) == CLOSES
    (one,) = shown["frames"]
    assert (one["price"], one["face"], one["units"], one["units_per_person"]) == (
        5_000, 6_250, 10, 10,
    )  # fmt: skip
    story = (await look(pocket, who, f"{CAMPAIGNS}/{name}"))["story"]
    assert story[-1]["text"] == "募集の内容と、使えるお店を公開しました。"
    assert "stf_" not in str(story)
    await open_applications(fair)
    (shown,) = [one for one in (await look(pocket, who, CAMPAIGNS))["data"] if one["id"] == name]
    assert (shown["state"], shown["accepts"]) == (State.APPLYING, True)


async def test_a_campaign_that_is_not_public_is_unknown(pocket: Pocket) -> None:
    who = await make_applicant(pocket)
    problem_of(
        await pocket.app.call(who.phone, "GET", f"{CAMPAIGNS}/cmp_{'0' * 32}"), "campaign_unknown"
    )
    problem_of(await pocket.app.call(who.phone, "GET", f"{CAMPAIGNS}/nothing"), "campaign_unknown")


async def test_what_the_doors_answer_fits_the_document(pocket: Pocket) -> None:
    fair, who = await fair_in(pocket), await make_applicant(pocket)
    made = await send(pocket, fair, who)
    document = (await pocket.app.client.get("/openapi.json")).json()

    def fits(name: str, answer: object) -> bool:
        whole = {"components": document["components"], "$ref": f"#/components/schemas/{name}"}
        return jsonschema_rs.validator_for(whole).is_valid(answer)

    assert fits("ApplicationAnswer", made.json())
    assert fits("CampaignsAnswer", await look(pocket, who, CAMPAIGNS))
    path = f"{CAMPAIGNS}/{public_id('cmp', fair.id)}"
    assert fits("CampaignStoryAnswer", await look(pocket, who, path))
