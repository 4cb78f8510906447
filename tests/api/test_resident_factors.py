"""Factors, devices and contacts change only for whoever shows what cannot be phished."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pyotp
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.api.answers import problem_of
from tests.factories.apps import ADDRESS, App, device_body, open_app, signed_in_phone
from tests.factories.phones import Phone, events_of
from tests.factories.residents import (
    PIN,
    Resident,
    make_resident,
    make_visitor,
    message_of,
    person_of,
)
from tests.servers import Database
from tests.soft_authenticator import SoftAuthenticator
from tests.soft_device import SoftDevice
from wallet.auth.proofs import base64url, thumbprint_of
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read
from wallet.core.ids import parse_public_id, public_id
from wallet.people.rules import Tier

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1 = "/app/v1"
HOUR_US = 3_600 * MICROSECONDS
PASSWORD = "gentle otters fold maps"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(module_database: Database) -> AsyncIterator[App]:
    """Yield the module's doors."""
    async with open_app(module_database.application_url) as app:
        yield app


async def signed_in(app: App, resident: Resident) -> Resident:
    """Return somebody as they are after signing in again."""
    again = await app.send(resident.phone.soft, "POST", f"{V1}/sign-in", {})
    phone = signed_in_phone(again, resident.phone.soft)
    return Resident(phone=phone, wallet_id=resident.wallet_id, tier=resident.tier)


async def settled(app: App) -> tuple[Resident, SoftAuthenticator]:
    """Return somebody who enrolled an hour ago, and their passkey."""
    resident = await make_resident(app.engine, now_us=app.clock() - HOUR_US)
    return await signed_in(app, resident), await app.with_passkey(resident)


async def test_the_first_minutes_set_everything_up_without_a_confirmation(app: App) -> None:
    phone = (await make_resident(app.engine)).phone
    changed = await app.call(phone, "PUT", f"{V1}/factors/pin", {"pin": "482915"})
    assert changed.status_code == 204
    made = await add_passkey(app, phone)
    assert made.status_code == 201
    sheet = await app.call(phone, "POST", f"{V1}/factors/recovery-codes")
    assert len(sheet.json()["codes"]) == 10
    password = await app.call(phone, "PUT", f"{V1}/factors/password", {"password": PASSWORD})
    assert password.status_code == 204
    assert not (await person_of(app.engine, phone.principal_id)).cools_off(now_us=app.clock())
    listed = (await app.call(phone, "GET", f"{V1}/factors")).json()
    assert listed["levels"] == ["dev", "pin", "otp", "phr"]
    assert listed["recovery_codes_left"] == 10
    assert [one["name"] for one in listed["passkeys"]] == ["key"]


async def add_passkey(app: App, phone: Phone, **headers: str) -> httpx.Response:
    """Make a passkey and have it kept."""
    told = await app.call(phone, "POST", f"{V1}/factors/passkeys/options")
    credential = json.loads(SoftAuthenticator().create(told.json()["options"]))
    body = {"credential": credential, "name": "key"}
    return await app.call(phone, "POST", f"{V1}/factors/passkeys", body, **headers)


@pytest.mark.asvs("v5.0.0-7.5.1")
async def test_later_a_change_names_what_would_satisfy_it(app: App) -> None:
    resident, _ = await settled(app)
    response = await app.call(resident.phone, "PUT", f"{V1}/factors/pin", {"pin": "482915"})
    problem = problem_of(response, "step_up_required")
    assert problem["acr_values"] == ["phr"]
    assert problem["expires_in_s"] == 120
    assert problem["summary"] == {"change": "pin"}
    header = response.headers["www-authenticate"]
    assert header.startswith('DPoP algs="ES256", error="insufficient_user_authentication"')
    assert 'acr_values="phr", max_age="300"' in header


@pytest.mark.attack(6)
async def test_a_change_with_a_passkey_cools_off_and_tells_the_phone(app: App) -> None:
    resident, passkey = await settled(app)
    body = {"pin": "482915"}
    done = await app.confirmed(resident.phone, "PUT", f"{V1}/factors/pin", body, by=passkey)
    assert done.status_code == 204, done.text
    assert (await person_of(app.engine, resident.id)).cools_off(now_us=app.clock())
    events = [kind for kind, _ in await events_of(app.engine, resident.id)]
    assert "security.sign_in_changed" in events
    told = await app.send(resident.phone.soft, "POST", f"{V1}/sign-in", {"pin": "482915"})
    assert told.status_code == 200


@pytest.mark.attack(20)
async def test_a_confirmation_is_of_one_request_and_of_no_other(app: App) -> None:
    resident, passkey = await settled(app)
    path, phone = f"{V1}/factors/pin", resident.phone
    first = await app.call(phone, "PUT", path, {"pin": "482915"})
    challenge_id = first.json()["challenge_id"]
    early = await app.call(phone, "PUT", path, {"pin": "482915"}, step_up=challenge_id)
    problem_of(early, "step_up_not_passed")
    await app.answer(phone, first.json(), by=passkey)
    other = await app.call(phone, "PUT", path, {"pin": "482916"}, step_up=challenge_id)
    problem_of(other, "step_up_mismatch")
    done = await app.call(phone, "PUT", path, {"pin": "482915"}, step_up=challenge_id)
    assert done.status_code == 204
    again = await app.call(phone, "PUT", path, {"pin": "482915"}, step_up=challenge_id)
    # Everything cools off meanwhile, and then more is asked for; the old one is used either way.
    problem_of(again, "step_up_used")


@pytest.mark.attack(25)
async def test_a_confirmation_of_somebody_else_is_unknown(app: App) -> None:
    resident, passkey = await settled(app)
    other, _ = await settled(app)
    path = f"{V1}/factors/recovery-codes"
    first = await app.call(resident.phone, "POST", path)
    await app.answer(resident.phone, first.json(), by=passkey)
    stolen = await app.call(other.phone, "POST", path, step_up=first.json()["challenge_id"])
    problem_of(stolen, "step_up_unknown")
    nonsense = await app.call(other.phone, "POST", path, step_up="chl_nonsense")
    problem_of(nonsense, "step_up_unknown")


async def test_while_it_cools_off_only_the_identity_app_changes_more(app: App) -> None:
    resident, passkey = await settled(app)
    body = {"pin": "482915"}
    await app.confirmed(resident.phone, "PUT", f"{V1}/factors/pin", body, by=passkey)
    response = await app.call(resident.phone, "POST", f"{V1}/factors/recovery-codes")
    problem_of(response, "factor_not_enrolled")


async def test_who_has_nothing_that_would_do_is_sent_to_the_counter(app: App) -> None:
    old = await make_resident(app.engine, now_us=app.clock() - HOUR_US)
    resident = await signed_in(app, old)
    response = await app.call(resident.phone, "PUT", f"{V1}/factors/pin", {"pin": "482915"})
    problem = problem_of(response, "factor_not_enrolled")
    assert problem["next_action"] == "visit_counter"


async def test_a_visitor_who_sets_a_pin_rises(app: App) -> None:
    visitor = await make_visitor(app.engine, "rising@example.jp")
    done = await app.call(visitor.phone, "PUT", f"{V1}/factors/pin", {"pin": "482915"})
    assert done.status_code == 204
    assert (await person_of(app.engine, visitor.id)).tier is Tier.DEVICE


async def test_a_pin_is_not_part_of_the_owners_telephone(app: App) -> None:
    visitor = await make_visitor(app.engine, "a-482915@example.jp")
    refused = await app.call(visitor.phone, "PUT", f"{V1}/factors/pin", {"pin": "482915"})
    problem_of(refused, "pin_weak")


async def test_the_second_key_is_changed_by_its_own_signature(app: App) -> None:
    resident, passkey = await settled(app)
    fresh = SoftDevice()
    signature = fresh.verified_key.sign(thumbprint_of(resident.phone.soft.key.public_key))
    body = {
        "public_key": base64url(fresh.verified_key.public_key),
        "signature": base64url(signature),
    }
    path = f"{V1}/factors/verified-key"
    done = await app.confirmed(resident.phone, "PUT", path, body, by=passkey)
    assert done.status_code == 204, done.text


async def test_an_authenticator_app_begins_with_its_first_code(app: App) -> None:
    phone = (await make_resident(app.engine)).phone
    told = (await app.call(phone, "POST", f"{V1}/factors/totp")).json()
    assert told["uri"].startswith("otpauth://totp/")
    wrong = await app.call(phone, "POST", f"{V1}/factors/totp/confirm", {"code": "000000"})
    problem_of(wrong, "otp_wrong")
    code = pyotp.TOTP(told["secret"]).at(app.clock() // MICROSECONDS)
    done = await app.call(phone, "POST", f"{V1}/factors/totp/confirm", {"code": code})
    assert done.status_code == 204
    assert (await app.call(phone, "DELETE", f"{V1}/factors/totp")).status_code == 204
    problem_of(await app.call(phone, "DELETE", f"{V1}/factors/totp"), "totp_unknown")


async def test_a_passkey_is_added_and_removed_by_another_one(app: App) -> None:
    resident, passkey = await settled(app)
    listed = (await app.call(resident.phone, "GET", f"{V1}/factors")).json()
    (held,) = listed["passkeys"]
    path = f"{V1}/factors/passkeys/{held['id']}"
    done = await app.confirmed(resident.phone, "DELETE", path, by=passkey)
    assert done.status_code == 204, done.text
    assert (await app.call(resident.phone, "GET", f"{V1}/factors")).json()["passkeys"] == []


async def test_a_passkey_that_is_none_is_unknown(app: App) -> None:
    phone = (await make_resident(app.engine)).phone
    for name in ("AAAA", "\u00e9"):
        gone = await app.call(phone, "DELETE", f"{V1}/factors/passkeys/{name}")
        assert gone.json()["code"] in {"passkey_unknown", "signed_out"}


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "password_too_short"),
        ("password1234", "password_guessable"),
        ("x" * 200, "password_unusable"),
        ("my number 1234 5678 9018", "my_number_refused"),
    ],
)
@pytest.mark.asvs("v5.0.0-6.2.1")
async def test_a_password_that_will_not_do_is_told_so(app: App, password: str, code: str) -> None:
    phone = (await make_resident(app.engine)).phone
    response = await app.call(phone, "PUT", f"{V1}/factors/password", {"password": password})
    problem_of(response, code)


async def test_devices_are_listed_and_invited_with_a_passkey_only(app: App) -> None:
    resident, passkey = await settled(app)
    invited = await app.confirmed(resident.phone, "POST", f"{V1}/devices/invitations", by=passkey)
    assert invited.status_code == 201, invited.text
    soft = SoftDevice()
    body = {"code": invited.json()["code"], "device": device_body(soft)}
    second = signed_in_phone(await app.send(soft, "POST", f"{V1}/devices/accept", body), soft)
    listed = (await app.call(second, "GET", f"{V1}/devices")).json()["data"]
    assert [one["is_this_one"] for one in listed] == [False, True]
    assert listed[1]["cooling_until"] is not None
    problem_of(await app.send(soft, "POST", f"{V1}/devices/accept", body), "invitation_unknown")


async def test_a_new_account_invites_no_second_device_without_a_confirmation(app: App) -> None:
    phone = (await make_resident(app.engine)).phone
    response = await app.call(phone, "POST", f"{V1}/devices/invitations")
    problem_of(response, "factor_not_enrolled")


async def test_another_device_is_revoked_with_a_passkey_and_this_one_at_once(app: App) -> None:
    resident, passkey = await settled(app)
    soft = SoftDevice()
    told = await app.send(soft, "POST", f"{V1}/sign-in/passkey/options", {})
    credential = json.loads(passkey.get(told.json()["options"]))
    body = {"credential": credential, "device": device_body(soft)}
    second = signed_in_phone(await app.send(soft, "POST", f"{V1}/sign-in/passkey", body), soft)
    path = f"{V1}/devices/{public_id('dev', resident.phone.device_id)}"
    # The passkey let this device in; while everything cools off, it revokes no other.
    problem_of(await app.call(second, "DELETE", path), "factor_not_enrolled")
    own = f"{V1}/devices/{public_id('dev', second.device_id)}"
    assert (await app.call(second, "DELETE", own)).status_code == 204
    problem_of(await app.call(second, "GET", f"{V1}/me"), "signed_out")


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_nobody_revokes_a_device_that_is_not_theirs(app: App) -> None:
    resident, passkey = await settled(app)
    other, _ = await settled(app)
    path = f"{V1}/devices/{public_id('dev', other.phone.device_id)}"
    gone = await app.confirmed(resident.phone, "DELETE", path, by=passkey)
    problem_of(gone, "device_unknown")
    malformed = await app.call(resident.phone, "DELETE", f"{V1}/devices/nonsense")
    problem_of(malformed, "device_unknown")
    assert (await app.call(other.phone, "GET", f"{V1}/me")).status_code == 200


async def sent_code(app: App, phone: Phone, email: str) -> dict[str, Any]:
    """Have a code sent to a new contact, and return what verifies it."""
    body = {"kind": "email", "value": email}
    told = await app.call(phone, "POST", f"{V1}/me/contacts", body)
    assert told.status_code == 202, told.text
    code_id = parse_public_id("cco", told.json()["code_id"])
    assert isinstance(code_id, UUID)
    code = (await message_of(app.engine, code_id)).code or "000000"
    return {"code_id": told.json()["code_id"], "code": code}


@pytest.mark.attack(6)
async def test_a_contact_changes_by_its_code_and_a_passkey_and_cools_off(app: App) -> None:
    resident, passkey = await settled(app)
    body = await sent_code(app, resident.phone, "new@example.jp")
    path = f"{V1}/me/contacts/verify"
    done = await app.confirmed(resident.phone, "POST", path, body, by=passkey)
    assert done.status_code == 204, done.text
    me = (await app.call(resident.phone, "GET", f"{V1}/me")).json()
    assert me["contacts"] == [{"kind": "email", "shown": "n•••@example.jp"}]
    assert me["cooling_until"] is not None


async def test_a_slip_of_the_finger_costs_no_confirmation(app: App) -> None:
    resident, passkey = await settled(app)
    body = await sent_code(app, resident.phone, "slip@example.jp")
    wrong = {**body, "code": "999999" if body["code"] != "999999" else "999998"}
    path = f"{V1}/me/contacts/verify"
    first = await app.call(resident.phone, "POST", path, wrong)
    challenge_id = first.json()["challenge_id"]
    await app.answer(resident.phone, first.json(), by=passkey)
    for _ in range(2):
        slipped = await app.call(resident.phone, "POST", path, wrong, step_up=challenge_id)
        problem_of(slipped, "contact_code_wrong")


async def test_the_contact_of_somebody_else_cannot_be_taken(app: App) -> None:
    await make_visitor(app.engine, "theirs@example.jp")
    phone = (await make_resident(app.engine)).phone
    body = await sent_code(app, phone, "theirs@example.jp")
    refused = await app.call(phone, "POST", f"{V1}/me/contacts/verify", body)
    problem_of(refused, "contact_code_wrong")


async def test_a_session_with_a_pin_is_not_enough_for_any_change(app: App) -> None:
    resident, _ = await settled(app)
    again = await app.send(resident.phone.soft, "POST", f"{V1}/sign-in", {"pin": PIN})
    phone = signed_in_phone(again, resident.phone.soft)
    response = await app.call(phone, "POST", f"{V1}/factors/recovery-codes")
    problem_of(response, "step_up_required")


async def test_what_people_change_themselves_stands_in_the_audit_trail(app: App) -> None:
    resident, passkey = await settled(app)
    body = {"pin": "482915"}
    await app.confirmed(resident.phone, "PUT", f"{V1}/factors/pin", body, by=passkey)
    await app.call(resident.phone, "POST", f"{V1}/me/freeze")
    name = public_id("per", resident.id)
    statement = text("SELECT action, actor, origin, details FROM audit_entry WHERE subject = :name")
    async with read(app.engine) as connection:
        rows = (await connection.execute(statement, {"name": name})).all()
    assert [(row.action, row.actor) for row in rows] == [
        ("factor.change", name),
        ("person.freeze", name),
    ]
    assert rows[0].details == {"what": "pin"}
    assert rows[0].origin.startswith("resident:")
    assert ADDRESS not in rows[0].origin
