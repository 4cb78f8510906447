"""The doors of programmes: two people, nothing unlawful, and no money moved by any of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.city import open_rooms
from tests.factories.drafts import clean_points, clean_voucher
from tests.factories.moments import NOW_US
from tests.factories.offices import Counter
from tests.factories.people import make_wallet
from tests.factories.programme_doors import approve, path_of, save, schedule, submit
from tests.factories.vouchers import ask, give, make_request
from tests.servers import Database
from wallet.ledger.teller import Teller
from wallet.programmes.run_due import apply_due
from wallet.vouchers.issue import Refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def teller(module_database: Database) -> AsyncIterator[Teller]:
    """Yield the worker's teller."""
    async with open_rooms(module_database.application_url) as (_, teller):
        yield teller


async def show(counter: Counter, code: str) -> dict[str, Any]:
    """Return a programme as a colleague of another department sees it."""
    desk = await counter.seat("benefit_clerk")
    response = await desk.get(path_of(code))
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()
    return shown


async def test_a_draft_becomes_a_programme_only_through_two_people_and_the_worker(
    counter: Counter, teller: Teller
) -> None:
    await schedule(counter, clean_voucher("spring"))
    before = await show(counter, "spring")
    assert (before["state"], before["draft_state"]) == (None, "approved")
    await apply_due(counter.engine, teller, now_us=NOW_US)
    after = await show(counter, "spring")
    assert (after["state"], after["version"]) == ("live", 2)
    assert [(one["version"], one["state"]) for one in after["versions"]] == [
        (2, "live"),
        (1, "scheduled"),
    ]
    assert after["drafts"][0]["applied_at"] is not None


async def test_saving_tells_what_stands_against_a_draft(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    unlawful = clean_voucher("unlawful", confirmed=frozenset())
    saved = await save(desk, unlawful)
    found = {(one["rule"], one["severity"], one["open"]) for one in saved["findings"]}
    assert ("L-19", "setting", True) in found
    assert saved["problems"] == []
    assert [one["tier"] for one in saved["purchase_limits"]] == ["T0", "T1", "T2", "T3"]
    refused = await desk.post(path_of("unlawful", "drafts", 1, "submit"))
    told = problem_of(refused, "programme_unlawful")
    assert any(problem.startswith("L-19:") for problem in told["problems"])


async def test_an_incomplete_draft_may_be_saved_and_not_submitted(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    saved = await save(desk, clean_voucher("incomplete", name="  "))
    assert saved["problems"] == ["name: use 1 to 80 characters."]
    assert saved["findings"] == []
    refused = await desk.post(path_of("incomplete", "drafts", 1, "submit"))
    assert problem_of(refused, "programme_invalid")["problems"] == saved["problems"]


async def test_a_later_revision_is_not_overwritten(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    draft = clean_points("twice")
    await save(desk, draft)
    body = {"draft": msgspec.to_builtins(draft), "seen_revision": 0}
    told = problem_of(await desk.post(path_of("twice", "drafts"), body), "draft_changed")
    assert told["revision"] == 1
    await save(desk, draft, seen=1)
    states = [one["state"] for one in (await show(counter, "twice"))["drafts"]]
    assert states == ["draft", "withdrawn"]


async def test_of_two_who_write_the_first_revision_at_once_one_is_told(counter: Counter) -> None:
    desks = [await counter.seat("programme_clerk") for _ in range(4)]
    body = {"draft": msgspec.to_builtins(clean_points("race")), "seen_revision": 0}
    answers = await asyncio.gather(*(desk.post(path_of("race", "drafts"), body) for desk in desks))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    for answer in answers:
        if answer.status_code == 409:
            problem_of(answer, "draft_changed")


async def test_what_is_reviewed_does_not_change_under_the_reviewers_eyes(
    counter: Counter,
) -> None:
    desk = await counter.seat("programme_clerk")
    draft = clean_points("reviewed")
    await submit(desk, draft)
    body = {"draft": msgspec.to_builtins(draft), "seen_revision": 1}
    problem_of(await desk.post(path_of("reviewed", "drafts"), body), "draft_in_review")
    withdrawn = await desk.post(path_of("reviewed", "drafts", 1, "withdraw"))
    assert withdrawn.json()["state"] == "withdrawn"
    await save(desk, draft, seen=1)


async def test_an_approval_asked_for_a_draft_that_was_withdrawn_does_nothing(
    counter: Counter,
) -> None:
    desk = await counter.seat("programme_clerk")
    submitted = await submit(desk, clean_points("withdrawn"))
    asked = (await desk.post(path_of("withdrawn", "drafts", 1, "approval"))).json()
    lead = await counter.seat("programme_lead")
    approvals = f"/office/v1/approvals/{asked['id']}"
    await lead.post(f"{approvals}/approve", {"payload_hash": asked["payload_hash"]})
    await desk.post(path_of("withdrawn", "drafts", 1, "withdraw"))
    problem_of(await desk.post(f"{approvals}/execute", {}), "draft_state")
    assert submitted["sha256"] == asked["payload"]["sha256"]


async def test_nobody_approves_their_own_draft(counter: Counter) -> None:
    lead = await counter.seat("programme_lead")
    await submit(lead, clean_points("own"))
    asked = (await lead.post(path_of("own", "drafts", 1, "approval"))).json()
    response = await lead.post(
        f"/office/v1/approvals/{asked['id']}/approve", {"payload_hash": asked["payload_hash"]}
    )
    problem_of(response, "four_eyes")


async def test_an_approval_is_asked_for_what_is_in_review_only(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    await save(desk, clean_points("early"))
    told = problem_of(await desk.post(path_of("early", "drafts", 1, "approval")), "draft_state")
    assert told["state"] == "draft"


@pytest.mark.parametrize("day", ["2026-11-24", "2027-04-01"])
async def test_a_day_outside_is_no_day_to_begin(counter: Counter, day: str) -> None:
    desk = await counter.seat("programme_clerk")
    code = f"day-{day}"
    submitted = await submit(desk, clean_points(code))
    await approve(counter, desk, submitted)
    path = path_of(code, "drafts", 1, "schedule")
    problem_of(await desk.post(path, {"live_on": day}), "day_passed")


async def test_what_is_not_approved_is_not_scheduled(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    await submit(desk, clean_points("unapproved"))
    path = path_of("unapproved", "drafts", 1, "schedule")
    problem_of(await desk.post(path, {"live_on": "2026-12-01"}), "draft_state")


async def test_a_live_programmes_limits_may_rise_and_never_fall(
    counter: Counter, teller: Teller
) -> None:
    first = clean_voucher("limits")
    assert first.frame is not None
    await schedule(counter, first)
    await apply_due(counter.engine, teller, now_us=NOW_US)
    desk = await counter.seat("programme_clerk")
    fewer = msgspec.structs.replace(first.frame, sets_per_person=9)
    saved = await save(desk, clean_voucher("limits", frame=fewer), seen=1)
    assert saved["problems"] == ["frame.sets_per_person: may rise and never fall; it was 10."]
    more = msgspec.structs.replace(first.frame, sets_per_person=11)
    await schedule(counter, clean_voucher("limits", frame=more), seen=2)
    await apply_due(counter.engine, teller, now_us=NOW_US)
    shown = await show(counter, "limits")
    assert shown["versions"][0]["terms"]["frame"]["sets_per_person"] == 11
    assert shown["version"] == 3


async def test_a_suspension_takes_one_person_and_its_end_two(
    counter: Counter, teller: Teller
) -> None:
    await schedule(counter, clean_points("paused"))
    await apply_due(counter.engine, teller, now_us=NOW_US)
    desk, other = await counter.seat("programme_clerk"), await counter.seat("programme_lead")
    wallet_id = await make_wallet(counter.engine)
    await give(teller, wallet_id, "paused", amount_yen=100)
    suspended = (await desk.post(path_of("paused", "suspend"))).json()
    assert (suspended["suspended"], suspended["state"]) == (True, "live")
    assert suspended["suspended_because"]
    refused = await ask(teller, make_request(wallet_id, "paused", amount_yen=100))
    assert isinstance(refused, Refused)
    assert refused.refusal.code == "service_stopped"
    problem_of(await desk.post(path_of("paused", "confirm-resume"), {}), "release_not_requested")
    asked = await desk.post(path_of("paused", "resume"))
    assert (asked.status_code, asked.json()["resuming"]) == (202, True)
    problem_of(await desk.post(path_of("paused", "confirm-resume"), {}), "four_eyes")
    resumed = (await other.post(path_of("paused", "confirm-resume"), {})).json()
    assert (resumed["suspended"], resumed["resuming"]) == (False, False)
    await give(teller, wallet_id, "paused", amount_yen=100)
    problem_of(await desk.post(path_of("paused", "resume")), "stop_released")


async def test_programmes_and_drafts_are_listed_together_page_by_page(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    codes = [f"page-{letter}" for letter in "abc"]
    for code in codes:
        await save(desk, clean_points(code))
    first = (await desk.get("/office/v1/programmes", params={"limit": 2, "cursor": "page-"})).json()
    assert [one["code"] for one in first["data"]] == codes[:2]
    assert first["has_more"]
    params = {"limit": 1, "cursor": first["next_cursor"]}
    second = (await desk.get("/office/v1/programmes", params=params)).json()
    assert [one["code"] for one in second["data"]] == codes[2:]
    assert second["data"][0]["draft_state"] == "draft"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("nobody", "programme_unknown"),
        ("Nobody", "programme_unknown"),
        ("%00", "programme_unknown"),
    ],
)
async def test_an_unknown_programme_is_told_as_such(
    counter: Counter, code: str, expected: str
) -> None:
    desk = await counter.seat("programme_clerk")
    problem_of(await desk.get(path_of(code)), expected)
    problem_of(await desk.post(path_of(code, "suspend")), expected)


async def test_an_unknown_revision_is_told_as_such(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    problem_of(await desk.get(path_of("nobody", "drafts", 1)), "draft_unknown")
    problem_of(await desk.post(path_of("nobody", "drafts", 1, "submit")), "draft_unknown")


@pytest.mark.asvs("v5.0.0-2.2.3")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": 1}, "name: Expected text, got a whole number."),
        ({"name": "a\x00"}, "A text holds a control character."),
        ({"budget_yen": 10**20}, "A number is beyond 1,000,000,000,000,000."),
        ({"colour": "red"}, "contains unknown field colour."),
        ({"code": "other"}, "code: the path says 'malformed'."),
    ],
)
async def test_what_is_no_draft_is_told_by_its_field(
    counter: Counter, changes: dict[str, Any], problem: str
) -> None:
    desk = await counter.seat("programme_clerk")
    draft = {**msgspec.to_builtins(clean_points("malformed")), **changes}
    response = await desk.post(path_of("malformed", "drafts"), {"draft": draft})
    assert problem_of(response, "programme_invalid")["problems"] == [problem]


async def test_a_base_date_is_reported_and_no_other_day(counter: Counter) -> None:
    desk = await counter.seat("programme_clerk")
    response = await desk.get("/office/v1/base-dates/2026-09-30")
    report = response.json()
    assert (response.status_code, report["deposit_yen"], report["alarm"]) == (200, 0, False)
    problem_of(await desk.get("/office/v1/base-dates/2026-10-01"), "base_date_invalid")
    problem_of(await desk.get(f"/office/v1/base-dates/{date(2027, 3, 31)}"), "day_to_come")
