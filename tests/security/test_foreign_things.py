"""Somebody else's things are as unknown as nobody's, and no door opens for who may not open it."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

import httpx2 as httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.api.answers import problem_of
from tests.factories.apps import App, signed_in_phone
from tests.factories.benefits import plant_offer
from tests.factories.campaigns import plant_application
from tests.factories.challenges import challenge_to
from tests.factories.city import make_city
from tests.factories.moments import PEPPER
from tests.factories.offices import Counter
from tests.factories.people import make_card
from tests.factories.residents import Resident, make_resident, within
from tests.factories.sales import plant_purchase
from tests.security.doors import Door, doors_of, is_closed
from tests.servers import Database
from tests.soft_authenticator import SoftAuthenticator
from wallet.api.resident_pay import PAY_PATH
from wallet.auth.passkeys import list_passkeys
from wallet.auth.proofs import base64url
from wallet.core.clock import MICROSECONDS
from wallet.core.ids import public_id
from wallet.people.helpers import Wanted, invite_helper

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ids = Mapping[str, str]

LONG_AGO_US: Final = 86_400 * MICROSECONDS

NOBODYS: Final[Mapping[str, Callable[[], str]]] = {
    "application_id": lambda: public_id("app", uuid4()),
    "benefit_id": lambda: public_id("grt", uuid4()),
    "campaign_id": lambda: public_id("cmp", uuid4()),
    "card_id": lambda: public_id("crd", uuid4()),
    "challenge_id": lambda: public_id("chl", uuid4()),
    "device_id": lambda: public_id("dev", uuid4()),
    "helper_id": lambda: public_id("hlp", uuid4()),
    "passkey_id": lambda: base64url(uuid4().bytes * 2),
    "purchase_id": lambda: public_id("pur", uuid4()),
    "wallet_id": lambda: public_id("wal", uuid4()),
}
"""An id that nobody has, by the name it has in paths, queries and bodies."""

BODIES: Final[Mapping[str, Callable[[Ids], dict[str, Any]]]] = {
    "activate_card": lambda ids: {
        "card": "0000 0000 0005",
        "pin": "274915",
        "wallet_id": ids["wallet_id"],
    },
    "choose_coupon": lambda _: {"programme": "coin", "coupon": "welcome"},
    "claim_benefit": lambda _: {},
    "claim_by_code": lambda ids: {
        "code": "K7M2-3PQR-9XYZ",
        "birthdate": "2019-04-01",
        "wallet_id": ids["wallet_id"],
    },
    "create_application": lambda ids: {
        "campaign_id": ids["campaign_id"],
        "frame": "voucher",
        "units": 1,
        "wallet_id": ids["wallet_id"],
    },
    "invite_helper": lambda ids: {"kind": "view", "wallet_id": ids["wallet_id"]},
    "issue_codes": lambda ids: {"count": 1, "wallet_id": ids["wallet_id"]},
    "pay_purchase": lambda _: {"method": "card"},
}
"""Bodies that name something, by the operation. A door that comes to name something comes here."""

ELSEWHERE: Final = frozenset(
    {"begin_identity", "cancel_gift", "pay_shop", "reserve_vouchers", "respond_to_challenge"}
)
"""The first asks the identity app, which is not there: tests/people/test_identity.py tries it. The
others are about money, and tried below; a gift in tests/api/test_resident_points.py, vouchers in
tests/api/test_resident_purchases.py.
"""

OWN_NAMES: Final = (r"req_[0-9a-f]{32}", r'"support_code":"[^"]*"')
"""What is different in every answer."""


def named_by(door: Door) -> set[str]:
    """Return the names of things that a request of the door may name."""
    asked = {one["name"] for one in door.operation.get("parameters", ()) if one["in"] == "query"}
    fields = (door.body or {}).get("properties", {}).keys()
    return {*door.parameters, *(asked | fields) & NOBODYS.keys()}


async def settled(app: App) -> tuple[Resident, SoftAuthenticator]:
    """Return somebody who enrolled yesterday and has just signed in, with their passkey."""
    old = await make_resident(app.engine, now_us=app.clock() - LONG_AGO_US)
    passkey = await app.with_passkey(old)
    again = await app.send(old.phone.soft, "POST", "/app/v1/sign-in", {})
    phone = signed_in_phone(again, old.phone.soft)
    return Resident(phone=phone, wallet_id=old.wallet_id, tier=old.tier), passkey


async def things_of(app: App, owner: Resident) -> dict[str, str]:
    """Return an id of everything that somebody has, by the name it is asked for by."""

    async def work(connection: AsyncConnection) -> tuple[bytes, str]:
        passkeys = await list_passkeys(connection, principal_id=owner.id)
        invited = await invite_helper(
            connection,
            owner_id=owner.id,
            wallet_id=owner.wallet_id,
            wanted=Wanted(kind="view"),
            pepper=PEPPER,
            now_us=app.clock(),
        )
        return passkeys[0].credential_id, public_id("hlp", invited.helper_id)

    credential_id, helper_id = await within(app.engine, work)
    challenge = await challenge_to(app.engine, owner.phone)
    card = await make_card(app.engine, owner.wallet_id)
    campaign_id, application_id = await plant_application(app.engine, owner)
    return {
        "application_id": public_id("app", application_id),
        "benefit_id": public_id("grt", await plant_offer(app.engine, person_id=owner.id)),
        "campaign_id": public_id("cmp", campaign_id),
        "card_id": public_id("crd", card.id),
        "challenge_id": public_id("chl", challenge.id),
        "device_id": public_id("dev", owner.phone.device_id),
        "helper_id": helper_id,
        "passkey_id": base64url(credential_id),
        "purchase_id": public_id("pur", await plant_purchase(app.engine, owner)),
        "wallet_id": public_id("wal", owner.wallet_id),
    }


async def asked_for(
    app: App, caller: Resident, passkey: SoftAuthenticator, door: Door, ids: Ids
) -> httpx.Response:
    """Ask for something, with a passkey when one is asked for."""
    path = door.at(ids)
    if door.method == "GET":
        token = caller.phone.tokens.access_token
        signed = caller.phone.soft.headers("GET", path, access_token=token, now_us=app.clock())
        asked = {name: ids[name] for name in named_by(door) - set(door.parameters)}
        return await app.client.get(path, headers=signed, params=asked)
    make = BODIES.get(door.operation["operationId"])
    body = None if make is None else make(ids)
    first = await app.call(caller.phone, door.method, path, body)
    if first.status_code != 401:
        return first
    return await app.confirmed(caller.phone, door.method, path, body, by=passkey)


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_what_somebody_else_has_is_not_there_at_any_door_of_the_app(app: App) -> None:
    owner, _ = await settled(app)
    caller, passkey = await settled(app)
    theirs = await things_of(app, owner)
    tried = set()
    for door in doors_of(app.application):
        names = named_by(door)
        if not names or door.operation["operationId"] in ELSEWHERE:
            continue
        answers = []
        for ids in (theirs, {name: make() for name, make in NOBODYS.items()}):
            answer = await asked_for(app, caller, passkey, door, ids)
            assert answer.status_code == 404, (str(door), answer.text)
            answers.append(without_names(answer, *ids.values()))
        assert answers[0] == answers[1], str(door)
        tried |= names
    assert tried == NOBODYS.keys() - {"challenge_id"}


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_nobody_pays_out_of_somebody_elses_wallet(
    app: App, module_database: Database
) -> None:
    owner, _ = await settled(app)
    caller, _ = await settled(app)
    theirs, told = await things_of(app, owner), set()
    async with make_city(module_database.application_url) as city:
        terminal_id = public_id("ter", city.merchant.terminal_id)
    for wallet_id in (theirs["wallet_id"], NOBODYS["wallet_id"]()):
        body = {
            "amount": {"amount": 100, "currency": "JPY"},
            "terminal_id": terminal_id,
            "wallet_id": wallet_id,
        }
        answer = await app.call(caller.phone, "POST", PAY_PATH, body, idempotency_key=uuid4().hex)
        assert answer.status_code == 404, answer.text
        told.add(without_names(answer, wallet_id))
    assert len(told) == 1


@pytest.mark.attack(20)
@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_nobody_answers_what_somebody_else_is_asked(app: App) -> None:
    owner, _ = await settled(app)
    caller, _ = await settled(app)
    challenge = await challenge_to(app.engine, owner.phone)
    theirs, nobodys = public_id("chl", challenge.id), NOBODYS["challenge_id"]()
    signature = base64url(caller.phone.soft.sign_challenge(challenge.challenge))
    for body in (
        {"type": "verified_key", "signature": signature},
        {"type": "pin", "pin": "274915"},
        {"type": "totp", "code": "123456"},
        {"type": "passed"},
    ):
        told = set()
        for challenge_id in (theirs, nobodys):
            path = f"/app/v1/challenges/{challenge_id}/respond"
            answer = await app.call(caller.phone, "POST", path, body)
            problem_of(answer, "step_up_unknown")
            told.add(without_names(answer, challenge_id))
        assert len(told) == 1, body


def without_names(answer: httpx.Response, *names: str) -> str:
    """Return an answer without what is different in every one, and without ids that were asked."""
    return re.sub("|".join([*map(re.escape, names), *OWN_NAMES]), "", answer.text)


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.3.1")
async def test_a_resident_opens_no_door_of_staff_and_staff_none_of_residents(
    app: App, counter: Counter
) -> None:
    resident, desk = await make_resident(app.engine), await counter.seat("counter_lead")
    for door in filter(is_closed, doors_of(counter.application)):
        path, token = door.at(_any_ids(door)), resident.phone.tokens.access_token
        signed = resident.phone.soft.headers(
            door.method, path, access_token=token, now_us=app.clock(), body=b"{}"
        )
        for headers in (signed, {"authorization": f"Bearer {token}"}):
            answer = await counter.client.request(door.method, path, headers=headers, content=b"{}")
            assert answer.status_code == 401, str(door)
    for door in filter(is_closed, doors_of(app.application)):
        path, token = door.at(_any_ids(door)), desk.tokens["access_token"]
        signed = resident.phone.soft.headers(
            door.method, path, access_token=token, now_us=app.clock(), body=b"{}"
        )
        for headers in (desk.headers, {**signed, **desk.headers}):
            answer = await app.client.request(door.method, path, headers=headers, content=b"{}")
            assert answer.status_code == 401, (str(door), answer.text)


def _any_ids(door: Door) -> dict[str, str]:
    return {name: public_id("per", uuid4()) for name in door.parameters}
