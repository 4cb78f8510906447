"""The doors for enrolling, signing in and showing who one is, as the app meets them."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.api.answers import problem_of
from tests.factories.apps import App, device_body, open_app, signed_in_phone
from tests.factories.factors import cheap_gate
from tests.factories.identity import Identities, open_identities
from tests.factories.phones import Phone, events_of
from tests.factories.residents import (
    PIN,
    Resident,
    make_resident,
    make_visitor,
    message_of,
    within,
)
from tests.servers import Database
from tests.soft_authenticator import SoftAuthenticator
from tests.soft_device import SoftDevice
from wallet.core.ids import parse_public_id
from wallet.demo.fake_identity_app import Mode

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1 = "/app/v1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def identities() -> AsyncIterator[Identities]:
    """Yield the module's identity app."""
    async with open_identities() as identities:
        yield identities


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(module_database: Database, identities: Identities) -> AsyncIterator[App]:
    """Yield the module's doors."""
    async with open_app(module_database.application_url, identities=identities) as app:
        yield app


async def started(app: App, soft: SoftDevice, email: str) -> httpx.Response:
    """Ask for a code."""
    return await app.send(soft, "POST", f"{V1}/auth/start", {"kind": "email", "value": email})


async def code_in(app: App, response: httpx.Response) -> str:
    """Return the code that was sent."""
    code_id = parse_public_id("cco", response.json()["code_id"])
    assert isinstance(code_id, UUID)
    return (await message_of(app.engine, code_id)).code or ""


async def enrolled(app: App, soft: SoftDevice, **changes: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    """Enrol a phone."""
    body = {"device": device_body(soft), "pin": PIN, **changes}
    return await app.send(soft, "POST", f"{V1}/enrol", body)


async def test_a_visitor_enrols_by_a_code_and_sees_who_they_are(app: App) -> None:
    soft = SoftDevice()
    asked = await started(app, soft, "visitor@example.jp")
    assert asked.status_code == 202
    body = {
        "code_id": asked.json()["code_id"],
        "code": await code_in(app, asked),
        "device": device_body(soft, verified=False),
    }
    told = await app.send(soft, "POST", f"{V1}/auth/verify", body)
    phone = signed_in_phone(told, soft)
    assert told.json()["tier"] == "T0"
    me = (await app.call(phone, "GET", f"{V1}/me")).json()
    assert (me["tier"], me["state"], me["resident"]) == ("T0", "active", None)
    assert me["contacts"] == [{"kind": "email", "shown": "v•••@example.jp"}]
    assert [one["role"] for one in me["wallets"]] == ["own"]
    assert me["wallets"][0]["id"] == told.json()["wallet_id"]


async def test_a_phone_enrols_in_one_request(app: App) -> None:
    soft = SoftDevice()
    told = await enrolled(app, soft)
    assert told.json()["tier"] == "T1"
    assert told.headers["cache-control"] == "no-store"
    assert (await app.call(signed_in_phone(told, soft), "GET", f"{V1}/me")).status_code == 200


@pytest.mark.attack(4)
@pytest.mark.asvs("v5.0.0-6.3.8")
async def test_a_known_contact_is_answered_with_the_same_bytes(app: App) -> None:
    await make_visitor(app.engine, "there@example.jp")
    soft = SoftDevice()
    known = await started(app, soft, "there@example.jp")
    unknown = await started(app, soft, "not-there@example.jp")
    bodies = [response.json() for response in (known, unknown)]
    ids = [body.pop("code_id") for body in bodies]
    assert bodies[0] == bodies[1]
    assert len({len(one) for one in ids}) == 1
    assert [r.status_code for r in (known, unknown)] == [202, 202]
    assert known.headers.keys() == unknown.headers.keys()
    for code_id in ids:
        body = {"code_id": code_id, "code": "000000x", "device": device_body(soft)}
        wrong = await app.send(soft, "POST", f"{V1}/auth/verify", body)
        problem_of(wrong, "contact_code_wrong")


async def test_a_contact_that_is_none_and_a_code_that_was_never_sent_are_refused(app: App) -> None:
    soft = SoftDevice()
    problem_of(await started(app, soft, "nonsense"), "contact_invalid")
    body = {"code_id": "cco_nonsense", "code": "123456", "device": device_body(soft)}
    problem_of(await app.send(soft, "POST", f"{V1}/auth/verify", body), "contact_code_wrong")


@pytest.mark.attack(5)
async def test_a_request_without_the_proof_of_its_key_is_nobodys(app: App) -> None:
    soft, other = SoftDevice(), SoftDevice()
    body = {"device": device_body(soft), "pin": PIN}
    response = await app.client.post(f"{V1}/enrol", json=body)
    problem_of(response, "signed_out")
    assert response.headers["www-authenticate"] == 'DPoP algs="ES256"'
    phone = (await make_resident(app.engine)).phone
    stolen = Phone(
        principal_id=phone.principal_id,
        device_id=phone.device_id,
        tokens=phone.tokens,
        soft=other,
    )
    problem_of(await app.call(stolen, "GET", f"{V1}/me"), "signed_out")


@pytest.mark.attack(19)
async def test_a_request_that_is_sent_again_as_it_was_is_refused(app: App) -> None:
    soft = SoftDevice()
    first = await enrolled(app, soft)
    again = await app.client.request(
        "POST", f"{V1}/enrol", content=first.request.content, headers=first.request.headers
    )
    problem_of(again, "proof_replayed")


async def test_a_phone_that_is_enrolled_is_told_to_sign_in(app: App) -> None:
    soft = SoftDevice()
    await enrolled(app, soft)
    problem_of(await enrolled(app, soft), "device_key_taken")
    for body in ({}, {"pin": PIN}):
        signed_in_phone(await app.send(soft, "POST", f"{V1}/sign-in", body), soft)


async def test_a_phone_that_cannot_be_enrolled_is_told_why(app: App) -> None:
    soft = SoftDevice()
    device = device_body(soft, verified=False)
    problem_of(await enrolled(app, soft, device=device, pin=None), "factor_missing")
    problem_of(await enrolled(app, soft, pin="111111"), "pin_weak")
    problem_of(await enrolled(app, soft, pin="12"), "pin_malformed")
    swapped = {**device_body(soft), "verified_key": device_body(SoftDevice())["verified_key"]}
    problem_of(await enrolled(app, soft, device=swapped), "device_key_invalid")


@pytest.mark.attack(26)
@pytest.mark.asvs("v5.0.0-15.3.3")
@pytest.mark.parametrize("field", ["tier", "resident", "state", "balance", "acr", "person_id"])
async def test_nobody_gives_themselves_what_the_city_gives(app: App, field: str) -> None:
    problem = problem_of(await enrolled(app, SoftDevice(), **{field: "T3"}), "request_invalid")
    assert problem["errors"][0]["pointer"] == f"/{field}"


@pytest.mark.asvs("v5.0.0-14.2.4")
@pytest.mark.parametrize(
    "body",
    [
        {"kind": "email", "value": "123456789018@example.jp"},
        {"kind": "email", "value": "1234-5678-9018"},
        {"kind": "phone", "value": "１２３４ ５６７８ ９０１８"},
    ],
    ids=str,
)
async def test_a_my_number_is_taken_nowhere(app: App, body: dict[str, Any]) -> None:
    response = await app.send(SoftDevice(), "POST", f"{V1}/auth/start", body)
    problem_of(response, "my_number_refused")


@pytest.mark.parametrize("name", ["123456789018", "私の １２３４ー５６７８ー９０１２"])
async def test_a_device_cannot_be_named_by_twelve_digits(app: App, name: str) -> None:
    soft = SoftDevice()
    device = {**device_body(soft), "name": name}
    problem_of(await enrolled(app, soft, device=device), "my_number_refused")
    numbered = {**device_body(soft), "app_version": "123456789018"}
    problem_of(await enrolled(app, soft, device=numbered), "request_invalid")


async def test_ids_are_names_whatever_their_digits_look_like(app: App) -> None:
    soft = SoftDevice()
    body = {
        "code_id": "cco_12345678901800000000000000000000",
        "code": "123456",
        "device": device_body(soft),
    }
    problem_of(await app.send(soft, "POST", f"{V1}/auth/verify", body), "contact_code_wrong")


@pytest.mark.asvs("v5.0.0-15.2.2")
async def test_a_body_without_end_is_not_read_to_the_end(app: App) -> None:
    response = await app.send(SoftDevice(), "POST", f"{V1}/enrol", {"pin": "1" * 20_000})
    problem_of(response, "body_too_large")


async def test_tokens_are_refreshed_with_the_proof_of_the_same_key(app: App) -> None:
    phone = (await make_resident(app.engine)).phone
    body = {"refresh_token": phone.tokens.refresh_token}
    told = await app.send(phone.soft, "POST", f"{V1}/refresh", body)
    assert told.status_code == 200
    assert told.json()["access_token"] != phone.tokens.access_token
    problem_of(await app.send(SoftDevice(), "POST", f"{V1}/refresh", body), "signed_out")
    nonsense = {"refresh_token": "rt_nonsense"}
    problem_of(await app.send(phone.soft, "POST", f"{V1}/refresh", nonsense), "signed_out")


@pytest.mark.asvs("v5.0.0-7.4.1")
@pytest.mark.asvs("v5.0.0-10.4.9")
async def test_who_signs_out_is_out_until_the_phone_signs_in(app: App) -> None:
    phone = (await make_resident(app.engine)).phone
    assert (await app.call(phone, "POST", f"{V1}/sign-out")).status_code == 204
    problem_of(await app.call(phone, "GET", f"{V1}/me"), "signed_out")
    again = await app.send(phone.soft, "POST", f"{V1}/sign-in", {})
    assert (
        await app.call(signed_in_phone(again, phone.soft), "GET", f"{V1}/me")
    ).status_code == 200


async def test_a_passkey_signs_a_new_phone_in(app: App) -> None:
    resident, soft = await make_resident(app.engine), SoftDevice()
    authenticator = await app.with_passkey(resident)
    told = await app.send(soft, "POST", f"{V1}/sign-in/passkey/options", {})
    body = {
        "credential": _credential(authenticator, told.json()["options"]),
        "device": device_body(soft),
    }
    phone = signed_in_phone(await app.send(soft, "POST", f"{V1}/sign-in/passkey", body), soft)
    assert phone.principal_id == resident.id
    me = (await app.call(phone, "GET", f"{V1}/me")).json()
    assert me["cooling_until"] is not None


@pytest.mark.attack(7)
async def test_a_passkey_of_another_site_signs_nobody_in(app: App) -> None:
    resident, soft = await make_resident(app.engine), SoftDevice()
    authenticator = await app.with_passkey(resident)
    authenticator.origin = "https://evil.example"
    told = await app.send(soft, "POST", f"{V1}/sign-in/passkey/options", {})
    body = {
        "credential": _credential(authenticator, told.json()["options"]),
        "device": device_body(soft),
    }
    problem_of(await app.send(soft, "POST", f"{V1}/sign-in/passkey", body), "passkey_refused")


def _credential(authenticator: SoftAuthenticator, options: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    return json.loads(authenticator.get(options))


@pytest.mark.attack(4)
async def test_a_password_for_nobody_is_refused_with_the_same_bytes(app: App) -> None:
    await make_visitor(app.engine, "with-mail@example.jp")
    answers = []
    for email in ("with-mail@example.jp", "without@example.jp"):
        body = {
            "contact": {"kind": "email", "value": email},
            "password": "correct horse battery",
            "otp": "123456",
        }
        answers.append(await app.send(SoftDevice(), "POST", f"{V1}/sign-in/password", body))
    told = [problem_of(one, "credentials_wrong") for one in answers]
    for one in told:
        del one["instance"], one["support_code"]
    assert told[0] == told[1]


async def test_a_password_needs_exactly_one_second_factor(app: App) -> None:
    contact = {"kind": "email", "value": "any@example.jp"}
    for factors in ({}, {"otp": "123456", "recovery_code": "x"}):
        body = {"contact": contact, "password": "p", **factors}
        response = await app.send(SoftDevice(), "POST", f"{V1}/sign-in/password", body)
        problem_of(response, "request_invalid")


@pytest.mark.asvs("v5.0.0-15.4.4")
async def test_a_full_gate_refuses_before_the_database_is_asked() -> None:
    body = {
        "contact": {"kind": "email", "value": "any@example.jp"},
        "password": "p",
        "otp": "123456",
    }
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    async with cheap_gate(wait_s=0.05) as gate, open_app(nowhere, gate=gate) as app:
        path = f"{V1}/sign-in/password"
        async with gate.place(), gate.place():  # One hashes, one asks the database meanwhile.
            response = await app.send(SoftDevice(), "POST", path, body)
        assert response.status_code == 429
        assert response.json()["code"] == "sign_in_busy"
        assert int(response.headers["retry-after"]) >= 2
        problem_of(await app.send(SoftDevice(), "POST", path, body), "unavailable")


async def visit(
    app: App, identities: Identities, phone: Phone, citizen: str, body: dict[str, Any]
) -> httpx.Response:
    """Begin a visit to the identity app as ``body`` says, and come back from it."""
    begun = await app.call(phone, "POST", f"{V1}/identity", body)
    if begun.json().get("code") == "step_up_required":
        await app.answer(phone, begun.json(), by=PIN)
        begun = await app.call(
            phone, "POST", f"{V1}/identity", body, step_up=begun.json()["challenge_id"]
        )
    assert begun.status_code == 200, begun.text
    back = await identities.visit(begun.json()["url"], citizen)
    returned = {
        "purpose": body["purpose"],
        "state": back.state,
        "code": back.code,
        "iss": back.issuer,
    }
    return await app.call(phone, "POST", f"{V1}/identity/return", returned)


async def test_a_resident_rises_by_the_identity_app(app: App, identities: Identities) -> None:
    resident = await make_resident(app.engine)
    told = await visit(app, identities, resident.phone, identities.born(), {"purpose": "raise"})
    assert (told.json()["tier"], told.json()["resident"]) == ("T2", True)
    assert told.json()["session"]["access_token"] != resident.phone.tokens.access_token


@pytest.mark.attack(14)
async def test_a_second_account_of_the_same_citizen_does_not_rise(
    app: App, identities: Identities
) -> None:
    citizen = identities.born()
    for code in (None, "identity_already_used"):
        resident = await make_resident(app.engine)
        told = await visit(app, identities, resident.phone, citizen, {"purpose": "raise"})
        assert told.json().get("code") == code


@pytest.mark.asvs("v5.0.0-7.5.1")
async def test_whoever_finds_an_open_phone_cannot_make_it_theirs(
    app: App, identities: Identities
) -> None:
    resident = await long_enrolled(app)
    told = await app.call(resident.phone, "POST", f"{V1}/identity", {"purpose": "raise"})
    problem = problem_of(told, "step_up_required")
    assert problem["acr_values"] == ["pin"]
    rises = await visit(app, identities, resident.phone, identities.born(), {"purpose": "raise"})
    assert rises.json()["tier"] == "T2"


async def long_enrolled(app: App) -> Resident:
    """Return somebody who enrolled an hour ago and signed in just now."""
    resident = await make_resident(app.engine, now_us=app.clock() - 3_600 * 10**6)
    again = await app.send(resident.phone.soft, "POST", f"{V1}/sign-in", {})
    return Resident(
        phone=signed_in_phone(again, resident.phone.soft),
        wallet_id=resident.wallet_id,
        tier=resident.tier,
    )


async def test_a_provider_that_is_down_is_told_as_something_to_wait_for(
    app: App, identities: Identities
) -> None:
    resident = await make_resident(app.engine)
    begun = await app.call(resident.phone, "POST", f"{V1}/identity", {"purpose": "raise"})
    back = await identities.visit(begun.json()["url"], identities.born())
    identities.provider.mode = Mode.DOWN
    try:
        returned = {"purpose": "raise", "state": back.state, "code": back.code}
        told = await app.call(resident.phone, "POST", f"{V1}/identity/return", returned)
    finally:
        identities.provider.mode = Mode.HONEST
        identities.app.circuit.succeeded()
    problem_of(told)
    assert told.status_code == 503
    assert told.headers["retry-after"] == "30"


async def test_without_an_identity_app_its_doors_say_so(module_database: Database) -> None:
    async with open_app(module_database.application_url) as app:
        resident = await make_resident(app.engine)
        told = await app.call(resident.phone, "POST", f"{V1}/identity", {"purpose": "raise"})
        assert told.json()["code"] == "identity_app_unavailable"


@pytest.mark.asvs("v5.0.0-6.4.3")
async def test_who_lost_everything_comes_back_by_the_identity_app(
    app: App, identities: Identities
) -> None:
    citizen, resident, soft = identities.born(), await make_resident(app.engine), SoftDevice()
    await visit(app, identities, resident.phone, citizen, {"purpose": "raise"})
    begun = await app.send(soft, "POST", f"{V1}/recover", {})
    back = await identities.visit(begun.json()["url"], citizen)
    body = {
        "state": back.state,
        "code": back.code,
        "iss": back.issuer,
        "device": device_body(soft),
        "revoke_others": True,
    }
    phone = signed_in_phone(await app.send(soft, "POST", f"{V1}/recover/return", body), soft)
    assert phone.principal_id == resident.id
    problem_of(await app.call(resident.phone, "GET", f"{V1}/me"), "signed_out")
    assert "security.device_revoked" in dict(await events_of(app.engine, resident.id))


async def test_nobody_comes_back_whom_the_city_has_not_met(
    app: App, identities: Identities
) -> None:
    soft = SoftDevice()
    begun = await app.send(soft, "POST", f"{V1}/recover", {})
    back = await identities.visit(begun.json()["url"], identities.born())
    body = {"state": back.state, "code": back.code, "device": device_body(soft)}
    told = await app.send(soft, "POST", f"{V1}/recover/return", body)
    problem_of(told, "identity_unknown")
    problem_of(await app.send(soft, "POST", f"{V1}/recover/return", body), "identity_flow_unknown")


async def test_who_is_frozen_only_looks_and_thaws(app: App) -> None:
    resident = await long_enrolled(app)
    authenticator = await app.with_passkey(resident)
    phone = resident.phone
    assert (await app.call(phone, "POST", f"{V1}/me/freeze")).status_code == 204
    assert (await app.call(phone, "GET", f"{V1}/me")).json()["state"] == "frozen"
    frozen = await app.call(phone, "PUT", f"{V1}/factors/pin", {"pin": "482915"})
    assert problem_of(frozen, "account_frozen")["status"] == 423
    thawed = await app.confirmed(phone, "POST", f"{V1}/me/unfreeze", by=authenticator)
    assert thawed.status_code == 204, thawed.text
    me = (await app.call(phone, "GET", f"{V1}/me")).json()
    assert me["state"] == "active"
    assert me["cooling_until"] is not None
    assert (await app.call(phone, "POST", f"{V1}/me/unfreeze")).status_code == 204


async def test_who_closed_their_account_is_nobody(app: App) -> None:
    resident = await make_resident(app.engine)
    closed = "UPDATE person SET state = 'closed' WHERE id = :id RETURNING id"
    await within(
        app.engine, lambda connection: connection.execute(text(closed), {"id": resident.id})
    )
    problem_of(await app.call(resident.phone, "GET", f"{V1}/me"), "signed_out")
    problem_of(await app.send(resident.phone.soft, "POST", f"{V1}/sign-in", {}), "signed_out")
