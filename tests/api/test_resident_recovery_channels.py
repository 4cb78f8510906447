"""7pay's mistake cannot be made: no door changes a recovery channel without proof of the person.

Every operation of the app's document is called as somebody who holds the phone, the PIN, the
password, the authenticator app and the paper sheet, but neither a passkey nor the identity app;
and as a stranger. Afterwards everything by which the owner could come back is as it was.
"""

import json
import re
from collections.abc import AsyncIterator
from types import MappingProxyType
from typing import Any, Final

import pyotp
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.factories.apps import App, device_body, open_app, signed_in_phone
from tests.factories.identity import open_identities
from tests.factories.moments import PEPPER
from tests.factories.phones import Phone
from tests.factories.residents import PIN, Resident, make_resident, make_visitor, within
from tests.servers import Database
from tests.soft_authenticator import SoftAuthenticator
from tests.soft_device import SoftDevice
from wallet.api.resident_identity import PUBLIC
from wallet.auth.open_session import RESIDENT, open_session
from wallet.auth.proofs import base64url, thumbprint_of
from wallet.auth.rules import Method, show
from wallet.auth.totp import confirm_totp, enrol_totp
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.people.persons import subject_hash

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1: Final = "/app/v1"
LONG_AGO_US: Final = 86_400 * MICROSECONDS
MAIL: Final = "owner@example.jp"

CHANNELS: Final = (
    "SELECT kind, value_hash, verified_at FROM contact WHERE person_id = :id",
    "SELECT id, public_key, verified_key, revoked_at FROM device WHERE principal_id = :id",
    "SELECT p.mac FROM pin AS p JOIN device AS d ON d.id = p.device_id WHERE principal_id = :id",
    "SELECT secret_sealed, confirmed_at FROM totp WHERE principal_id = :id",
    "SELECT credential_id, revoked_at FROM passkey WHERE principal_id = :id",
    "SELECT hash FROM password WHERE principal_id = :id",
    "SELECT number, code_hash, used_at FROM recovery_code WHERE principal_id = :id",
    "SELECT subject_hash, state FROM person WHERE id = :id",
    "SELECT code_hash FROM device_invitation WHERE person_id = :id",
    "SELECT h.id FROM helper AS h JOIN wallet AS w ON w.id = h.wallet_id WHERE person_id = :id",
)
"""Everything that leads back into an account, or lets somebody else in."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(module_database: Database) -> AsyncIterator[App]:
    """Yield the doors, with an identity app behind them."""
    async with (
        open_identities() as identities,
        open_app(module_database.application_url, identities=identities) as app,
    ):
        yield app


async def channels_of(app: App, resident: Resident) -> list[list[Any]]:
    """Return the owner's recovery channels as they stand."""
    async with read(app.engine) as connection:
        return [
            sorted(map(tuple, await connection.execute(text(one), {"id": resident.id})), key=repr)
            for one in CHANNELS
        ]


async def make_owner(app: App) -> Resident:
    """Return somebody with every channel there is, set up long ago, who has shown all but phr."""
    owner = await make_visitor(app.engine, MAIL, now_us=app.clock() - LONG_AGO_US, pin=PIN)
    await app.with_passkey(owner)
    bind = text("UPDATE person SET tier = 'T2', subject_hash = :hash WHERE id = :id")
    values = {"hash": subject_hash("the owner", pepper=PEPPER), "id": owner.id}
    await within(app.engine, lambda connection: connection.execute(bind, values))
    await _with_totp(app, owner)
    shown = show(
        Method.DEVICE_KEY,
        Method.PIN,
        Method.TOTP,
        Method.PASSWORD,
        Method.RECOVERY_CODE,
        at_us=app.clock(),
    )
    tokens = await within(
        app.engine,
        lambda connection: open_session(
            connection,
            principal_id=owner.id,
            device_id=owner.phone.device_id,
            shown=shown,
            terms=RESIDENT,
            pepper=PEPPER,
            now_us=app.clock(),
        ),
    )
    phone = Phone(
        principal_id=owner.id,
        device_id=owner.phone.device_id,
        tokens=tokens,
        soft=owner.phone.soft,
    )
    return Resident(phone=phone, wallet_id=owner.wallet_id, tier=owner.tier)


async def _with_totp(app: App, owner: Resident) -> None:
    enrolment = await within(
        app.engine,
        lambda connection: enrol_totp(
            connection,
            principal_id=owner.id,
            account_name="a",
            issuer="b",
            pepper=PEPPER,
            now_us=app.clock(),
        ),
    )
    code = pyotp.TOTP(enrolment.secret).at(app.clock() // MICROSECONDS)
    assert not await within(
        app.engine,
        lambda connection: confirm_totp(
            connection, principal_id=owner.id, code=code, pepper=PEPPER, now_us=app.clock()
        ),
    )


def bodies(soft: SoftDevice, owner: Resident) -> dict[str, dict[str, Any] | None]:
    """Return a body for every operation that would do, were it allowed."""
    device = device_body(soft)
    credential = json.loads(
        SoftAuthenticator().create(
            {"challenge": base64url(b"c" * 56), "rp": {"id": "localhost"}, "user": {"id": "AAAA"}}
        )
    )
    signature = soft.verified_key.sign(thumbprint_of(owner.phone.soft.key.public_key))
    verified = {
        "public_key": base64url(soft.verified_key.public_key),
        "signature": base64url(signature),
    }
    code = {"code_id": "cco_" + "0" * 32, "code": "123456"}
    back = {"state": "s", "code": "c"}
    contact = {"kind": "email", "value": MAIL}
    return {
        "start_contact": contact,
        "verify_contact": {**code, "device": device, "pin": PIN},
        "enrol": {"device": device, "pin": PIN},
        "refresh": {"refresh_token": owner.phone.tokens.refresh_token},
        "sign_in": {"pin": PIN},
        "begin_passkey_sign_in": {},
        "sign_in_by_passkey": {"credential": credential, "device": device},
        "sign_in_by_password": {"contact": contact, "password": "p", "otp": "123456"},
        "begin_identity": {"purpose": "raise"},
        "return_identity": {"purpose": "raise", **back},
        "begin_recovery": {},
        "recover": {**back, "device": device, "revoke_others": True},
        "list_devices": None,
        "invite_device": {},
        "accept_device": {"code": "invite_nobody", "device": device},
        "revoke_device": None,
        "sign_out": {},
        "list_factors": None,
        "set_pin": {"pin": "482915"},
        "set_verified_key": verified,
        "begin_totp": {},
        "confirm_totp": {"code": "123456"},
        "remove_totp": None,
        "begin_passkey": {},
        "add_passkey": {"credential": credential, "name": "mine"},
        "remove_passkey": None,
        "set_password": {"password": "gentle otters fold maps"},
        "issue_recovery_codes": {},
        "get_me": None,
        "freeze_me": {},
        "unfreeze_me": {},
        "start_my_contact": {"kind": "email", "value": "thief@example.jp"},
        "verify_my_contact": code,
        "list_helpers": None,
        "invite_helper": {"wallet_id": public_id("wal", owner.wallet_id), "kind": "view"},
        "accept_help": {"code": "help_nobody"},
        "revoke_help": None,
        "end_guardianship": None,
    }


LAST: Final = ("freeze_me", "unfreeze_me", "sign_out")
"""After these there is less to try; freezing itself is what an owner does in a hurry."""


def operations(app: App) -> list[tuple[str, str, str]]:
    """Return name, method and path of every operation, those that end things last."""
    found = [
        (operation["operationId"], method.upper(), path)
        for path, item in app.application.openapi()["paths"].items()
        for method, operation in item.items()
    ]
    return sorted(found, key=lambda one: LAST.index(one[0]) if one[0] in LAST else -1)


def concrete(path: str, owner: Resident, other_device: str) -> str:
    """Return the path with ids of the owner's in it."""
    ids = MappingProxyType(
        {
            "device_id": other_device,
            "passkey_id": "AAAA",
            "helper_id": "hlp_" + "0" * 32,
            "wallet_id": public_id("wal", owner.wallet_id),
        }
    )
    return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)


@pytest.mark.attack("A2")
@pytest.mark.asvs("v5.0.0-6.1.3")
@pytest.mark.asvs("v5.0.0-6.4.3")
async def test_no_door_changes_a_recovery_channel_for_less_than_proof_of_the_person(
    app: App,
) -> None:
    owner = await make_owner(app)
    second = await make_resident(app.engine)
    before, soft = await channels_of(app, owner), SoftDevice()
    known = bodies(soft, owner)
    for name, method, path in operations(app):
        if path in PUBLIC:
            continue
        target = concrete(path, owner, public_id("dev", second.phone.device_id))
        response = await app.call(owner.phone, method, target, known[name])
        assert response.status_code < 500, (name, response.text)
        if name == "freeze_me":
            before[7] = [(before[7][0][0], "frozen")]
        assert await channels_of(app, owner) == before, name


@pytest.mark.attack("A2")
async def test_a_pin_answers_no_challenge_of_such_a_change(app: App) -> None:
    owner = await make_owner_with_pin_only(app)
    told = await app.call(owner.phone, "PUT", f"{V1}/factors/pin", {"pin": "482915"})
    with pytest.raises(AssertionError, match="step_up_insufficient"):
        await app.answer(owner.phone, told.json(), by=PIN)


async def make_owner_with_pin_only(app: App) -> Resident:
    """Return somebody settled, with a passkey that is not at hand."""
    old = await make_resident(app.engine, now_us=app.clock() - LONG_AGO_US)
    await app.with_passkey(old)
    again = await app.send(old.phone.soft, "POST", f"{V1}/sign-in", {"pin": PIN})
    phone = signed_in_phone(again, old.phone.soft)
    return Resident(phone=phone, wallet_id=old.wallet_id, tier=old.tier)


@pytest.mark.attack("A2")
async def test_a_stranger_changes_nothing_through_the_public_doors(app: App) -> None:
    owner = await make_owner_with_pin_only(app)
    before, soft = await channels_of(app, owner), SoftDevice()
    known = bodies(soft, owner)
    for name, method, path in operations(app):
        if path in PUBLIC:
            response = await app.send(soft, method, path, known[name])
            assert response.status_code < 500, (name, response.text)
            assert await channels_of(app, owner) == before, name


@pytest.mark.asvs("v5.0.0-6.3.4")
@pytest.mark.asvs("v5.0.0-8.3.1")
async def test_every_door_but_the_public_ones_wants_a_session(app: App) -> None:
    paths = {path for _, _, path in operations(app)}
    assert paths >= PUBLIC
    for _, method, path in operations(app):
        target = re.sub(r"\{\w+\}", "a", path)
        bare = await app.client.request(method, target, content=b"{}")
        assert bare.status_code == 401, (method, path, bare.text)
        if path not in PUBLIC:
            proved = await app.send(SoftDevice(), method, target, {})
            assert proved.status_code == 401, (method, path)


async def test_the_walk_knows_every_door(app: App) -> None:
    owner = await make_owner_with_pin_only(app)
    assert bodies(SoftDevice(), owner).keys() == {name for name, _, _ in operations(app)}
