"""The doors of campaigns and applications: two people, steps in their order, nothing told early."""

import itertools
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from httpx2 import Response

from tests.api.answers import problem_of
from tests.factories.campaigns import (
    OPENS,
    VALUE,
    Fair,
    close_applications,
    make_applicant,
    make_fair,
    open_applications,
    terms,
)
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.offices import Counter, Desk, make_resident, open_counter
from tests.factories.people import make_wallet
from tests.factories.programmes import frame, make_programme, voucher_draft
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.ids import public_id
from wallet.ledger.teller import Teller
from wallet.programmes.terms import Eligibility
from wallet.vouchers.campaigns_rules import CampaignTerms, State
from wallet.vouchers.draw_due import run_due

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAMPAIGNS = "/office/v1/campaigns"
NOBODY = "0" * 32
_numbers = itertools.count()


class Hall(msgspec.Struct, frozen=True):
    """The doors of staff, and the teller of the worker behind them."""

    counter: Counter
    teller: Teller

    async def frame(self) -> str:
        """Return the code of a new frame with ten sets."""
        code = f"frame-{next(_numbers)}"
        sets = frame(sets_total=10, sets_per_person=5)
        await make_programme(self.teller, voucher_draft(code, frame_=sets))
        return code

    async def fair(self, eligibility: Eligibility | None = None, **of: Any) -> Fair:  # noqa: ANN401 - fields
        """Return a published campaign that the doors show."""
        code = f"fair-{next(_numbers)}"
        clock = TestClock(NOW_US)
        return await make_fair(
            self.counter.engine,
            self.teller,
            clock,
            terms_=terms(code, **of),
            frames=(code,),
            eligibility=eligibility,
        )

    async def clerk(self, fair: Fair) -> Desk:
        """Return a colleague whose clock is the campaign's, who has signed in just now."""
        self.counter.clock.now_us = fair.clock()
        return await self.counter.seat("programme_clerk")


@pytest_asyncio.fixture(loop_scope="module")
async def hall(module_database: Database) -> AsyncIterator[Hall]:
    """Yield the doors with a clock that starts anew for each test."""
    url = module_database.application_url
    async with open_counter(url) as counter, open_rooms(url, clock=counter.clock) as (_, teller):
        yield Hall(counter, teller)


def path_of(campaign_id: str, *rest: object) -> str:
    """Return the address of a campaign."""
    return "/".join((CAMPAIGNS, campaign_id, *map(str, rest)))


def body_of(of: CampaignTerms) -> dict[str, Any]:
    """Return terms as a console sends them."""
    built: dict[str, Any] = msgspec.to_builtins(of)
    return built


async def create(desk: Desk, *frames: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
    """Write a campaign down through the door."""
    body = {"code": frames[0], "terms": body_of(terms(*frames, **changes))}
    response = await desk.post(CAMPAIGNS, body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def step(desk: Desk, campaign_id: str, target: str) -> Response:
    """Ask for a step."""
    response: Response = await desk.post(path_of(campaign_id, "steps"), {"target": target})
    return response


async def approve(hall: Hall, desk: Desk, campaign_id: str) -> Response:
    """Have a lead agree to the terms as they stand, and carry it out."""
    asked = await desk.post(path_of(campaign_id, "approval"))
    assert asked.status_code == 202, asked.text
    told = asked.json()
    lead = await hall.counter.seat("programme_lead")
    said = {"payload_hash": told["payload_hash"]}
    agreed = await lead.post(f"/office/v1/approvals/{told['id']}/approve", said)
    assert agreed.status_code == 200, agreed.text
    done: Response = await desk.post(f"/office/v1/approvals/{told['id']}/execute", {})
    return done


async def test_a_campaign_is_published_only_once_two_have_agreed(hall: Hall) -> None:
    desk = await hall.counter.seat("programme_clerk")
    made = await create(desk, await hall.frame(), shops_min=0)
    assert (made["state"], made["approved"]) == ("draft", False)
    refused = await step(desk, made["id"], "merchant_recruiting")
    problem_of(refused, "campaign_not_approved")
    done = await approve(hall, desk, made["id"])
    assert done.json()["result"] == {"code": made["code"], "revision": "1"}
    assert (await step(desk, made["id"], "merchant_recruiting")).status_code == 200
    named = {"named": "日経平均株価の終値", "at": VALUE.at.isoformat()}
    committed = await desk.post(path_of(made["id"], "draws", 1, "commit"), named)
    assert committed.status_code == 201, committed.text
    assert committed.json()["seed"] is None
    published = await step(desk, made["id"], "published")
    assert published.json()["next_steps"] == {"applying": "2026-11-26T03:00:00.000Z"}
    problem_of(await step(desk, made["id"], "applying"), "campaign_too_early")
    problem_of(await step(desk, made["id"], "in_use"), "campaign_step_unknown")
    story = (await desk.get(path_of(made["id"]))).json()
    assert [one["kind"] for one in story["story"]] == [
        "created", "approved", "moved", "committed", "moved",
    ]  # fmt: skip
    assert committed.json()["commitment"] in story["story"][3]["public_text"]
    trail = [one["action"] for one in await hall.counter.trail() if one["actor"] == desk.staff_id]
    assert {"campaign.create", "campaign.approve", "campaign.step"} <= set(trail)


async def test_terms_that_were_changed_after_they_were_seen_are_not_approved(hall: Hall) -> None:
    desk, code = await hall.counter.seat("programme_clerk"), await hall.frame()
    made = await create(desk, code)
    asked = (await desk.post(path_of(made["id"], "approval"))).json()
    assert asked["payload"]["terms"]["frames"] == [code]
    changed = await desk.counter.client.put(
        path_of(made["id"], "terms"),
        headers=desk.headers,
        json={"terms": body_of(terms(code, purchase_days=3))},
    )
    assert changed.json()["revision"] == 2
    lead = await hall.counter.seat("programme_lead")
    said = {"payload_hash": asked["payload_hash"]}
    await lead.post(f"/office/v1/approvals/{asked['id']}/approve", said)
    late = await desk.post(f"/office/v1/approvals/{asked['id']}/execute", {})
    problem_of(late, "campaign_changed")


async def test_terms_that_cannot_work_are_told_in_sentences(hall: Hall) -> None:
    desk, code = await hall.counter.seat("programme_clerk"), await hall.frame()
    bad = body_of(terms(code, "no-such-frame"))
    told = problem_of(await desk.post(CAMPAIGNS, {"code": code, "terms": bad}), "campaign_invalid")
    assert told["problems"] == ["frames: there is no programme 'no-such-frame'."]
    misspelt = {**body_of(terms(code)), "naem": "x"}
    told = problem_of(
        await desk.post(CAMPAIGNS, {"code": code, "terms": misspelt}), "campaign_invalid"
    )
    assert "naem" in told["problems"][0]
    await create(desk, code)
    again = await desk.post(CAMPAIGNS, {"code": code, "terms": body_of(terms(code))})
    problem_of(again, "campaign_exists")
    problem_of(await desk.get(path_of(f"cmp_{NOBODY}")), "campaign_unknown")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a\x00b"},
        {"name": "\ud800"},
        {"frames": ["a\x00b"]},
        {"\ud800": 1},
        {"use_until": "9999-12-31"},
        {"use_from": "0001-01-01"},
        {"results_on": "9999-12-31"},
        {"apply_until": "9999-12-31T23:59:59-14:00"},
        {"apply_from": "0001-01-01T00:00:00+14:00"},
        {"apply_from": "2026-11-26T03:00:00"},
        {"purchase_days": 10**12},
        {"purchase_days": 10**400},
        {"units_per_person": 10**30},
        {"shops_min": 10**30},
        {"mode": "none"},
        {"frames": {}},
    ],
    ids=range(16),
)
async def test_whatever_stands_in_terms_is_refused_and_breaks_nothing(
    hall: Hall, changes: dict[str, Any]
) -> None:
    desk, code = await hall.counter.seat("programme_clerk"), await hall.frame()
    body = {"code": code, "terms": {**body_of(terms(code)), **changes}}
    # As bytes, for a client of ours would not send half a character.
    headers = {**desk.headers, "Content-Type": "application/json"}
    sent = desk.counter.client.post(CAMPAIGNS, content=json.dumps(body).encode(), headers=headers)
    told = problem_of(await sent)
    assert told["code"] in {"campaign_invalid", "parameter_invalid", "body_malformed"}


async def test_a_value_of_a_day_that_is_too_far_is_refused(hall: Hall) -> None:
    desk = await hall.counter.seat("programme_clerk")
    made = await create(desk, await hall.frame(), shops_min=0)
    await approve(hall, desk, made["id"])
    await step(desk, made["id"], "merchant_recruiting")
    for at in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", OPENS.isoformat()):
        body = {"named": "x", "at": at}
        answer = await desk.post(path_of(made["id"], "draws", 1, "commit"), body)
        problem_of(answer, "draw_value_invalid")


async def test_a_published_campaign_is_fixed(hall: Hall) -> None:
    fair = await hall.fair()
    desk, name = await hall.clerk(fair), public_id("cmp", fair.id)
    changed = await desk.counter.client.put(
        path_of(name, "terms"), headers=desk.headers, json={"terms": body_of(terms(fair.frame))}
    )
    problem_of(changed, "campaign_fixed")
    problem_of(await desk.post(path_of(name, "approval")), "campaign_fixed")


async def test_too_few_shops_and_no_seed_hold_a_campaign_up(hall: Hall) -> None:
    desk = await hall.counter.seat("programme_clerk")
    made = await create(desk, await hall.frame(), shops_min=1_000)
    await approve(hall, desk, made["id"])
    await step(desk, made["id"], "merchant_recruiting")
    problem_of(await step(desk, made["id"], "published"), "campaign_shops_missing")
    made = await create(desk, await hall.frame(), shops_min=0)
    await approve(hall, desk, made["id"])
    await step(desk, made["id"], "merchant_recruiting")
    await step(desk, made["id"], "published")
    hall.counter.clock.now_us = NOW_US + 2 * 86_400 * 1_000_000
    desk = await hall.counter.seat("programme_clerk")
    problem_of(await step(desk, made["id"], "applying"), "campaign_seed_missing")


async def test_a_campaign_is_suspended_and_resumed_for_a_reason(hall: Hall) -> None:
    fair = await hall.fair()
    desk, name = await hall.clerk(fair), public_id("cmp", fair.id)
    problem_of(await desk.post(path_of(name, "suspend"), reason=" "), "reason_missing")
    problem_of(await desk.post(path_of(name, "resume")), "campaign_not_suspended")
    held = await desk.post(path_of(name, "suspend"))
    assert held.json()["suspended_at"] is not None
    problem_of(await step(desk, name, "applying"), "campaign_suspended")
    assert (await desk.post(path_of(name, "resume"))).json()["suspended_at"] is None


async def test_a_draw_goes_through_its_doors_in_order(hall: Hall) -> None:
    fair = await open_applications(await hall.fair())
    made = await fair.apply(await make_applicant(fair.engine, now_us=fair.clock()))
    await close_applications(fair)
    desk, name = await hall.clerk(fair), public_id("cmp", fair.id)

    async def draw(verb: str, body: dict[str, Any], round_: int = 1) -> Response:
        answer: Response = await desk.post(path_of(name, "draws", round_, verb), body)
        return answer

    value = {"named": "翌日の終値", "at": (VALUE.at + timedelta(days=1)).isoformat()}
    problem_of(await draw("commit", value), "draw_not_now")
    problem_of(await draw("list", {}, 2), "draw_unknown")
    problem_of(await draw("reveal", {"public_value": "1"}), "draw_not_listed")
    early = {**value, "at": OPENS.isoformat(), "reason": "早めたい"}
    problem_of(await draw("rename", early), "draw_value_invalid")
    assert (await draw("rename", {**value, "reason": "祝日のため"})).status_code == 200
    assert (await draw("list", {})).status_code == 202
    problem_of(await draw("list", {}), "draw_listed")
    await run_due(fair.engine, clock=fair.clock)
    problem_of(await draw("reveal", {"public_value": "1"}), "draw_too_early")
    fair.go_to(VALUE.at + timedelta(days=1))
    desk = await hall.clerk(fair)
    revealed = await draw("reveal", {"public_value": " 38,123.45 "})
    assert revealed.status_code == 202, revealed.text
    assert revealed.json()["public_value"] == "38,123.45"
    problem_of(await draw("reveal", {"public_value": "2"}), "draw_revealed")
    await fair.work()
    looked_up = (await desk.get(f"/office/v1/applications/{public_id('app', made.id)}")).json()
    assert looked_up["state"] == "accepted"
    assert [one["units_won"] for one in looked_up["places"]] == [None]
    fair.go_to(VALUE.at + timedelta(days=3))
    await fair.work()
    assert (await fair.now()).state is State.PURCHASING
    desk = await hall.clerk(fair)
    looked_up = (await desk.get(f"/office/v1/applications/{public_id('app', made.id)}")).json()
    assert (looked_up["state"], looked_up["places"][0]["units_won"]) == ("won", 1)
    problem_of(await step(desk, name, "lapsed_units"), "campaign_offers_open")
    shown = (await desk.get(path_of(name))).json()
    assert shown["draws"][0]["result_sha256"] is not None
    assert [one["state"] for one in shown["applications"]] == ["won"]


async def test_steps_that_the_draw_holds_up_say_so(hall: Hall) -> None:
    fair = await close_applications(await open_applications(await hall.fair(second_round=True)))
    desk, name = await hall.clerk(fair), public_id("cmp", fair.id)
    problem_of(await step(desk, name, "drawn"), "campaign_not_drawn")
    await fair.draw()
    fair.go_to(VALUE.at + timedelta(days=2))
    desk = await hall.clerk(fair)
    problem_of(await step(desk, name, "notified"), "campaign_not_told")
    await fair.work()
    problem_of(await step(desk, name, "second_round"), "campaign_not_drawn_again")
    value = {"named": "翌月の終値", "at": (VALUE.at + timedelta(days=30)).isoformat()}
    commit = path_of(name, "draws", 2, "commit")
    assert (await desk.post(commit, value)).status_code == 201
    problem_of(await desk.post(commit, value), "draw_committed")


async def enter(desk: Desk, fair: Fair, **fields: Any) -> Response:  # noqa: ANN401 - JSON
    """Enter a paper."""
    body = {"frame": fair.frame, "units": 1, **fields}
    path = path_of(public_id("cmp", fair.id), "applications")
    response: Response = await desk.post(path, body)
    return response


IDENTITY = {"name": "姫路 太郎", "birth_date": "1950-04-01", "address": "本町68-1"}


async def keep_profile(desk: Desk, person_id: str) -> None:
    """Write down what somebody's document shows."""
    profile = {"birth_year": 1950, "children": 0, "area_code": "28201-01", "identity": IDENTITY}
    kept = await desk.counter.client.put(
        f"/office/v1/people/{person_id}/profile",
        headers=desk.headers,
        json={**profile, "reason": "窓口で本人確認書類を確認"},
    )
    assert kept.status_code == 204, kept.text


async def decide(desk: Desk, application_id: str, **fields: Any) -> Response:  # noqa: ANN401 - JSON
    """Decide an application."""
    path = f"/office/v1/applications/{application_id}/decision"
    response: Response = await desk.post(path, **fields)
    return response


async def test_a_paper_is_entered_and_what_it_says_of_a_person_is_kept_nowhere(
    hall: Hall,
) -> None:
    fair = await open_applications(await hall.fair(Eligibility(resident=True, min_age=65)))
    desk = await hall.clerk(fair)
    first = await enter(desk, fair, identity=IDENTITY, resident=True)
    assert (first.status_code, first.json()["channel"]) == (201, "paper")
    assert (await enter(desk, fair, identity=IDENTITY, resident=True)).status_code == 200
    path = f"/office/v1/applications/{first.json()['id']}/wallet"
    card_wallet = public_id("wal", await make_wallet(fair.engine))
    given = await desk.post(path, {"wallet_id": card_wallet})
    assert given.json()["wallet_id"] == card_wallet
    problem_of(await desk.post(path, {"wallet_id": card_wallet}), "application_decided")
    problem_of(await enter(desk, fair), "person_unknown")
    problem_of(await enter(desk, fair, wallet_id=f"wal_{NOBODY}"), "wallet_unknown")
    young = {**IDENTITY, "birth_date": "1999-04-01"}
    told = problem_of(
        await enter(desk, fair, identity=young, resident=True), "application_not_eligible"
    )
    assert told["reasons"] == ["age"]
    trail = str(await hall.counter.trail())
    assert "太郎" not in trail
    assert "本町" not in trail


async def test_whoever_is_put_on_a_list_may_apply_and_nobody_else(hall: Hall) -> None:
    fair = await open_applications(await hall.fair(Eligibility(list="carers")))
    desk = await hall.clerk(fair)
    on, off = [await make_applicant(fair.engine, now_us=fair.clock()) for _ in range(2)]
    path, person_id = "/office/v1/eligibility-lists", public_id("per", on.person_id)
    for added in (1, 0):
        listed = await desk.post(f"{path}/carers", person_ids=[person_id])
        assert listed.json() == {"list_code": "carers", "added": added}
    entry = (await hall.counter.trail())[-1]
    assert (entry["action"], entry["subject"]) == ("eligibility_list.extend", "carers")
    unknown = await desk.post(f"{path}/carers", person_ids=[person_id, f"per_{NOBODY}"])
    problem_of(unknown, "person_unknown")
    for code in ("Carers", "090-1234-5678"):
        refused = await desk.post(f"{path}/{code}", person_ids=[person_id])
        problem_of(refused, "parameter_invalid")
    assert (await enter(desk, fair, person_id=person_id, channel="counter")).status_code == 201
    other = await enter(desk, fair, person_id=public_id("per", off.person_id), channel="counter")
    assert problem_of(other, "application_not_eligible")["reasons"] == ["not_listed"]


async def test_what_looks_like_one_person_twice_is_listed_and_decided(hall: Hall) -> None:
    fair = await open_applications(await hall.fair(Eligibility(resident=True, min_age=65)))
    desk, name = await hall.clerk(fair), public_id("cmp", fair.id)
    known = await make_applicant(fair.engine, now_us=fair.clock())
    person_id = public_id("per", known.person_id)
    await keep_profile(desk, person_id)
    paper = (await enter(desk, fair, identity=IDENTITY, resident=True)).json()["id"]
    entered = await enter(desk, fair, person_id=person_id, channel="counter")
    assert (entered.status_code, entered.json()["person_id"]) == (201, person_id)
    await close_applications(fair)
    desk = await hall.clerk(fair)
    asked = {"only_flagged": "true", "limit": 1}
    page = (await desk.get(path_of(name, "applications"), params=asked)).json()
    assert (len(page["data"]), page["has_more"]) == (1, True)
    more = {**asked, "cursor": page["next_cursor"]}
    rest = (await desk.get(path_of(name, "applications"), params=more)).json()
    ids = {one["id"] for one in (*page["data"], *rest["data"])}
    assert ids == {paper, entered.json()["id"]}
    listing = path_of(name, "draws", 1, "list")
    assert problem_of(await desk.post(listing, {}), "applications_unchecked")["waiting"] == 2
    problem_of(await decide(desk, paper, accept=False, because="odd"), "reason_unknown")
    problem_of(await decide(desk, paper, accept=False), "reason_unknown")
    twice = {"accept": False, "because": "duplicate"}
    assert (await decide(desk, paper, **twice)).json()["reason"] == "duplicate"
    problem_of(await decide(desk, paper, **twice), "application_decided")
    accepted = await decide(desk, entered.json()["id"], accept=True)
    assert accepted.json()["state"] == "accepted"
    await desk.post(listing, {})
    problem_of(await decide(desk, paper, accept=True), "draw_listed")


async def test_applications_are_decided_only_while_they_are_checked(hall: Hall) -> None:
    fair = await open_applications(await hall.fair())
    made = await fair.apply(await make_applicant(fair.engine, now_us=fair.clock()))
    desk = await hall.clerk(fair)
    path = f"/office/v1/applications/{public_id('app', made.id)}/decision"
    problem_of(await desk.post(path, accept=True), "applications_not_checked")
    unknown = f"/office/v1/applications/app_{NOBODY}"
    problem_of(await desk.get(unknown), "application_unknown")
    problem_of(await enter(desk, fair, identity=IDENTITY, units=11), "units_too_many")


async def test_nobody_decides_their_own_familys_application(hall: Hall) -> None:
    fair = await open_applications(await hall.fair())
    resident = await make_resident(fair.engine, number=next(_numbers))
    hall.counter.clock.now_us = fair.clock()
    desk = await hall.counter.seat("programme_clerk", person_id=resident.id)
    problem_of(await enter(desk, fair, person_id=resident.person_id), "own_affair")
    other = await hall.clerk(fair)
    assert (await enter(other, fair, person_id=resident.person_id)).status_code == 201


async def test_nobody_gives_a_strangers_paper_to_their_own_wallet(hall: Hall) -> None:
    fair = await open_applications(await hall.fair())
    other = await hall.clerk(fair)
    paper = (await enter(other, fair, identity=IDENTITY, resident=True)).json()["id"]
    path = f"/office/v1/applications/{paper}/wallet"
    resident = await make_resident(fair.engine, number=next(_numbers))
    body = {"wallet_id": public_id("wal", resident.wallet_id)}
    desk = await hall.counter.seat("programme_clerk", person_id=resident.id)
    problem_of(await desk.post(path, body), "own_affair")
    assert (await enter(other, fair, person_id=resident.person_id)).status_code == 201
    problem_of(await other.post(path, body), "application_exists")
    once = await make_resident(fair.engine, number=next(_numbers))
    body = {"wallet_id": public_id("wal", once.wallet_id)}
    assert (await other.post(path, body)).status_code == 200
    more = await enter(other, fair, identity={**IDENTITY, "name": "姫路 次郎"}, resident=True)
    path = f"/office/v1/applications/{more.json()['id']}/wallet"
    problem_of(await other.post(path, body), "application_exists")


async def test_a_frame_is_no_two_campaigns_at_once(hall: Hall) -> None:
    desk, shared = await hall.counter.seat("programme_clerk"), await hall.frame()
    first, second, third = [
        await create(desk, await hall.frame(), shared, shops_min=0) for _ in range(3)
    ]
    for one in (first, second):
        assert (await approve(hall, desk, one["id"])).status_code == 200
    assert (await step(desk, first["id"], "merchant_recruiting")).status_code == 200
    told = problem_of(await step(desk, second["id"], "merchant_recruiting"), "campaign_frame_taken")
    assert (told["frame"], told["campaign"]) == (shared, first["code"])
    problem_of(await approve(hall, desk, third["id"]), "campaign_frame_taken")
    assert (await step(desk, first["id"], "published")).status_code == 200
    problem_of(await step(desk, second["id"], "merchant_recruiting"), "campaign_frame_taken")


async def test_a_list_of_campaigns_has_pages(hall: Hall) -> None:
    desk = await hall.counter.seat("programme_clerk")
    made = [await create(desk, await hall.frame()) for _ in range(3)]
    first = (await desk.get(CAMPAIGNS, params={"limit": 2})).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    rest = await desk.get(CAMPAIGNS, params={"limit": 100, "cursor": first["next_cursor"]})
    shown = {one["id"] for one in (*first["data"], *rest.json()["data"])}
    assert {one["id"] for one in made} <= shown
