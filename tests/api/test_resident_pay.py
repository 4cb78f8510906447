"""The resident's till: a shop asks, a phone approves; a phone pays; a phone gets codes to show."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pyotp
import pytest
import pytest_asyncio

from tests.api.answers import is_replay, problem_of
from tests.factories.approvals import ABOVE, code_of, later, left_of, make_rich
from tests.factories.challenges import give_totp
from tests.factories.city import City
from tests.factories.moments import NOW_US
from tests.factories.phones import Phone, make_phone, sign_in
from tests.factories.planting import failed
from tests.factories.pockets import V1, Pocket, open_pocket
from tests.factories.residents import PIN, Resident, make_resident
from tests.factories.tills import PAYMENTS
from wallet.auth.proofs import base64url, decode_base64url
from wallet.core.clock import MICROSECONDS
from wallet.core.ids import public_id
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

AMOUNT = {"amount": ABOVE, "currency": "JPY"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors in the module's city."""
    async with open_pocket(city) as pocket:
        yield pocket


async def scanned(pocket: Pocket, payer: Resident) -> tuple[dict[str, Any], dict[str, Any]]:
    """Have a code scanned for more than it pays by itself; return what was sent and answered."""
    body = pocket.till.body(await code_of(pocket.city, payer), amount=AMOUNT)
    response = await pocket.till.pay(body, Idempotency_Key=body["merchant_payment_id"])
    assert response.status_code == 202, response.text
    return body, response.json()


async def test_the_shop_is_told_that_the_payment_waits(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    body, told = await scanned(pocket, payer)
    assert (told["status"], told["paid"], told["final"]) == ("requires_step_up", False, False)
    assert told["step_up"]["expires_at"] == "2026-11-25T03:03:00.000Z"
    assert len(told["step_up"]["number"]) == 2
    assert (told["funding"], told["declined_because"]) == ([], None)
    again = await pocket.till.pay(body, Idempotency_Key=body["merchant_payment_id"])
    assert (again.status_code, again.json(), is_replay(again)) == (202, told, True)
    for path in (f"/{told['id']}", f"/by-merchant-id/{body['merchant_payment_id']}"):
        assert (await pocket.till.get(f"{PAYMENTS}{path}")).json() == told
    listed = (await pocket.till.get(f"{PAYMENTS}?limit=100")).json()["data"]
    assert [one for one in listed if one["id"] == told["id"]] == [told]


async def test_the_phone_approves_and_the_shop_hears_of_it(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    body, told = await scanned(pocket, payer)
    challenge = await pocket.challenge(payer.phone)
    assert challenge["id"] == told["id"].replace("pay_", "chl_")
    assert challenge["summary"]["amount_yen"] == ABOVE
    assert challenge["summary"]["shop"] == "白鷺青果 本町店"
    assert (challenge["acr_values"], challenge["asks_number"]) == (["pin"], True)
    answer = await pocket.sign(payer.phone, challenge, number=told["step_up"]["number"])
    assert answer.status_code == 200, answer.text
    receipt = answer.json()["payment"]
    assert (answer.json()["status"], receipt["paid"], receipt["final"]) == ("passed", True, True)
    assert receipt["wallet_id"] == public_id("wal", payer.wallet_id)
    replay = await pocket.till.pay(body, Idempotency_Key=body["merchant_payment_id"])
    assert (replay.status_code, replay.json()["status"]) == (201, "succeeded")
    assert replay.json()["created_at"] == told["created_at"]
    assert await left_of(pocket.city, payer) == 30_000 - ABOVE


async def evidence_of(pocket: Pocket, payer: Resident, kind: str) -> dict[str, Any]:
    """Return what a phone's owner shows for its newest challenge."""
    challenge = await pocket.challenge(payer.phone)
    if kind == "pin":
        return {"pin": PIN}
    if kind == "passkey":
        authenticator = await pocket.app.with_passkey(payer)
        challenge = await pocket.challenge(payer.phone)
        return {"credential": json.loads(authenticator.get(challenge["passkey"]))}
    signature = payer.phone.soft.sign_challenge(decode_base64url(challenge["challenge"]))
    return {"signature": base64url(signature)}


@pytest.mark.parametrize("kind", ["verified_key", "pin", "passkey"])
async def test_each_way_to_approve_moves_the_money_once(pocket: Pocket, kind: str) -> None:
    payer = await make_rich(pocket.city)
    _, told = await scanned(pocket, payer)
    evidence = await evidence_of(pocket, payer, kind)
    number, challenge_id = told["step_up"]["number"], told["id"].replace("pay_", "chl_")
    first = await pocket.respond(payer.phone, challenge_id, type=kind, number=number, **evidence)
    assert first.status_code == 200, first.text
    second = await pocket.respond(payer.phone, challenge_id, type=kind, number=number, **evidence)
    assert second.json()["payment"] == first.json()["payment"]
    assert await left_of(pocket.city, payer) == 30_000 - ABOVE


async def test_a_code_of_an_authenticator_app_beside_a_pin_approves(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    app: pyotp.TOTP = await give_totp(pocket.city.engine, payer.phone)
    tokens = await sign_in(pocket.city.engine, payer.id, payer.phone.device_id)
    phone = Phone(principal_id=payer.id, device_id=payer.phone.device_id, tokens=tokens,
                  soft=payer.phone.soft)  # fmt: skip
    _, told = await scanned(pocket, payer)
    code = app.at(NOW_US // MICROSECONDS + 30)
    answer = await pocket.respond(
        phone,
        told["id"].replace("pay_", "chl_"),
        type="totp",
        code=code,
        number=told["step_up"]["number"],
    )
    assert answer.status_code == 200, answer.text
    assert await left_of(pocket.city, payer) == 30_000 - ABOVE


@pytest.mark.attack(19)
async def test_fifty_answers_at_once_move_the_money_once(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    _, told = await scanned(pocket, payer)
    challenge = await pocket.challenge(payer.phone)
    number = told["step_up"]["number"]
    calls = [pocket.sign(payer.phone, challenge, number=number) for _ in range(40)]
    calls += [
        pocket.respond(payer.phone, challenge["id"], type="pin", pin=PIN, number=number)
        for _ in range(10)
    ]
    answers = await asyncio.gather(*calls)
    assert {one.status_code for one in answers} == {200}
    assert {one.json()["payment"]["id"] for one in answers} == {told["id"]}
    assert await left_of(pocket.city, payer) == 30_000 - ABOVE


@pytest.mark.attack(8)
async def test_five_wrong_pins_end_the_payment(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    body, told = await scanned(pocket, payer)
    challenge_id = told["id"].replace("pay_", "chl_")
    codes = []
    for _ in range(5):
        answer = await pocket.respond(
            payer.phone, challenge_id, type="pin", pin="000000", number=told["step_up"]["number"]
        )
        codes.append(problem_of(answer)["code"])
    assert set(codes) <= {"step_up_failed", "too_many_tries"}
    final = await pocket.respond(payer.phone, challenge_id, type="pin", pin=PIN)
    assert problem_of(final)["code"] in {"step_up_dead", "too_many_tries", "confirmation_failed"}
    replay = await pocket.till.pay(body, Idempotency_Key=body["merchant_payment_id"])
    problem_of(replay, "confirmation_failed")
    assert is_replay(replay)


async def test_a_challenge_of_somebody_else_is_as_unknown_as_none(pocket: Pocket) -> None:
    payer, other = await make_rich(pocket.city), await make_rich(pocket.city)
    _, told = await scanned(pocket, payer)
    challenge = await pocket.challenge(payer.phone)
    foreign = await pocket.sign(other.phone, challenge, number=told["step_up"]["number"])
    nobodys = await pocket.respond(other.phone, public_id("chl", uuid4()), type="pin", pin=PIN)
    malformed = await pocket.respond(other.phone, "chl_1", type="pin", pin=PIN)
    for answer in (foreign, nobodys, malformed):
        problem_of(answer, "step_up_unknown")


async def test_the_payer_hears_why_an_approved_payment_was_declined(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city, yen=ABOVE)
    _, told = await scanned(pocket, payer)
    challenge = await pocket.challenge(payer.phone)
    assert (await pocket.pay(payer.phone)).status_code == 201
    answer = await pocket.sign(payer.phone, challenge, number=told["step_up"]["number"])
    problem = problem_of(answer, "balance_insufficient")
    assert problem["payment_id"] == told["id"]


async def test_a_phone_pays_a_shop_and_asks_again_without_paying_twice(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    first = await pocket.pay(payer.phone, key="once")
    again = await pocket.pay(payer.phone, key="once")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert first.json()["instrument"] == {"type": "app"}
    problem_of(await pocket.pay(payer.phone, key="once", amount_yen=999), "idempotency_conflict")
    by_shop = await pocket.pay(
        payer.phone, terminal_id=None, shop_id=public_id("shp", pocket.city.merchant.shop_id)
    )
    assert by_shop.status_code == 201, by_shop.text
    assert await left_of(pocket.city, payer) == 28_000


@pytest.mark.asvs("v5.0.0-2.3.1")
async def test_a_phone_is_told_what_would_do_and_pays_with_it(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    first = await pocket.pay(payer.phone, amount_yen=ABOVE, key="large")
    told = problem_of(first, "step_up_required")
    assert first.headers["www-authenticate"] == (
        'DPoP algs="ES256", error="insufficient_user_authentication",'
        ' error_description="This needs a stronger confirmation (RFC 9470); the challenge is in'
        ' this answer", acr_values="pin", max_age="300"'
    )
    assert told["expires_in_s"] == 120
    assert told["summary"]["amount_yen"] == ABOVE
    assert (await pocket.challenge(payer.phone))["id"] == told["challenge_id"]
    named = {"step_up": told["challenge_id"]}
    early = await pocket.pay(payer.phone, amount_yen=ABOVE, key="large", headers=named)
    problem_of(early, "step_up_not_passed")
    passed = await pocket.sign(payer.phone, told)
    assert (passed.status_code, passed.json()["payment"]) == (200, None)
    other = await pocket.pay(payer.phone, amount_yen=ABOVE + 1, key="large", headers=named)
    refused = problem_of(other, "step_up_mismatch")
    assert refused["acr_values"] == ["pin"]
    assert 'error="insufficient_user_authentication"' in other.headers["www-authenticate"]
    paid = await pocket.pay(payer.phone, amount_yen=ABOVE, key="large", headers=named)
    assert paid.status_code == 201, paid.text
    used = await pocket.pay(payer.phone, amount_yen=ABOVE, key="other", headers=named)
    problem_of(used, "step_up_used")
    assert await left_of(pocket.city, payer) == 30_000 - ABOVE


async def test_strangers_get_nowhere(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    for path in (f"{V1}/payments", f"{V1}/challenges/{public_id('chl', uuid4())}/respond"):
        problem_of(await pocket.app.client.post(path, json={}), "signed_out")
        problem_of(await pocket.app.send(payer.phone.soft, "POST", path, {}), "signed_out")
        token = payer.phone.tokens.access_token[:-1] + "_"
        forged = await pocket.app.send(payer.phone.soft, "POST", path, {}, access_token=token)
        assert problem_of(forged)["code"] in {
            "signed_out", "request_invalid", "idempotency_key_missing"
        }  # fmt: skip
    for path in ("home", "transactions", "movements", "challenges"):
        problem_of(await pocket.app.client.get(f"{V1}/{path}"), "signed_out")
    problem_of(await pocket.app.client.post(f"{V1}/codes/cpm", json={}), "signed_out")


async def test_a_request_changed_on_its_way_is_nobodys(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    token = payer.phone.tokens.access_token
    headers = payer.phone.soft.headers(
        "POST", f"{V1}/payments", access_token=token, now_us=NOW_US, body=b'{"amount":1}'
    )
    response = await pocket.app.client.post(
        f"{V1}/payments",
        content=b'{"amount":9}',
        headers={**headers, "content-type": "application/json", "idempotency-key": "k"},
    )
    problem_of(response, "signed_out")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"terminal_id": None}, "request_invalid"),
        ({"shop_id": "shp_" + "0" * 32}, "request_invalid"),
        ({"terminal_id": None, "shop_id": "shp_" + "0" * 32}, "terminal_unknown"),
        ({"terminal_id": "ter_" + "0" * 32}, "terminal_unknown"),
        ({"terminal_id": "ter_1"}, "request_invalid"),
        ({"amount": {"amount": 0, "currency": "JPY"}}, "request_invalid"),
        ({"wallet_id": "wal_" + "0" * 32}, "wallet_unknown"),
        ({"acr": "jpki"}, "request_invalid"),
    ],
)
@pytest.mark.attack(26)
async def test_a_request_that_says_nothing_sensible_is_refused(
    pocket: Pocket, changes: dict[str, Any], code: str
) -> None:
    payer = await make_rich(pocket.city)
    problem_of(await pocket.pay(payer.phone, **changes), code)
    assert await left_of(pocket.city, payer) == 30_000


async def test_what_is_no_answer_is_refused(pocket: Pocket) -> None:
    phone = (await make_resident(pocket.city.engine)).phone
    chl = public_id("chl", uuid4())
    senseless: list[dict[str, Any]] = [
        {},
        {"type": "word"},
        {"type": "pin"},
        {"type": "verified_key", "signature": "short"},
        {"type": "pin", "pin": "1", "number": "1"},
    ]
    for evidence in senseless:
        problem_of(await pocket.respond(phone, chl, **evidence), "request_invalid")
    bad = await pocket.pay(phone, headers={"step_up": "chl_1"})
    problem_of(bad, "step_up_unknown")
    no_key = await pocket.app.call(phone, "POST", f"{V1}/payments", {})
    problem_of(no_key, "idempotency_key_missing")


async def codes(pocket: Pocket, phone: Phone, **body: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    """Ask for codes to show."""
    return await pocket.app.call(phone, "POST", f"{V1}/codes/cpm", body)


async def test_codes_carry_what_their_phone_has_shown(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    plain = await codes(pocket, payer.phone)
    assert plain.status_code == 201, plain.text
    assert (len(set(plain.json()["codes"])), plain.json()["acr"]) == (10, "dev")
    with_pin = await codes(pocket, payer.phone, count=1, pin=PIN)
    assert with_pin.json()["acr"] == "pin"
    (weak, *_), (strong,) = plain.json()["codes"], with_pin.json()["codes"]
    waits = await pocket.till.pay(pocket.till.body(weak, amount=AMOUNT))
    pays = await pocket.till.pay(pocket.till.body(strong, amount=AMOUNT))
    assert (waits.status_code, pays.status_code) == (202, 201)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"pin": "000000"}, "pin_wrong"),
        ({"wallet_id": "wal_" + "0" * 32}, "wallet_unknown"),
        ({"count": 0}, "request_invalid"),
        ({"count": 11}, "request_invalid"),
        ({"acr": "jpki"}, "request_invalid"),
    ],
)
async def test_codes_are_not_for_the_asking(
    pocket: Pocket, body: dict[str, Any], code: str
) -> None:
    payer = await make_resident(pocket.city.engine)
    problem_of(await codes(pocket, payer.phone, **body), code)


async def test_home_is_one_answer_that_need_not_be_sent_twice(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    home = await pocket.app.call(payer.phone, "GET", f"{V1}/home")
    told = home.json()
    assert told["challenges"] == 0
    assert told["cooling_until"] is None
    (wallet,) = told["wallets"]
    assert (wallet["role"], wallet["available"]) == ("own", 30_000)
    assert [(one["programme"], one["funding"], one["amount"]) for one in wallet["purses"]] == [
        ("coin", "free", 30_000)
    ]
    etag = home.headers["etag"]
    same = await pocket.app.call(payer.phone, "GET", f"{V1}/home", if_none_match=etag)
    assert (same.status_code, same.content) == (304, b"")
    await scanned(pocket, payer)
    other = await pocket.app.call(payer.phone, "GET", f"{V1}/home", if_none_match=etag)
    assert (other.status_code, other.json()["challenges"]) == (200, 1)


async def test_what_was_paid_is_listed_by_pages(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    paid = []
    for number in range(5):
        async with later(pocket.city, seconds=number / 10):
            answer = await pocket.pay(payer.phone, amount_yen=number + 1)
            paid.append(answer.json()["id"])
    seen: list[str] = []
    query = "limit=2"
    while query:
        page = await get_with_query(pocket, payer.phone, f"{V1}/transactions", query)
        told = page.json()
        assert all(one["shop"] == "白鷺青果 本町店" for one in told["data"])
        seen += [one["id"] for one in told["data"]]
        query = f"limit=2&cursor={told['next_cursor']}" if told["has_more"] else ""
    assert seen == paid[::-1]
    other = await make_phone(pocket.city.engine)
    problem_of(await pocket.app.call(other, "GET", f"{V1}/transactions"), "signed_out")
    stranger = await make_resident(pocket.city.engine)
    foreign = await get_with_query(
        pocket, stranger.phone, f"{V1}/transactions",
        f"wallet_id={public_id('wal', payer.wallet_id)}",
    )  # fmt: skip
    problem_of(foreign, "wallet_unknown")


async def test_what_came_in_and_went_out_is_told_from_the_ledger(pocket: Pocket) -> None:
    payer = await make_rich(pocket.city)
    for number in range(3):
        async with later(pocket.city, seconds=number / 10):
            await pocket.pay(payer.phone, amount_yen=number + 1)
    seen: list[tuple[str, int]] = []
    query = "limit=2"
    while query:
        page = (await get_with_query(pocket, payer.phone, f"{V1}/movements", query)).json()
        assert all(one["programme"] == "coin" for one in page["data"])
        seen += [(one["kind"], one["amount"]) for one in page["data"]]
        query = f"limit=2&cursor={page['next_cursor']}" if page["has_more"] else ""
    assert seen == [("paid", -3), ("paid", -2), ("paid", -1), ("issued", 30_000)]
    stranger = await make_resident(pocket.city.engine)
    foreign = await get_with_query(
        pocket, stranger.phone, f"{V1}/movements",
        f"wallet_id={public_id('wal', payer.wallet_id)}",
    )  # fmt: skip
    problem_of(foreign, "wallet_unknown")
    nowhere = await get_with_query(pocket, payer.phone, f"{V1}/movements", "cursor=" + "A" * 32)
    assert nowhere.json()["data"] == []


async def get_with_query(pocket: Pocket, phone: Phone, path: str, query: str) -> httpx.Response:
    """Read with a query, of which a proof says nothing (RFC 9449)."""
    token = phone.tokens.access_token
    headers = phone.soft.headers("GET", path, access_token=token, now_us=pocket.city.clock())
    return await pocket.app.client.get(f"{path}?{query}", headers=headers)


async def test_whatever_was_approved_and_paid_here_can_be_proved(pocket: Pocket) -> None:
    proof = await prove(pocket.city.engine, now_us=pocket.city.clock())
    assert proof.ok, failed(proof.checks)
