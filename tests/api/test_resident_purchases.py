"""Buying vouchers by phone: what is on sale, reserving, paying, giving up, and what it says."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2 as httpx
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.api.answers import problem_of
from tests.factories.approvals import later
from tests.factories.city import City
from tests.factories.moments import NOW, PEPPER
from tests.factories.pockets import V1, Pocket, open_pocket
from tests.factories.programmes import frame, make_programme, voucher_draft
from tests.factories.residents import Resident, make_resident
from tests.factories.sales import DAY_US, put_on_sale, stock_of
from tests.factories.vouchers import purses_of
from wallet.core.clock import TestClock
from wallet.core.database import write
from wallet.core.ids import parse_public_id, public_id
from wallet.demo.fake_payment_provider import FakePaymentProvider
from wallet.receipts.rules import Method
from wallet.vouchers.purchase import SLIPS_MAX
from wallet.vouchers.settle_purchases import run_due

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Buyer:
    """Somebody who buys by their phone."""

    def __init__(self, pocket: Pocket, resident: Resident) -> None:
        self.pocket = pocket
        self.resident = resident

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """Call a door."""
        return await self.pocket.app.call(
            self.resident.phone, method, f"{V1}{path}", body, **headers
        )

    async def reserve(
        self,
        programme: str = "voucher",
        *,
        units: int = 1,
        key: str | None = None,
        **more: Any,  # noqa: ANN401 - JSON
    ) -> httpx.Response:
        """Ask for units."""
        body = {"programme": programme, "units": units, **more}
        return await self.call("POST", "/purchases", body, idempotency_key=key or str(uuid4()))

    async def bought(self, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        """Reserve units, or fail the test."""
        answer = await self.reserve(**options)
        assert answer.status_code == 201, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def pay(self, purchase_id: str, method: str = "convenience") -> httpx.Response:
        """Choose how to pay."""
        return await self.call("POST", f"/purchases/{purchase_id}/payment", {"method": method})

    async def state(self, purchase_id: str) -> str:
        """Return a purchase's state."""
        return str((await self.call("GET", f"/purchases/{purchase_id}")).json()["state"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors in a city where vouchers are on sale."""
    async with open_pocket(city) as pocket:
        for code, sets in (("voucher", 100), ("few", 1), ("early", 9), ("late", 9), ("won", 9)):
            terms = frame(sets_total=sets, sets_per_person=min(sets, 3))
            await make_programme(city.teller, voucher_draft(code, frame_=terms))
        engine, now_us = city.engine, city.clock()
        await put_on_sale(engine)
        await put_on_sale(engine, "few", units_total=1)
        await put_on_sale(engine, "early", units_total=9, opens_us=now_us + DAY_US)
        await put_on_sale(engine, "late", units_total=9, closes_us=now_us)
        await put_on_sale(engine, "won", units_total=9, mode="offered")
        yield pocket


async def buyer_in(pocket: Pocket) -> Buyer:
    """Enrol somebody."""
    return Buyer(pocket, await make_resident(pocket.city.engine, now_us=pocket.city.clock()))


async def run(pocket: Pocket, statement: str, **values: object) -> None:
    """Change something that tests need otherwise."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text(statement), values)

    await write(pocket.city.engine, work)


async def test_what_is_on_sale_is_listed(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    told = (await buyer.call("GET", "/sales")).json()
    listed = {one["programme"]: one for one in told["sales"]}
    assert listed.keys() >= {"voucher", "few", "early", "won"}
    assert "late" not in listed
    one = listed["voucher"]
    assert (one["price_yen"], one["face_yen"], one["units_per_person"]) == (5_000, 6_250, 3)
    assert (one["mode"], one["name"]) == ("first_come", "商品券")
    assert told["offers"] == []


async def test_reserving_paying_and_receiving(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    told = await buyer.bought(units=2)
    assert (told["state"], told["price_yen"], told["slip"]) == ("reserved", 10_000, None)
    assert told["wallet_id"] == public_id("wal", buyer.resident.wallet_id)
    slip = (await buyer.pay(told["id"])).json()
    assert (slip["method"], slip["amount_yen"], slip["card_order"]) == ("convenience", 10_000, None)
    assert len(slip["reference"]) == 18
    assert (await buyer.pay(told["id"])).json() == slip

    async def send(path: str, body: bytes, headers: Any) -> int:  # noqa: ANN401 - a mapping
        answer = await pocket.app.client.post(path, content=body, headers=dict(headers))
        return answer.status_code

    store = FakePaymentProvider(
        provider=Method.CONVENIENCE, pepper=PEPPER, send=send, clock=pocket.app.clock
    )
    assert (await store.take(slip["reference"], amount_yen=10_000)).arrived
    assert await buyer.state(told["id"]) == "paid"
    problem_of(await buyer.call("DELETE", f"/purchases/{told['id']}"), "purchase_paid")
    clock = TestClock(pocket.city.clock())
    await run_due(pocket.city.engine, pocket.city.database_url, clock)
    assert await buyer.state(told["id"]) == "issued"
    listed = (await buyer.call("GET", "/purchases")).json()["data"]
    assert [one["id"] for one in listed] == [told["id"]]
    assert await purses_of(pocket.city.engine, buyer.resident.wallet_id) == {
        "voucher paid": 10_000,
        "voucher premium": 2_500,
    }


async def test_a_repeat_is_the_same_purchase_and_another_wish_is_a_conflict(
    pocket: Pocket,
) -> None:
    buyer, key = await buyer_in(pocket), str(uuid4())
    first = await buyer.bought(units=2, key=key)
    assert await buyer.bought(units=2, key=key) == first
    problem_of(await buyer.reserve(units=1, key=key), "idempotency_conflict")
    body = {"programme": "voucher", "units": 1}
    problem_of(await buyer.call("POST", "/purchases", body), "idempotency_key_missing")


async def test_a_card_has_an_order_for_its_page(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    told = await buyer.bought()
    slip = (await buyer.pay(told["id"], "card")).json()
    assert slip["card_order"].count(".") == 1
    assert slip["expires_at"] < told["deadline"]


async def test_giving_up_gives_the_units_back(pocket: Pocket) -> None:
    buyer, other = await buyer_in(pocket), await buyer_in(pocket)
    told = await buyer.bought(programme="few")
    problem_of(await other.reserve("few"), "sold_out")
    assert (await buyer.call("DELETE", f"/purchases/{told['id']}")).status_code == 204
    assert await buyer.state(told["id"]) == "cancelled"
    problem_of(await buyer.pay(told["id"]), "purchase_over")
    again = await other.bought(programme="few")
    assert (await other.call("DELETE", f"/purchases/{again['id']}")).status_code == 204


@pytest.mark.parametrize(
    ("programme", "units", "code"),
    [
        ("nothing", 1, "sale_unknown"),
        ("early", 1, "sale_not_open"),
        ("late", 1, "sale_over"),
        ("few", 2, "units_per_person_exceeded"),
        ("won", 1, "offer_unknown"),
    ],
)
async def test_what_cannot_be_bought_says_why(
    pocket: Pocket, programme: str, units: int, code: str
) -> None:
    buyer = await buyer_in(pocket)
    problem_of(await buyer.reserve(programme, units=units), code)


async def test_somebody_elses_purchase_and_none_are_unknown(pocket: Pocket) -> None:
    buyer, other = await buyer_in(pocket), await buyer_in(pocket)
    told = await buyer.bought()
    for purchase_id in (told["id"], "pur_" + "0" * 32, "a"):
        problem_of(await other.call("GET", f"/purchases/{purchase_id}"), "purchase_unknown")
        problem_of(await other.pay(purchase_id), "purchase_unknown")
        problem_of(await other.call("DELETE", f"/purchases/{purchase_id}"), "purchase_unknown")


async def test_somebody_elses_wallet_is_unknown(pocket: Pocket) -> None:
    buyer, other = await buyer_in(pocket), await buyer_in(pocket)
    wallet_id = public_id("wal", other.resident.wallet_id)
    problem_of(await buyer.reserve(wallet_id=wallet_id), "wallet_unknown")


async def test_a_sale_for_residents_asks_who_one_is(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    await run(
        pocket,
        "UPDATE stock SET residents_only = true WHERE programme_id ="
        " (SELECT id FROM programme WHERE code = 'few')",
    )
    problem_of(await buyer.reserve("few"), "residents_only")
    await run(
        pocket,
        "UPDATE stock SET residents_only = false, min_tier = 'T3' WHERE programme_id ="
        " (SELECT id FROM programme WHERE code = 'few')",
    )
    problem_of(await buyer.reserve("few"), "tier_too_low")
    await run(pocket, "UPDATE stock SET min_tier = 'T1' WHERE min_tier = 'T3'")


async def test_a_reservation_that_has_run_out_is_not_paid_for(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    told = await buyer.bought()
    await run(
        pocket,
        "UPDATE purchase SET state = 'lapsed', ended_at = created_at WHERE id = :id",
        id=parse_public_id("pur", told["id"]),
    )
    problem_of(await buyer.pay(told["id"]), "purchase_over")


HELPER = """
INSERT INTO helper (id, wallet_id, helper_id, kind, payment_limit_yen, daily_limit_yen, code_hash,
                    invited_at, expires_at, accepted_at, cooling_until)
VALUES (:id, :wallet, :helper, 'proxy', 1000, 1000, :hash, :now, :now, :now, :now)
"""
CAMPAIGN = """
INSERT INTO campaign (id, code, state, terms, revision, created_by, created_at)
VALUES (:campaign, :code, 'purchasing', '{}', 1, 'test', :now)
"""
APPLICATION = """
INSERT INTO application (id, campaign_id, frame, applicant_key, person_id, wallet_id, channel,
                         units_asked, state, made_by, created_at)
VALUES (:application, :campaign, 'won', :key, :person, :wallet, 'app', :units, 'won', 'test', :now)
"""
WIN = """
INSERT INTO win (application_id, round, campaign_id, frame, units, state, deadline, created_at)
VALUES (:application, 1, :campaign, 'won', :units, 'offered', :deadline, :now)
"""


async def win(
    pocket: Pocket, buyer: Buyer, *, units: int, lasts: timedelta = timedelta(days=3)
) -> UUID:
    """Have the buyer win units of ``won``, to be bought within some time."""
    campaign_id, application_id = uuid4(), uuid4()
    values = {
        "campaign": campaign_id,
        "application": application_id,
        "key": campaign_id.bytes * 2,
        "person": buyer.resident.id,
        "wallet": buyer.resident.wallet_id,
        "units": units,
        "now": NOW,
        "deadline": NOW + lasts,
        "code": f"c-{campaign_id.hex[:8]}",
    }
    for statement in (CAMPAIGN, APPLICATION, WIN):
        await run(pocket, statement, **values)
    return application_id


async def test_what_was_won_is_bought_and_no_more(pocket: Pocket) -> None:
    buyer, other = await buyer_in(pocket), await buyer_in(pocket)
    application_id = await win(pocket, buyer, units=2)
    named: dict[str, Any] = {"application_id": public_id("app", application_id)}
    (offer,) = (await buyer.call("GET", "/sales")).json()["offers"]
    assert (offer["application_id"], offer["units"]) == (named["application_id"], 2)
    problem_of(await other.reserve("won", **named), "offer_unknown")
    problem_of(await buyer.reserve("voucher", **named), "offer_unknown")
    problem_of(await buyer.reserve("won", units=3, **named), "offer_exceeded")
    told = await buyer.bought(programme="won", units=2, **named)
    assert told["deadline"] == "2026-11-28T03:00:00.000Z"
    assert (await buyer.call("GET", "/sales")).json()["offers"] == []
    problem_of(await buyer.reserve("won", **named), "offer_exceeded")
    assert (await buyer.call("DELETE", f"/purchases/{told['id']}")).status_code == 204
    (again,) = (await buyer.call("GET", "/sales")).json()["offers"]
    assert again["units"] == 2


async def test_an_offer_that_is_over_is_not_bought(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    application_id = await win(pocket, buyer, units=1, lasts=timedelta(0))
    answer = await buyer.reserve("won", application_id=public_id("app", application_id))
    problem_of(answer, "offer_over")


async def test_a_tiers_limit_says_what_is_left(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    await run(
        pocket,
        "UPDATE wallet SET tier = 'T0' WHERE id = :id",
        id=buyer.resident.wallet_id,
    )
    await run(
        pocket,
        "UPDATE stock SET min_tier = 'T0' WHERE programme_id ="
        " (SELECT id FROM programme WHERE code = 'voucher')",
    )
    told = problem_of(await buyer.reserve(units=2), "balance_limit")
    assert "10,000" in told["user_message"]["body"]


async def test_a_way_to_pay_that_is_none_is_refused(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    told = await buyer.bought()
    problem_of(await buyer.pay(told["id"], "cheque"), "request_invalid")


async def test_time_that_is_over_is_told_when_one_wants_to_pay(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    application_id = await win(pocket, buyer, units=1, lasts=timedelta(seconds=60))
    named: dict[str, Any] = {"application_id": public_id("app", application_id)}
    told = await buyer.bought(programme="won", **named)
    async with later(pocket.city, seconds=61):
        problem_of(await buyer.pay(told["id"]), "payment_too_late")


async def test_a_proof_that_was_used_reserves_nothing_more(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    body = json.dumps({"programme": "voucher", "units": 1}).encode()
    path = f"{V1}/purchases"
    token = buyer.resident.phone.tokens.access_token
    headers = {
        **buyer.resident.phone.soft.headers(
            "POST", path, access_token=token, now_us=pocket.app.clock(), body=body
        ),
        "content-type": "application/json",
    }
    answers = [
        await pocket.app.client.post(
            path, content=body, headers={**headers, "idempotency-key": str(uuid4())}
        )
        for _ in range(2)
    ]
    assert answers[0].status_code == 201, answers[0].text
    problem_of(answers[1], "proof_replayed")


async def test_who_is_frozen_reserves_nothing(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    assert (await buyer.call("POST", "/me/freeze")).status_code == 204
    problem_of(await buyer.reserve(), "account_frozen")


async def test_a_guardian_buys_for_a_ward_and_a_helper_does_not(pocket: Pocket) -> None:
    buyer, ward = await buyer_in(pocket), await buyer_in(pocket)
    wallet_id = public_id("wal", ward.resident.wallet_id)
    await run(
        pocket,
        HELPER,
        id=uuid4(),
        wallet=ward.resident.wallet_id,
        helper=buyer.resident.id,
        hash=uuid4().bytes * 2,
        now=NOW,
    )
    problem_of(await buyer.reserve(wallet_id=wallet_id), "wallet_unknown")
    await run(
        pocket,
        "INSERT INTO guardianship (wallet_id, guardian_id, since, kind)"
        " VALUES (:wallet, :guardian, :now, 'child')",
        wallet=ward.resident.wallet_id,
        guardian=buyer.resident.id,
        now=NOW,
    )
    told = await buyer.bought(wallet_id=wallet_id)
    assert told["wallet_id"] == wallet_id
    assert await ward.state(told["id"]) == "reserved"


async def test_many_phones_at_once_get_what_there_is_and_no_more(pocket: Pocket) -> None:
    terms = frame(sets_total=12, sets_per_person=1)
    await make_programme(pocket.city.teller, voucher_draft("rush", frame_=terms))
    await put_on_sale(pocket.city.engine, "rush", units_total=12)
    buyers = [await buyer_in(pocket) for _ in range(40)]
    answers = await asyncio.gather(*(buyer.reserve("rush") for buyer in buyers))
    assert Counter(answer.status_code for answer in answers) == {201: 12, 409: 28}
    assert await stock_of(pocket.city.engine, "rush") == (12, 12, 0)


async def test_a_purchase_has_no_more_than_ten_slips(pocket: Pocket) -> None:
    buyer = await buyer_in(pocket)
    told = await buyer.bought()
    for number in range(SLIPS_MAX):
        answer = await buyer.pay(told["id"], ("bank", "convenience")[number % 2])
        assert answer.status_code == 200, answer.text
    problem_of(await buyer.pay(told["id"], "bank"), "slips_too_many")


async def test_nobody_pays_by_card_just_after_a_change_of_how_they_sign_in(
    pocket: Pocket,
) -> None:
    buyer = await buyer_in(pocket)
    told = await buyer.bought()
    await run(
        pocket,
        "UPDATE person SET cooling_until = :until WHERE id = :id",
        id=buyer.resident.id,
        until=NOW + timedelta(hours=12),
    )
    problem_of(await buyer.pay(told["id"], "card"), "card_payment_cooling_off")
    assert (await buyer.pay(told["id"], "convenience")).status_code == 200
