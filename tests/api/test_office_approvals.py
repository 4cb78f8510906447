"""Two people for what is dangerous, through the doors: asked, approved, done, in the trail."""

from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.api.answers import problem_of
from tests.factories.moments import PEPPER
from tests.factories.offices import Counter, Desk, Resident, make_resident
from tests.factories.staff import REASON
from tests.soft_device import SoftDevice
from wallet.api.office_executions import EXECUTIONS
from wallet.auth.staff_approvals import OPEN_MAX
from wallet.auth.staff_rules import Action
from wallet.core.database import read, write
from wallet.core.refusals import Refusal
from wallet.core.scrub import contains_personal
from wallet.people.device_invitations import UNKNOWN, accept_invitation
from wallet.people.persons import Person, find_person
from wallet.people.sign_in import SignedIn

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPROVALS = "/office/v1/approvals"
H_S = 3_600
_numbers = iter(range(5_000, 10_000))


async def resident_of(counter: Counter) -> Resident:
    """Return a resident nobody else has."""
    return await make_resident(counter.engine, number=next(_numbers))


async def frozen_of(counter: Counter, desk: Desk) -> Resident:
    """Return a resident who is frozen."""
    resident = await resident_of(counter)
    response = await desk.post(f"/office/v1/people/{resident.person_id}/freeze")
    assert response.status_code == 200
    return resident


async def person_of(counter: Counter, resident: Resident) -> Person:
    """Return a resident as the database knows them."""
    async with read(counter.engine) as connection:
        person = await find_person(connection, person_id=resident.id)
    assert person is not None
    return person


async def ask_unfreeze(desk: Desk, resident: Resident) -> dict[str, Any]:
    """Ask for somebody to go on."""
    path = f"/office/v1/people/{resident.person_id}/unfreeze"
    response = await desk.post(path, document="passport")
    assert response.status_code == 202, response.text
    asked: dict[str, Any] = response.json()
    return asked


async def approve(desk: Desk, asked: dict[str, Any]) -> httpx.Response:
    """Approve what was seen."""
    body = {"payload_hash": asked["payload_hash"]}
    return await desk.post(f"{APPROVALS}/{asked['id']}/approve", body)


async def execute(desk: Desk, asked: dict[str, Any]) -> httpx.Response:
    """Carry out what was approved."""
    return await desk.post(f"{APPROVALS}/{asked['id']}/execute", {})


async def test_every_action_has_something_it_does() -> None:
    assert EXECUTIONS.keys() == {*Action}


async def test_a_resident_goes_on_once_two_have_agreed(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    resident = await frozen_of(counter, clerk)
    asked = await ask_unfreeze(clerk, resident)
    assert (asked["state"], asked["subject"]) == ("requested", resident.person_id)
    assert asked["payload"] == {"document": "passport"}
    problem_of(await execute(clerk, asked), "approval_missing")
    approved = (await approve(lead, asked)).json()
    assert (approved["state"], approved["decided_by"]) == ("approved", lead.staff_id)
    assert (await person_of(counter, resident)).state == "frozen"
    done = (await execute(clerk, asked)).json()
    assert (done["approval"]["state"], done["result"]) == ("executed", {})
    assert (await person_of(counter, resident)).state == "active"


async def test_the_counter_raises_somebody_once_two_have_agreed(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    resident = await resident_of(counter)
    path = f"/office/v1/people/{resident.person_id}/raise"
    asked = (await clerk.post(path, document="my_number_card", resident=True)).json()
    await approve(lead, asked)
    assert (await execute(clerk, asked)).status_code == 200
    person = await person_of(counter, resident)
    assert (person.tier, person.resident) == ("T3", True)


async def test_who_lost_every_phone_is_let_in_again_by_two_at_the_counter(
    counter: Counter,
) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    resident = await resident_of(counter)
    path = f"/office/v1/people/{resident.person_id}/device-invitation"
    asked = (await clerk.post(path, document="passport")).json()
    problem_of(await execute(clerk, asked), "approval_missing")
    await approve(lead, asked)
    code = (await execute(clerk, asked)).json()["result"]["invitation"]
    phone = SoftDevice()

    async def come_in(connection: AsyncConnection) -> SignedIn | Refusal:
        return await accept_invitation(
            connection,
            code=code,
            new=phone.new_device(),
            address=None,
            pepper=PEPPER,
            now_us=counter.clock(),
        )

    signed = await write(counter.engine, come_in)
    assert isinstance(signed, SignedIn)
    assert signed.person_id == resident.id
    assert await write(counter.engine, come_in) == UNKNOWN
    assert code not in str(await counter.trail())


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-16.2.1")
async def test_the_trail_has_who_asked_who_approved_and_who_did_it(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    resident = await frozen_of(counter, clerk)
    length = await counter.trail_length()
    asked = await ask_unfreeze(clerk, resident)
    await approve(lead, asked)
    await execute(clerk, asked)
    requested, approved, executed = await counter.trail(after=length)
    details = {
        "approval": asked["id"],
        "action": "person.unfreeze",
        "subject": resident.person_id,
        "requested_by": clerk.staff_id,
    }
    assert (requested["action"], requested["actor"]) == ("approval.request", clerk.staff_id)
    assert (requested["reason"], requested["details"]) == (REASON, details)
    assert (approved["action"], approved["actor"]) == ("approval.approve", lead.staff_id)
    assert (executed["action"], executed["actor"]) == ("person.unfreeze", clerk.staff_id)
    assert executed["subject"] == resident.person_id
    assert executed["details"] == {**details, "decided_by": lead.staff_id}
    assert not contains_personal(str([requested, approved, executed]))


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-2.3.5")
async def test_nobody_approves_what_they_asked_for_themselves(counter: Counter) -> None:
    lead = await counter.seat("counter_lead")
    asked = await ask_unfreeze(lead, await resident_of(counter))
    problem_of(await approve(lead, asked), "four_eyes")
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["outcome"]) == ("approval.approve", "refused")
    assert (entry["actor"], entry["details"]["code"]) == (lead.staff_id, "four_eyes")


@pytest.mark.attack(28)
async def test_nobody_approves_by_a_second_account_or_for_family(counter: Counter) -> None:
    person_id = uuid4()
    clerk = await counter.seat("counter_clerk", person_id=person_id)
    asked = await ask_unfreeze(clerk, await resident_of(counter))
    for link in ({"person_id": person_id}, {"family": frozenset({person_id})}):
        lead = await counter.seat("counter_lead", **link)
        problem_of(await approve(lead, asked), "four_eyes")


@pytest.mark.attack(28)
async def test_nobody_decides_on_themselves_or_family(counter: Counter) -> None:
    clerk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    asked = await ask_unfreeze(clerk, resident)
    for link in ({"person_id": resident.id}, {"family": frozenset({resident.id})}):
        lead = await counter.seat("counter_lead", **link)
        problem_of(await approve(lead, asked), "own_affair")
        body = {"payload_hash": asked["payload_hash"], "reason": REASON}
        problem_of(await lead.post(f"{APPROVALS}/{asked['id']}/reject", body), "own_affair")


@pytest.mark.attack(28)
async def test_an_approval_is_not_replayed(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    resident = await frozen_of(counter, clerk)
    asked = await ask_unfreeze(clerk, resident)
    await approve(lead, asked)
    await execute(clerk, asked)
    await clerk.post(f"/office/v1/people/{resident.person_id}/freeze")
    problem_of(await execute(clerk, asked), "approval_executed")
    problem_of(await approve(lead, asked), "approval_decided")
    assert (await person_of(counter, resident)).state == "frozen"


@pytest.mark.attack(28)
async def test_only_who_asked_carries_it_out(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    colleague = await counter.seat("counter_clerk")
    asked = await ask_unfreeze(clerk, await frozen_of(counter, clerk))
    await approve(lead, asked)
    for desk in (lead, colleague):
        problem_of(await execute(desk, asked), "approval_of_another")


@pytest.mark.attack(28)
async def test_an_approval_is_of_what_was_seen(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    asked = await ask_unfreeze(clerk, await resident_of(counter))
    problem_of(await approve(lead, {**asked, "payload_hash": "00" * 32}), "approval_changed")


async def test_after_three_days_a_request_is_over(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    resident = await frozen_of(counter, clerk)
    asked, approved = await ask_unfreeze(clerk, resident), await ask_unfreeze(clerk, resident)
    await approve(lead, approved)
    before_us = counter.clock.now_us
    try:
        counter.clock.advance(seconds=72 * H_S)
        clerk = await counter.sign_in(clerk.colleague)
        lead = await counter.sign_in(lead.colleague)
        problem_of(await approve(lead, asked), "approval_expired")
        problem_of(await execute(clerk, approved), "approval_expired")
        shown = (await clerk.get(f"{APPROVALS}/{asked['id']}")).json()
        assert shown["state"] == "expired"
    finally:
        counter.clock.now_us = before_us


async def test_what_can_no_longer_be_done_stays_approved(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    resident = await resident_of(counter)
    asked = await ask_unfreeze(clerk, resident)
    await approve(lead, asked)
    problem_of(await execute(clerk, asked), "person_not_frozen")
    assert (await clerk.get(f"{APPROVALS}/{asked['id']}")).json()["state"] == "approved"
    await clerk.post(f"/office/v1/people/{resident.person_id}/freeze")
    assert (await execute(clerk, asked)).status_code == 200


async def test_a_rejection_says_why(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    asked = await ask_unfreeze(clerk, await resident_of(counter))
    path = f"{APPROVALS}/{asked['id']}/reject"
    body = {"payload_hash": asked["payload_hash"]}
    problem_of(await lead.post(path, {**body, "reason": " "}), "reason_missing")
    rejected = (await lead.post(path, {**body, "reason": "書類が足りない"})).json()
    assert (rejected["state"], rejected["decided_because"]) == ("rejected", "書類が足りない")
    problem_of(await execute(clerk, asked), "approval_missing")
    assert (await counter.trail())[-2]["reason"] == "書類が足りない"


@pytest.mark.attack(28)
async def test_an_approval_of_somebody_who_was_suspended_since_is_void(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    administrator = await counter.seat("administrator")
    resident = await frozen_of(counter, clerk)
    asked = await ask_unfreeze(clerk, resident)
    await approve(lead, asked)
    await administrator.post(f"/ops/v1/staff/{lead.staff_id}/suspend")
    body = problem_of(await execute(clerk, asked), "approval_void")
    assert body["because"] == "approver_not_entitled"
    assert (await person_of(counter, resident)).state == "frozen"


async def test_carrying_out_asks_for_the_passkey_like_asking_did(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    asked = await ask_unfreeze(clerk, await frozen_of(counter, clerk))
    await approve(lead, asked)
    before_us = counter.clock.now_us
    try:
        counter.clock.advance(seconds=590)
        refresh = {"refresh_token": clerk.tokens["refresh_token"]}
        response = await counter.client.post("/office/v1/refresh", json=refresh)
        later = Desk(counter=counter, colleague=clerk.colleague, tokens=response.json())
        counter.clock.advance(seconds=311)
        body = problem_of(await execute(later, asked), "reauthentication_required")
        assert body["max_age_s"] == 900
        assert (await execute(await later.show_passkey(), asked)).status_code == 200
    finally:
        counter.clock.now_us = before_us


async def all_requests(desk: Desk, *, limit: int = 100) -> list[str]:
    """Return the ids of the open requests that somebody sees, page by page."""
    found, cursor = [], ""
    while True:
        page = (await desk.get(f"{APPROVALS}?limit={limit}{cursor}")).json()
        found += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_requests_are_seen_by_those_who_may_make_or_decide_them(counter: Counter) -> None:
    clerk, lead = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    administrator, auditor = await counter.seat("administrator"), await counter.seat("auditor")
    asked = await ask_unfreeze(clerk, await resident_of(counter))
    path = f"{APPROVALS}/{asked['id']}"
    for desk in (clerk, lead, auditor):
        assert (await desk.get(path)).json()["id"] == asked["id"]
        assert asked["id"] in await all_requests(desk)
    problem_of(await administrator.get(path), "approval_unknown")
    problem_of(await execute(administrator, asked), "approval_unknown")
    assert asked["id"] not in await all_requests(administrator)
    problem_of(await approve(administrator, asked), "approver_not_entitled")
    for unknown in (f"apr_{uuid4().hex}", "apr_1"):
        problem_of(await clerk.get(f"{APPROVALS}/{unknown}"), "approval_unknown")
        problem_of(await approve(lead, {**asked, "id": unknown}), "approval_unknown")


async def test_a_list_goes_on_where_the_page_before_it_ended(counter: Counter) -> None:
    clerk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    made = [(await ask_unfreeze(clerk, resident))["id"] for _ in range(3)]
    listed = await all_requests(clerk, limit=2)
    assert listed == sorted({*listed}, reverse=True)
    assert {*made} <= {*listed}
    for query in ("limit=0", "limit=101", "cursor=x", f"cursor=stf_{uuid4().hex}", "page=2"):
        problem_of(await clerk.get(f"{APPROVALS}?{query}"), "parameter_invalid")


async def test_nothing_is_asked_for_nobody(counter: Counter) -> None:
    clerk = await counter.seat("counter_clerk")
    path = f"/office/v1/people/per_{uuid4().hex}/unfreeze"
    problem_of(await clerk.post(path, document="passport"), "person_unknown")
    resident = await resident_of(counter)
    response = await clerk.post(f"/office/v1/people/{resident.person_id}/unfreeze", document="x")
    problem_of(response, "parameter_invalid")


async def test_who_asks_for_too_much_at_once_waits(counter: Counter) -> None:
    clerk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    for _ in range(OPEN_MAX):
        await ask_unfreeze(clerk, resident)
    path = f"/office/v1/people/{resident.person_id}/unfreeze"
    problem_of(await clerk.post(path, document="passport"), "approvals_too_many")
