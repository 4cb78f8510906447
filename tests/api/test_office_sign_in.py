"""Staff sign in, show their passkey again, and look after what is their own, through the doors."""

import logging
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.api.answers import problem_of
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.offices import Counter, Desk, httpx_json
from tests.factories.staff import add, make_colleague
from tests.soft_authenticator import SoftAuthenticator
from wallet.auth.staff_accounts import issue_code, suspend_member
from wallet.core.database import write

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGN_IN = "/office/v1/sign-in"


async def answer_of(counter: Counter, passkey: SoftAuthenticator) -> dict[str, Any]:
    """Return the body of a sign-in."""
    options = (await counter.client.post(f"{SIGN_IN}/options")).json()["options"]
    return {"credential": httpx_json(passkey.get(options))}


@pytest.mark.asvs("v5.0.0-16.3.1")
async def test_signing_in_is_in_the_trail(counter: Counter) -> None:
    desk = await counter.seat("counter_clerk")
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["actor"]) == ("staff.sign_in", desk.staff_id)
    assert (entry["subject"], entry["outcome"]) == (desk.staff_id, "done")
    assert desk.tokens["expires_in"] == 600
    assert desk.tokens["refresh_expires_in"] == 3_600


@pytest.mark.asvs("v5.0.0-16.3.1")
async def test_a_passkey_of_nobody_is_refused_and_logged_and_fills_no_trail(
    counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    length = await counter.trail_length()
    with caplog.at_level(logging.WARNING):
        strangers = await answer_of(counter, SoftAuthenticator())
        bodies: tuple[dict[str, Any], ...] = (strangers, {"credential": {}})
        for body in bodies:
            problem_of(await counter.client.post(SIGN_IN, json=body), "sign_in_refused")
    assert await counter.trail_length() == length
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == 2
    assert all(line.startswith("a passkey was refused: office:") for line in lines)
    assert not any("192.0.2" in line for line in lines)


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-16.3.1")
async def test_a_suspended_colleague_who_tries_is_in_the_trail(counter: Counter) -> None:
    colleague = await make_colleague(counter.engine, "counter_clerk")
    await write(
        counter.engine,
        lambda connection: suspend_member(
            connection, staff_id=colleague.id, because="left", now_us=NOW_US
        ),
    )
    response = await counter.client.post(SIGN_IN, json=await answer_of(counter, colleague.passkey))
    refused = problem_of(response, "sign_in_refused")
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["outcome"]) == ("staff.sign_in", "refused")
    # In the same words as for nobody.
    stranger = await counter.client.post(
        SIGN_IN, json=await answer_of(counter, SoftAuthenticator())
    )
    told = stranger.json()
    for name in ("instance", "support_code"):
        del told[name], refused[name]
    assert told == refused


@pytest.mark.attack(19)
async def test_an_answer_signs_in_once(counter: Counter) -> None:
    colleague = await make_colleague(counter.engine, "counter_clerk")
    body = await answer_of(counter, colleague.passkey)
    assert (await counter.client.post(SIGN_IN, json=body)).status_code == 200
    problem_of(await counter.client.post(SIGN_IN, json=body), "sign_in_refused")


@pytest.mark.asvs("v5.0.0-7.4.1")
async def test_signing_out_ends_the_session_at_once(counter: Counter) -> None:
    desk = await counter.seat("counter_clerk")
    assert (await desk.post("/office/v1/sign-out", {})).status_code == 204
    problem_of(await desk.get("/office/v1/me"), "sign_in_required")
    refresh = {"refresh_token": desk.tokens["refresh_token"]}
    problem_of(await counter.client.post("/office/v1/refresh", json=refresh), "sign_in_required")
    assert (await counter.trail())[-1]["action"] == "staff.sign_out"


async def test_refreshing_gives_tokens_that_work(counter: Counter) -> None:
    desk = await counter.seat("counter_clerk")
    refresh = {"refresh_token": desk.tokens["refresh_token"]}
    response = await counter.client.post("/office/v1/refresh", json=refresh)
    renewed = Desk(counter=counter, colleague=desk.colleague, tokens=response.json())
    assert renewed.tokens["access_token"] != desk.tokens["access_token"]
    assert (await renewed.get("/office/v1/me")).status_code == 200
    wrong = {"refresh_token": "rt_x"}
    problem_of(await counter.client.post("/office/v1/refresh", json=wrong), "sign_in_required")


@pytest.mark.attack(28)
async def test_a_colleagues_passkey_does_not_show_again_for_somebody_else(
    counter: Counter,
) -> None:
    desk, other = await counter.seat("counter_clerk"), await counter.seat("counter_lead")
    options = (await desk.post("/office/v1/reauthentication/options", {})).json()["options"]
    body = {"credential": httpx_json(other.colleague.passkey.get(options))}
    problem_of(await desk.post("/office/v1/reauthentication", body), "passkey_refused")
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["outcome"]) == ("staff.reauthenticate", "refused")


async def test_somebody_sees_who_they_are(counter: Counter) -> None:
    desk = await counter.seat("call_agent")
    body = (await desk.get("/office/v1/me")).json()
    assert body["staff_id"] == desk.staff_id
    assert (body["department"], body["roles"]) == ("support", ["call_agent"])
    assert body["permissions"] == ["person.freeze", "person.read", "person.search", "stop.read"]


@pytest.mark.asvs("v5.0.0-7.5.2")
async def test_somebody_sees_their_sessions_and_ends_one_left_open_elsewhere(
    counter: Counter,
) -> None:
    desk = await counter.seat("counter_clerk")
    elsewhere = await counter.sign_in(desk.colleague)
    listed = (await desk.get("/office/v1/me/sessions")).json()
    (other,) = [one for one in listed if not one["current"]]
    assert len(listed) == 2
    path = f"/office/v1/me/sessions/{other['id']}"
    stranger = await counter.seat("counter_clerk")
    problem_of(await stranger.delete(path), "session_unknown")
    assert (await desk.delete(path)).status_code == 204
    problem_of(await elsewhere.get("/office/v1/me"), "sign_in_required")
    problem_of(await desk.delete(path), "session_unknown")
    problem_of(await desk.delete("/office/v1/me/sessions/nothing"), "session_unknown")


async def add_passkey(desk: Desk) -> SoftAuthenticator:
    """Register a further passkey."""
    spare = SoftAuthenticator()
    options = (await desk.post("/office/v1/me/passkeys/options", {})).json()["options"]
    body = {"credential": httpx_json(spare.create(options)), "name": "予備の鍵"}
    response = await desk.post("/office/v1/me/passkeys", body)
    assert response.status_code == 201, response.text
    assert response.json()["name"] == "予備の鍵"
    return spare


async def test_a_spare_key_signs_in_too_and_the_last_one_stays(counter: Counter) -> None:
    desk = await counter.seat("counter_clerk")
    spare = await add_passkey(desk)
    response = await counter.client.post(SIGN_IN, json=await answer_of(counter, spare))
    assert response.status_code == 200
    first, second = (await desk.get("/office/v1/me/passkeys")).json()
    assert (await desk.delete(f"/office/v1/me/passkeys/{first['id']}")).status_code == 204
    problem_of(await desk.delete(f"/office/v1/me/passkeys/{second['id']}"), "passkey_last")
    problem_of(await desk.delete(f"/office/v1/me/passkeys/{first['id']}"), "passkey_unknown")
    problem_of(await desk.delete("/office/v1/me/passkeys/ä"), "passkey_unknown")
    actions = [one["action"] for one in await counter.trail()]
    assert {"staff.add_passkey", "staff.remove_passkey"} <= {*actions}


@pytest.mark.asvs("v5.0.0-7.5.1")
async def test_a_passkey_is_added_by_who_has_just_shown_one(counter: Counter) -> None:
    desk = await counter.seat("counter_clerk")
    before_us = counter.clock.now_us
    try:
        counter.clock.advance(seconds=301)
        for response in (
            await desk.post("/office/v1/me/passkeys/options", {}),
            await desk.post("/office/v1/me/passkeys", {"credential": {}, "name": "x"}),
            await desk.delete("/office/v1/me/passkeys/AAAA"),
        ):
            body = problem_of(response, "reauthentication_required")
            assert body["max_age_s"] == 300
    finally:
        counter.clock.now_us = before_us


async def test_a_new_colleague_enrols_with_their_code(counter: Counter) -> None:
    staff_id = await add(counter.engine, "counter_clerk")

    async def issue(connection: AsyncConnection) -> str:
        return await issue_code(
            connection, staff_id=staff_id, approved_by=None, pepper=PEPPER, now_us=NOW_US
        )

    codes = {"codes": [await write(counter.engine, issue)]}
    path, passkey = "/office/v1/enrolment", SoftAuthenticator()
    wrong = {"codes": ["enrol_nobody"]}
    problem_of(await counter.client.post(f"{path}/options", json=wrong), "enrolment_refused")
    options = (await counter.client.post(f"{path}/options", json=codes)).json()["options"]
    body = {**codes, "credential": httpx_json(passkey.create(options)), "name": "鍵"}
    problem_of(await counter.client.post(path, json={**body, **wrong}), "enrolment_refused")
    response = await counter.client.post(path, json=body)
    assert response.status_code == 201, response.text
    assert response.json()["display_name"] == "職員"
    problem_of(await counter.client.post(path, json=body), "enrolment_refused")
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["details"]) == ("staff.enrol", {"backed_up": 0})
    signed_in = await counter.client.post(SIGN_IN, json=await answer_of(counter, passkey))
    assert signed_in.status_code == 200
