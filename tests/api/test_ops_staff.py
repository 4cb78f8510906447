"""Colleagues are added, changed and suspended through the doors: power takes two, its end one."""

from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from tests.api.answers import problem_of
from tests.factories.offices import Counter, Desk, httpx_json
from tests.factories.staff import REASON, member_of
from tests.soft_authenticator import SoftAuthenticator
from wallet.core.ids import public_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

STAFF = "/ops/v1/staff"


def new(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a request for a new colleague at the counter."""
    return {
        "login": uuid4().hex,
        "display_name": "山田　太郎",
        "department": "citizens",
        "roles": ["counter_clerk"],
        "reason": REASON,
        **changes,
    }


async def agree(asker: Desk, approver: Desk, asked: httpx.Response) -> dict[str, Any]:
    """Have a request approved and carried out, and return what came of it."""
    assert asked.status_code == 202, asked.text
    path = f"/office/v1/approvals/{asked.json()['id']}"
    body = {"payload_hash": asked.json()["payload_hash"]}
    approved = await approver.post(f"{path}/approve", body)
    assert approved.status_code == 200, approved.text
    done = await asker.post(f"{path}/execute", {})
    assert done.status_code == 200, done.text
    result: dict[str, Any] = done.json()["result"]
    return result


async def enrol(counter: Counter, codes: list[str]) -> httpx.Response:
    """Enrol with the codes, as the new colleague does."""
    path, passkey = "/office/v1/enrolment", SoftAuthenticator()
    started = await counter.client.post(f"{path}/options", json={"codes": codes})
    if started.status_code != 200:
        return started
    credential = httpx_json(passkey.create(started.json()["options"]))
    body = {"codes": codes, "credential": credential, "name": "鍵"}
    return await counter.client.post(path, json=body)


async def two_administrators(counter: Counter) -> tuple[Desk, Desk]:
    """Return two who may agree on colleagues."""
    return await counter.seat("administrator"), await counter.seat("administrator")


@pytest.mark.attack(28)
async def test_a_colleague_joins_by_two_administrators_and_two_halves_of_a_code(
    counter: Counter,
) -> None:
    asker, approver = await two_administrators(counter)
    asked = await asker.post(STAFF, new())
    staff_id = asked.json()["subject"]
    first = (await agree(asker, approver, asked))["enrolment_code"]
    problem_of(await enrol(counter, [first]), "enrolment_refused")
    path = f"{STAFF}/{staff_id}/second-code"
    problem_of(await asker.post(path, {}), "enrolment_unknown")
    second = (await approver.post(path, {})).json()["enrolment_code"]
    problem_of(await approver.post(path, {}), "enrolment_unknown")
    assert (await enrol(counter, [first, second])).status_code == 201
    shown = [one for one in await all_staff(asker) if one["id"] == staff_id]
    assert shown == [
        {
            "id": staff_id,
            "display_name": "山田　太郎",
            "department": "citizens",
            "state": "active",
            "roles": ["counter_clerk"],
            "family_noted": False,
        }
    ]
    trail = str(await counter.trail())
    assert first not in trail
    assert second not in trail
    assert "山田" not in trail


async def all_staff(desk: Desk) -> list[dict[str, Any]]:
    """Return the staff, page by page."""
    found, cursor = [], ""
    while True:
        page = (await desk.get(f"{STAFF}?limit=5{cursor}")).json()
        found += page["data"]
        if not page["has_more"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"department": "harbour"}, "department_unknown"),
        ({"roles": ["mayor"]}, "role_unknown"),
        ({"roles": ["auditor"]}, "role_of_other_department"),
        ({"department": "systems", "roles": ["administrator", "stop_officer"]},
         "roles_incompatible"),
        ({"reason": "x"}, "reason_missing"),
        ({"roles": []}, "parameter_invalid"),
        ({"display_name": ""}, "parameter_invalid"),
        ({"display_name": "a\u0000b"}, "parameter_invalid"),
        ({"state": "active"}, "parameter_invalid"),
    ],
)  # fmt: skip
async def test_what_could_never_be_is_not_even_asked_for(
    counter: Counter, changes: dict[str, Any], code: str
) -> None:
    desk = await counter.seat("administrator")
    problem_of(await desk.post(STAFF, new(**changes)), code)


@pytest.mark.attack(28)
async def test_an_employee_gets_no_second_account(counter: Counter) -> None:
    asker, approver = await two_administrators(counter)
    body = new()
    await agree(asker, approver, await asker.post(STAFF, body))
    again = await asker.post(STAFF, {**body, "display_name": "別名"})
    path = f"/office/v1/approvals/{again.json()['id']}"
    hashed = {"payload_hash": again.json()["payload_hash"]}
    await approver.post(f"{path}/approve", hashed)
    problem_of(await asker.post(f"{path}/execute", {}), "staff_exists")


@pytest.mark.attack(28)
async def test_administrators_give_themselves_nothing(counter: Counter) -> None:
    asker, approver = await two_administrators(counter)
    own = f"{STAFF}/{asker.staff_id}"
    for path, fields in (
        ("roles", {"roles": ["administrator"]}),
        ("enrolment", {}),
        ("family", {"family": []}),
        ("suspend", {}),
    ):
        response = await asker.post(f"{own}/{path}", {"reason": REASON, **fields})
        problem_of(response, "own_affair")
    # Nor does the colleague who would profit decide.
    asked = await asker.post(f"{STAFF}/{approver.staff_id}/enrolment")
    path = f"/office/v1/approvals/{asked.json()['id']}/approve"
    hashed = {"payload_hash": asked.json()["payload_hash"]}
    problem_of(await approver.post(path, hashed), "own_affair")


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-8.3.2")
async def test_roles_change_by_two_and_hold_from_the_next_request(counter: Counter) -> None:
    asker, approver = await two_administrators(counter)
    clerk = await counter.seat("counter_clerk")
    path = f"{STAFF}/{clerk.staff_id}/roles"
    roles = {"roles": ["counter_lead"], "reason": REASON}
    await agree(asker, approver, await asker.post(path, roles))
    assert (await clerk.get("/office/v1/me")).json()["roles"] == ["counter_lead"]


async def test_the_chief_agrees_to_what_an_administrator_asks(counter: Counter) -> None:
    asker, chief = await counter.seat("administrator"), await counter.seat("chief")
    await agree(asker, chief, await asker.post(STAFF, new()))


@pytest.mark.asvs("v5.0.0-6.4.4")
@pytest.mark.asvs("v5.0.0-6.4.6")
async def test_a_lost_passkey_is_replaced_by_two(counter: Counter) -> None:
    asker, approver = await two_administrators(counter)
    clerk = await counter.seat("counter_clerk")
    path = f"{STAFF}/{clerk.staff_id}"
    first = (await agree(asker, approver, await asker.post(f"{path}/enrolment")))["enrolment_code"]
    problem_of(await clerk.get("/office/v1/me"), "sign_in_required")
    second = (await approver.post(f"{path}/second-code", {})).json()["enrolment_code"]
    assert (await enrol(counter, [first, second])).status_code == 201
    options = (await counter.client.post("/office/v1/sign-in/options")).json()["options"]
    body = {"credential": httpx_json(clerk.colleague.passkey.get(options))}
    problem_of(await counter.client.post("/office/v1/sign-in", json=body), "sign_in_refused")


@pytest.mark.attack(28)
async def test_family_is_noted_by_two_and_read_by_nobody(counter: Counter) -> None:
    asker, approver = await two_administrators(counter)
    clerk, own, child = await counter.seat("counter_clerk"), uuid4(), uuid4()
    path = f"{STAFF}/{clerk.staff_id}/family"
    body = {
        "person_id": public_id("per", own),
        "family": [public_id("per", child)],
        "reason": REASON,
    }
    await agree(asker, approver, await asker.post(path, body))
    assert (await member_of(counter.engine, clerk.colleague.id)).circle == {own, child}
    listed = str(await all_staff(asker))
    assert own.hex not in listed
    assert child.hex not in listed
    await agree(asker, approver, await asker.post(path, {"reason": REASON}))
    assert (await member_of(counter.engine, clerk.colleague.id)).circle == frozenset()


@pytest.mark.asvs("v5.0.0-7.4.2")
@pytest.mark.asvs("v5.0.0-7.4.5")
@pytest.mark.parametrize("role", ["administrator", "security_officer", "chief"])
async def test_a_colleague_is_suspended_by_one_and_at_once(counter: Counter, role: str) -> None:
    desk, clerk = await counter.seat(role), await counter.seat("counter_clerk")
    assert (await desk.post(f"{STAFF}/{clerk.staff_id}/suspend")).status_code == 204
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["subject"]) == ("staff.suspend", clerk.staff_id)
    assert (entry["reason"], entry["details"]) == (REASON, {"changed": 1})
    problem_of(await clerk.get("/office/v1/me"), "sign_in_required")


async def test_nothing_is_asked_of_who_is_not_on_the_staff(counter: Counter) -> None:
    desk = await counter.seat("administrator")
    for staff_id in (public_id("stf", uuid4()), "stf_1"):
        for path in ("enrolment", "suspend", "family"):
            problem_of(await desk.post(f"{STAFF}/{staff_id}/{path}"), "staff_unknown")
