"""Reading payments: one's own, page by page, and nobody else's."""

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.answers import payment_of, problem_of
from tests.api.ways import body_of, pay_at
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.payments import make_payer
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.tills import PAYMENTS, Till
from tests.factories.vouchers import give
from wallet.core.ids import public_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def merchant_with(till: Till, count: int) -> tuple[Merchant, list[str]]:
    """Return a merchant and the ids of as many payments it has taken, newest first."""
    merchant = await make_merchant(till.city.engine, till.city.teller)
    responses = await asyncio.gather(*[pay_at(till, merchant) for _ in range(count)])
    return merchant, sorted((payment_of(one)["id"] for one in responses), reverse=True)


async def page_of(till: Till, merchant: Merchant, query: str) -> dict[str, Any]:
    """Return a page of a merchant's list."""
    response = await till.get(f"{PAYMENTS}{query}", Authorization=f"Bearer {merchant.api_key}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    assert body.keys() == {"data", "has_more", "next_cursor"}
    assert body["has_more"] is (body["next_cursor"] is not None) is ("link" in response.headers)
    if body["has_more"]:
        assert re.fullmatch(
            rf"<{PAYMENTS}\?limit=\d+&cursor={body['next_cursor']}>; rel=\"next\"",
            response.headers["link"],
        )
    return body


async def test_a_payment_reads_as_it_was_answered(till: Till) -> None:
    body = await body_of(till)
    payment = payment_of(await till.pay(body))
    by_id = await till.get(f"{PAYMENTS}/{payment['id']}")
    by_own_id = await till.get(f"{PAYMENTS}/by-merchant-id/{body['merchant_payment_id']}")
    assert (by_id.status_code, by_own_id.status_code) == (200, 200)
    assert by_id.json() == by_own_id.json() == payment


@pytest.mark.asvs("v5.0.0-15.3.1")
async def test_a_payment_has_all_that_a_merchant_needs(till: Till) -> None:
    await make_programme(till.city.teller, voucher_draft())
    wallet_id = await make_payer(till.city, yen=500)
    await give(till.city.teller, wallet_id, "voucher", sets=1)
    (code,) = await till.city.codes(wallet_id=wallet_id)
    money = {"amount": 6_700, "currency": "JPY"}
    body = till.body(code, amount=money, order_description="野菜")
    payment = payment_of(await till.pay(body))
    assert UUID(payment.pop("id").removeprefix("pay_")).version == 7
    assert payment == {
        "object": "payment",
        "livemode": False,
        "status": "succeeded",
        "paid": True,
        "final": True,
        "merchant_payment_id": body["merchant_payment_id"],
        "amount": money,
        "funding": [
            {"programme": "coin", "class": "free", "amount": {"amount": 500, "currency": "JPY"}},
            {"programme": "voucher", "class": "paid",
             "amount": {"amount": 5_000, "currency": "JPY"}},
            {"programme": "voucher", "class": "premium",
             "amount": {"amount": 1_200, "currency": "JPY"}},
        ],
        "instrument": {"type": "cpm_code"},
        "shop_id": public_id("shp", till.city.merchant.shop_id),
        "terminal_id": body["terminal_id"],
        "order_description": "野菜",
        "declined_because": None,
        "step_up": None,
        "created_at": "2026-11-25T03:00:00.000Z",
        "bonus": [],
        "coupon": None,
    }  # fmt: skip


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_somebody_elses_payment_is_as_unknown_as_none(till: Till) -> None:
    other = await make_merchant(till.city.engine, till.city.teller)
    theirs = payment_of(await pay_at(till, other))
    for foreign, absent in (
        (f"/{theirs['id']}", f"/{public_id('pay', uuid4())}"),
        (f"/by-merchant-id/{theirs['merchant_payment_id']}", f"/by-merchant-id/{uuid4()}"),
    ):
        told = []
        for path in (foreign, absent):
            body = problem_of(await till.get(f"{PAYMENTS}{path}"), "payment_unknown")
            told.append({k: v for k, v in body.items() if k not in {"instance", "support_code"}})
        assert told[0] == told[1]


@pytest.mark.parametrize(
    "identifier",
    ["zzz", "pay_", f"pay_{'0' * 31}", f"pay_{'0' * 33}", f"PAY_{'0' * 32}", f"pay_{'g' * 32}",
     f"pay_{'A' * 32}", f"ter_{'0' * 32}", "0" * 32, "pay_%00", "%F0%9F%A5%95", "by-merchant-id"],
)  # fmt: skip
async def test_what_is_no_payments_id_leads_to_none(till: Till, identifier: str) -> None:
    problem_of(await till.get(f"{PAYMENTS}/{identifier}"), "payment_unknown")


@pytest.mark.parametrize("identifier", ["a%00b", "%FF", "a" * 5_000, "%27%20OR%201=1", "あ"])
async def test_what_is_no_merchants_id_leads_to_none(till: Till, identifier: str) -> None:
    problem_of(await till.get(f"{PAYMENTS}/by-merchant-id/{identifier}"), "payment_unknown")


async def test_a_merchant_without_payments_has_an_empty_page(till: Till) -> None:
    merchant = await make_merchant(till.city.engine, till.city.teller)
    page = await page_of(till, merchant, "")
    assert page == {"data": [], "has_more": False, "next_cursor": None}


async def test_pages_follow_each_other_without_gap_or_repeat(till: Till) -> None:
    merchant, ids = await merchant_with(till, 7)
    seen: list[str] = []
    query = "?limit=3"
    for expected in (3, 3, 1):
        page = await page_of(till, merchant, query)
        assert len(page["data"]) == expected
        assert page["has_more"] is (expected == 3)
        seen += [payment["id"] for payment in page["data"]]
        query = f"?limit=3&cursor={page['next_cursor']}"
    assert seen == ids


async def test_a_page_that_ends_with_the_list_has_no_next(till: Till) -> None:
    merchant, ids = await merchant_with(till, 3)
    page = await page_of(till, merchant, "?limit=3")
    assert [payment["id"] for payment in page["data"]] == ids
    assert page["next_cursor"] is None


async def test_a_list_being_read_is_not_disturbed_by_new_payments(till: Till) -> None:
    merchant, ids = await merchant_with(till, 5)
    first = await page_of(till, merchant, "?limit=2")
    newer = [payment_of(await pay_at(till, merchant))["id"] for _ in range(3)]
    seen = [payment["id"] for payment in first["data"]]
    cursor = first["next_cursor"]
    while cursor:
        page = await page_of(till, merchant, f"?limit=2&cursor={cursor}")
        seen += [payment["id"] for payment in page["data"] if payment["id"] not in newer]
        cursor = page["next_cursor"]
    assert seen == ids
    again = await page_of(till, merchant, "?limit=100")
    assert {payment["id"] for payment in again["data"]} == {*ids, *newer}


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_a_list_has_the_merchants_own_payments_only(till: Till) -> None:
    mine, my_ids = await merchant_with(till, 2)
    theirs, their_ids = await merchant_with(till, 2)
    for merchant, ids in ((mine, my_ids), (theirs, their_ids)):
        page = await page_of(till, merchant, "")
        assert [payment["id"] for payment in page["data"]] == ids
    # A cursor of somebody else's list is a place in one's own, and no key to theirs.
    page = await page_of(till, theirs, "?limit=1")
    mixed = await page_of(till, mine, f"?limit=100&cursor={page['next_cursor']}")
    assert {payment["id"] for payment in mixed["data"]} <= set(my_ids)


@pytest.mark.asvs("v5.0.0-1.2.2")
async def test_the_next_page_can_be_followed_by_its_link(till: Till) -> None:
    merchant, ids = await merchant_with(till, 3)
    header = f"Bearer {merchant.api_key}"
    response = await till.get(f"{PAYMENTS}?limit=2", Authorization=header)
    path = response.links["next"]["url"]
    page = (await till.get(path, Authorization=header)).json()
    assert [payment["id"] for payment in page["data"]] == ids[2:]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=-1", "/query/limit"),
        ("limit=101", "/query/limit"),
        (f"limit={10**30}", "/query/limit"),
        ("limit=ten", "/query/limit"),
        ("limit=", "/query/limit"),
        ("limit=1.5", "/query/limit"),
        ("cursor=", "/query/cursor"),
        ("cursor=abc", "/query/cursor"),
        (f"cursor={'A' * 21}", "/query/cursor"),
        (f"cursor={'A' * 23}", "/query/cursor"),
        (f"cursor={'A' * 21}%3D", "/query/cursor"),
        (f"cursor={'A' * 21}%0A", "/query/cursor"),
        (f"cursor={'あ' * 22}", "/query/cursor"),
        ("page=2", "/query/page"),
        ("merchant_id=1", "/query/merchant_id"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(till: Till, query: str, pointer: str) -> None:
    body = problem_of(await till.get(f"{PAYMENTS}?{query}"), "parameter_invalid")
    assert [one["pointer"] for one in body["errors"]] == [pointer]


@pytest.mark.attack(25)
@pytest.mark.parametrize("cursor", ["A" * 22, "_" * 22, "-" * 22, "zzzzzzzzzzzzzzzzzzzzzz"])
async def test_a_forged_cursor_is_a_place_in_ones_own_list(till: Till, cursor: str) -> None:
    merchant, ids = await merchant_with(till, 1)
    page = await page_of(till, merchant, f"?cursor={cursor}")
    assert [payment["id"] for payment in page["data"]] in ([], ids)
