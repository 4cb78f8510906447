"""Every door of staff, by every role: it opens for those who have its permission and no other."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from tests.api.answers import problem_of
from tests.factories.offices import Counter, Desk
from tests.factories.staff import department_of
from wallet.api.office_guard import Guard
from wallet.api.office_routers import OPEN_PATHS, STAFF_ROUTERS
from wallet.auth.staff_policy import policy
from wallet.auth.staff_rules import Permission

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN: Final = None

# What each door asks for. A door that asks for another permission one day is to be decided here.
DOORS: Final[dict[str, Permission | None]] = {
    "POST /office/v1/reauthentication/options": OWN,
    "POST /office/v1/reauthentication": OWN,
    "POST /office/v1/sign-out": OWN,
    "GET /office/v1/me": OWN,
    "GET /office/v1/me/sessions": OWN,
    "DELETE /office/v1/me/sessions/{session_id}": OWN,
    "GET /office/v1/me/passkeys": OWN,
    "POST /office/v1/me/passkeys/options": OWN,
    "POST /office/v1/me/passkeys": OWN,
    "DELETE /office/v1/me/passkeys/{passkey_id}": OWN,
    "POST /office/v1/people/search": Permission.PERSON_SEARCH,
    "GET /office/v1/people/{person_id}": Permission.PERSON_READ,
    "POST /office/v1/people/{person_id}/reveal": Permission.PERSON_REVEAL,
    "POST /office/v1/people/{person_id}/freeze": Permission.PERSON_FREEZE,
    "POST /office/v1/freezes": Permission.PERSON_FREEZE,
    "POST /office/v1/people/{person_id}/unfreeze": Permission.PERSON_UNFREEZE,
    "POST /office/v1/people/{person_id}/raise": Permission.PERSON_RAISE,
    "POST /office/v1/people/{person_id}/device-invitation": Permission.PERSON_RAISE,
    "GET /office/v1/points/events": Permission.POINTS_READ,
    "POST /office/v1/points/events": Permission.POINTS_WRITE,
    "POST /office/v1/points/events/{event_id}/close": Permission.POINTS_WRITE,
    "POST /office/v1/points/events/{event_id}/codes": Permission.POINTS_WRITE,
    "GET /office/v1/points/steps": Permission.POINTS_READ,
    "PUT /office/v1/points/steps/{programme}": Permission.POINTS_WRITE,
    "GET /office/v1/points/takings": Permission.POINTS_READ,
    "POST /office/v1/points/takings": Permission.POINTS_WRITE,
    "POST /office/v1/benefits": Permission.BENEFIT_WRITE,
    "GET /office/v1/benefits": Permission.BENEFIT_READ,
    "GET /office/v1/benefits/{run_id}": Permission.BENEFIT_READ,
    "POST /office/v1/benefits/{run_id}/approval": Permission.BENEFIT_WRITE,
    "POST /office/v1/benefits/{run_id}/pause": Permission.BENEFIT_WRITE,
    "POST /office/v1/benefits/{run_id}/resume": Permission.BENEFIT_WRITE,
    "POST /office/v1/benefits/{run_id}/withdraw": Permission.BENEFIT_WRITE,
    "GET /office/v1/benefits/{run_id}/rows.csv": Permission.BENEFIT_READ,
    "POST /office/v1/benefits/{run_id}/letters": Permission.BENEFIT_WRITE,
    "GET /office/v1/benefits/{run_id}/unclaimed": Permission.BENEFIT_READ,
    "POST /office/v1/benefits/grants/{grant_id}/claw-back": Permission.BENEFIT_WRITE,
    "POST /office/v1/benefits/beneficiaries": Permission.BENEFIT_WRITE,
    "GET /office/v1/purse-extensions": Permission.PROGRAMME_READ,
    "POST /office/v1/purse-extensions": Permission.PROGRAMME_WRITE,
    "GET /office/v1/buyer-refunds": Permission.PROGRAMME_READ,
    "POST /office/v1/buyer-refunds": Permission.PROGRAMME_WRITE,
    "GET /office/v1/receipts": Permission.RECEIPT_READ,
    "GET /office/v1/receipts/work": Permission.RECEIPT_READ,
    "POST /office/v1/receipts/settle": Permission.RECEIPT_WRITE,
    "GET /office/v1/sales": Permission.CAMPAIGN_READ,
    "PUT /office/v1/sales/{programme}": Permission.CAMPAIGN_WRITE,
    "GET /office/v1/programmes": Permission.PROGRAMME_READ,
    "GET /office/v1/programmes/{programme}": Permission.PROGRAMME_READ,
    "POST /office/v1/programmes/{programme}/drafts": Permission.PROGRAMME_WRITE,
    "GET /office/v1/programmes/{programme}/drafts/{revision}": Permission.PROGRAMME_READ,
    "POST /office/v1/programmes/{programme}/drafts/{revision}/submit": Permission.PROGRAMME_WRITE,
    "POST /office/v1/programmes/{programme}/drafts/{revision}/withdraw": Permission.PROGRAMME_WRITE,
    "POST /office/v1/programmes/{programme}/drafts/{revision}/approval": Permission.PROGRAMME_WRITE,
    "POST /office/v1/programmes/{programme}/drafts/{revision}/schedule": Permission.PROGRAMME_WRITE,
    "POST /office/v1/programmes/{programme}/suspend": Permission.PROGRAMME_WRITE,
    "POST /office/v1/programmes/{programme}/resume": Permission.PROGRAMME_WRITE,
    "POST /office/v1/programmes/{programme}/confirm-resume": Permission.PROGRAMME_WRITE,
    "GET /office/v1/base-dates/{day}": Permission.PROGRAMME_READ,
    "GET /office/v1/card-batches": Permission.CARD_READ,
    "POST /office/v1/card-batches": Permission.CARD_WRITE,
    "GET /office/v1/card-batches/{batch_id}": Permission.CARD_READ,
    "POST /office/v1/card-batches/{batch_id}/print-file": Permission.CARD_WRITE,
    "GET /office/v1/card-batches/{batch_id}/shipping-list": Permission.CARD_READ,
    "POST /office/v1/card-batches/{batch_id}/ship": Permission.CARD_WRITE,
    "POST /office/v1/card-batches/{batch_id}/cancel": Permission.CARD_WRITE,
    "POST /office/v1/cards/search": Permission.CARD_READ,
    "POST /office/v1/cards/activate": Permission.CARD_WRITE,
    "POST /office/v1/cards/block": Permission.CARD_WRITE,
    "POST /office/v1/cards/assign": Permission.CARD_WRITE,
    "POST /office/v1/cards/replace": Permission.CARD_WRITE,
    "GET /office/v1/paper-batches": Permission.CARD_READ,
    "POST /office/v1/paper-batches": Permission.CARD_WRITE,
    "GET /office/v1/paper-batches/{batch_id}": Permission.CARD_READ,
    "POST /office/v1/paper-batches/{batch_id}/print-file": Permission.CARD_WRITE,
    "POST /office/v1/paper-batches/{batch_id}/serials": Permission.CARD_WRITE,
    "POST /office/v1/paper/sales": Permission.CARD_WRITE,
    "POST /office/v1/paper/entries": Permission.CARD_WRITE,
    "GET /office/v1/paper/entries/{entry_id}": Permission.CARD_READ,
    "GET /office/v1/numbers": Permission.NUMBERS_READ,
    "GET /office/v1/numbers.csv": Permission.NUMBERS_READ,
    "GET /office/v1/approvals": Permission.APPROVAL_READ,
    "GET /office/v1/approvals/{approval_id}": Permission.APPROVAL_READ,
    "POST /office/v1/approvals/{approval_id}/approve": Permission.APPROVAL_DECIDE,
    "POST /office/v1/approvals/{approval_id}/reject": Permission.APPROVAL_DECIDE,
    "POST /office/v1/approvals/{approval_id}/execute": Permission.APPROVAL_READ,
    "GET /office/v1/campaigns": Permission.CAMPAIGN_READ,
    "POST /office/v1/campaigns": Permission.CAMPAIGN_WRITE,
    "GET /office/v1/campaigns/{campaign_id}": Permission.CAMPAIGN_READ,
    "PUT /office/v1/campaigns/{campaign_id}/terms": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/approval": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/steps": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/suspend": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/resume": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/draws/{round_}/commit": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/draws/{round_}/rename": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/draws/{round_}/list": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/campaigns/{campaign_id}/draws/{round_}/reveal": Permission.CAMPAIGN_WRITE,
    "GET /office/v1/campaigns/{campaign_id}/applications": Permission.CAMPAIGN_READ,
    "POST /office/v1/campaigns/{campaign_id}/applications": Permission.CAMPAIGN_WRITE,
    "GET /office/v1/applications/{application_id}": Permission.CAMPAIGN_READ,
    "POST /office/v1/applications/{application_id}/decision": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/applications/{application_id}/wallet": Permission.CAMPAIGN_WRITE,
    "PUT /office/v1/people/{person_id}/profile": Permission.CAMPAIGN_WRITE,
    "POST /office/v1/eligibility-lists/{list_code}": Permission.CAMPAIGN_WRITE,
    "GET /office/v1/audit/entries": Permission.AUDIT_READ,
    "GET /office/v1/audit/verification": Permission.AUDIT_READ,
    "POST /office/v1/audit/export": Permission.AUDIT_EXPORT,
    "GET /ops/v1/staff": Permission.STAFF_READ,
    "POST /ops/v1/staff": Permission.STAFF_MANAGE,
    "POST /ops/v1/staff/{staff_id}/roles": Permission.STAFF_MANAGE,
    "POST /ops/v1/staff/{staff_id}/enrolment": Permission.STAFF_MANAGE,
    "POST /ops/v1/staff/{staff_id}/family": Permission.STAFF_MANAGE,
    "POST /ops/v1/staff/{staff_id}/second-code": Permission.APPROVAL_DECIDE,
    "POST /ops/v1/staff/{staff_id}/suspend": Permission.STAFF_SUSPEND,
    "GET /ops/v1/stops": Permission.STOP_READ,
    "POST /ops/v1/stops": Permission.STOP_ENGAGE,
    "POST /ops/v1/stops/drills": Permission.STOP_ENGAGE,
    "POST /ops/v1/stops/{stop_id}/announce": Permission.STOP_ENGAGE,
    "POST /ops/v1/stops/{stop_id}/request-release": Permission.STOP_RELEASE,
    "POST /ops/v1/stops/{stop_id}/confirm-release": Permission.STOP_RELEASE,
    "GET /ops/v1/incidents": Permission.INCIDENT_READ,
    "POST /ops/v1/incidents": Permission.INCIDENT_WRITE,
    "GET /ops/v1/incidents/{incident_id}": Permission.INCIDENT_READ,
    "POST /ops/v1/incidents/{incident_id}/notes": Permission.INCIDENT_WRITE,
    "POST /ops/v1/incidents/{incident_id}/reports": Permission.INCIDENT_WRITE,
    "POST /ops/v1/incidents/{incident_id}/close": Permission.INCIDENT_WRITE,
    "POST /ops/v1/sessions/revoke-all": Permission.SESSION_REVOKE_ALL,
}


def routes() -> Iterator[tuple[str, APIRoute]]:
    """Yield every door of staff by its method and path."""
    for router in STAFF_ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                yield f"{method} {route.path}", route


def guards_of(route: APIRoute) -> list[Guard]:
    """Return what stands at a door."""
    return [one.call for one in route.dependant.dependencies if isinstance(one.call, Guard)]


@pytest.mark.asvs("v5.0.0-8.3.1")
async def test_every_door_has_one_guard_and_it_is_the_one_decided_on() -> None:
    found = {}
    for label, route in routes():
        if route.path in OPEN_PATHS:
            assert guards_of(route) == [], label
            continue
        (guard,) = guards_of(route)
        found[label] = guard.permission
    assert found == DOORS


async def test_no_door_is_open_but_those_where_nobody_has_a_session_yet(counter: Counter) -> None:
    served = {
        context.path
        for context in iter_route_contexts(counter.application.routes)
        if context.path is not None and context.path.startswith(("/office/", "/ops/"))
    }
    assert served == {label.split(" ")[1] for label in DOORS} | OPEN_PATHS


async def knock(desk: Desk, label: str, **headers: str) -> Any:  # noqa: ANN401 - a response
    """Come to a door with nothing that fits, so that what opens does nothing."""
    method, path = label.split(" ")
    concrete = re.sub(r"\{[^}]*\}", "nobody", path)
    sent = headers or desk.headers
    return await desk.counter.client.request(method, concrete, json={"?": 1}, headers=sent)


@pytest.mark.parametrize("role", sorted(policy().roles))
@pytest.mark.attack(25)
@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-8.2.1")
async def test_a_role_opens_its_doors_and_no_others(counter: Counter, role: str) -> None:
    desk = await counter.seat(role, department=department_of(role))
    permitted = policy().roles[role].permissions
    length = await counter.trail_length()
    denied = []
    for label, permission in DOORS.items():
        if label.endswith(("/sign-out", "/revoke-all")):
            continue  # They would end the session that knocks.
        response = await knock(desk, label)
        if permission is OWN or permission in permitted:
            assert response.status_code not in {401, 403}, label
        else:
            problem_of(response, "permission_missing")
            denied.append(permission)
    entries = [one for one in await counter.trail(after=length) if one["action"] == "staff.denied"]
    assert [one["details"]["permission"] for one in entries] == denied
    assert {one["actor"] for one in entries} == {desk.staff_id}
    assert {one["outcome"] for one in entries} == {"refused"}


async def test_to_end_every_session_takes_the_permission_too(counter: Counter) -> None:
    for role in sorted(policy().roles):
        if Permission.SESSION_REVOKE_ALL in policy().roles[role].permissions:
            continue
        desk = await counter.seat(role)
        response = await desk.post("/ops/v1/sessions/revoke-all")
        problem_of(response, "permission_missing")


@pytest.mark.parametrize("label", DOORS)
@pytest.mark.attack(25)
async def test_without_a_session_no_door_opens(counter: Counter, label: str) -> None:
    desk = await counter.seat("chief")
    token = desk.tokens["access_token"]
    for headers in (
        {"Accept": "*/*"},
        {"Authorization": ""},
        {"Authorization": f"DPoP {token}"},
        {"Authorization": f"Bearer {desk.tokens['refresh_token']}"},
        {"Authorization": f"Bearer {token[:-1]}{'A' if token[-1] != 'A' else 'B'}"},
        # A cookie is nobody's session, so no other site can ride on one.
        {"Cookie": f"access_token={token}; session={token}"},
    ):
        response = await knock(desk, label, **headers)
        problem_of(response, "sign_in_required")


async def test_nothing_sets_a_cookie_and_nothing_is_kept_by_a_browser(counter: Counter) -> None:
    desk = await counter.seat("chief")
    for label in DOORS:
        if label.endswith("/sign-out"):
            continue
        response = await knock(desk, label)
        assert "set-cookie" not in response.headers
        assert response.headers["cache-control"] == "no-store", label


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-7.5.3")
@pytest.mark.parametrize("label", [label for label, one in DOORS.items() if one is not OWN])
async def test_a_passkey_shown_too_long_ago_is_asked_for_at_the_door(
    counter: Counter, label: str
) -> None:
    permission = DOORS[label]
    assert permission is not None
    role = next(one.name for one in policy().roles.values() if permission in one.permissions)
    desk = await counter.seat(role)
    max_age_s = policy().permissions[permission].max_age_s
    before_us = counter.clock.now_us
    try:
        desk = await wait_for(desk, seconds=max_age_s + 1)
        if max_age_s == 86_400:  # Then the session itself is over.
            problem_of(await knock(desk, label), "sign_in_required")
            return
        body = problem_of(await knock(desk, label), "reauthentication_required")
        assert (body["acr_values"], body["max_age_s"]) == (["phr"], max_age_s)
        again = await desk.show_passkey()
        assert (await knock(again, label)).status_code != 401
    finally:
        counter.clock.now_us = before_us


async def wait_for(desk: Desk, *, seconds: int) -> Desk:
    """Return the desk after a while in which its page has kept the session alive."""
    left = seconds
    while left > 0:
        step = min(left, 3_000)
        desk.counter.clock.advance(seconds=step)
        left -= step
        response = await desk.counter.client.post(
            "/office/v1/refresh", json={"refresh_token": desk.tokens["refresh_token"]}
        )
        if response.status_code != 200:
            return desk
        desk = Desk(counter=desk.counter, colleague=desk.colleague, tokens=response.json())
    return desk


@pytest.mark.attack(26)
async def test_no_door_takes_a_field_that_it_does_not_know(counter: Counter) -> None:
    desk = await counter.seat("counter_clerk")
    response = await desk.post(
        "/office/v1/people/search", {"by": "email", "value": "a@example.jp", "permission": "all"}
    )
    body = problem_of(response, "parameter_invalid")
    assert body["errors"][0]["pointer"] == "/body/permission"


async def test_the_document_says_who_may_call_and_what_is_refused(counter: Counter) -> None:
    document = (await counter.client.get("/openapi.json")).json()
    for label in DOORS:
        method, path = label.split(" ")
        operation = document["paths"][path][method.lower()]
        assert operation["security"] == [{"staff_session": []}], label
        assert {"401", "403", "422"} <= operation["responses"].keys()
    for path in OPEN_PATHS:
        assert document["paths"][path]["post"]["security"] == []
    assert "Problem" in document["components"]["schemas"]


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff\xfe", b"[" * 100_000, b'{"\\ud800":1}', b'{"by":"email","value":"\\ud800"}',
     b'{"by":"email","value":"\\u0000"}', b'{"by":"email","value":NaN}', b""],
)  # fmt: skip
async def test_whatever_is_sent_is_refused_and_breaks_nothing(
    counter: Counter, body: bytes
) -> None:
    desk = await counter.seat("counter_clerk")
    headers = {**desk.headers, "Content-Type": "application/json"}
    response = await counter.client.post("/office/v1/people/search", content=body, headers=headers)
    refusals = {"body_malformed", "body_too_large", "parameter_invalid"}
    assert problem_of(response)["code"] in refusals


@pytest.mark.parametrize("inner", [b'"\\ud800"', b"NaN", b'{"a":' * 900 + b"1" + b"}" * 900])
async def test_whatever_an_authenticator_says_signs_nobody_in(
    counter: Counter, inner: bytes
) -> None:
    body = b'{"credential":{"id":%s}}' % inner
    response = await counter.client.post(
        "/office/v1/sign-in", content=body, headers={"Content-Type": "application/json"}
    )
    assert problem_of(response)["code"] in {"body_malformed", "sign_in_refused"}
