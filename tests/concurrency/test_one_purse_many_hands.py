"""Many at once for the same money: never a yen more than there is, never a limit passed."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import httpx2 as httpx
import pytest
from sqlalchemy import text

from tests.api.answers import problem_of
from tests.concurrency.rush import Rush
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.payments import engage, make_payer, release
from tests.factories.people import make_card
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.tills import Till, open_till
from tests.factories.vouchers import give, purses_of
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.settings import Settings

PAYABLE = text("SELECT credits_posted::bigint FROM balance WHERE account_id = :shop_id")
SUCCEEDED = text("SELECT count(*) FROM payment WHERE state = 'succeeded'")


def outcomes(responses: Iterable[httpx.Response]) -> Counter[str]:
    """Return how often a payment succeeded, and how often each code was told."""
    return Counter(
        "paid" if one.status_code == 201 else problem_of(one)["code"] for one in responses
    )


def by_card(till: Till, qr_value: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the body of a request by card."""
    return till.body("", instrument={"type": "card", "value": qr_value}, **changes)


async def payable_of(rush: Rush, shop_id: UUID) -> int:
    """Return what a shop is owed in yen."""
    async with read(rush.city.engine) as connection:
        return int((await connection.execute(PAYABLE, {"shop_id": shop_id})).scalar_one())


@pytest.mark.attack(27)
@pytest.mark.asvs("v5.0.0-2.3.4")
@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_the_last_thousand_yen_are_spent_once(rush: Rush) -> None:
    wallet_id = await make_payer(rush.city, yen=1_000)
    codes = await rush.city.codes(200, wallet_id=wallet_id)
    responses = await rush.pay([rush.tills[0].body(code) for code in codes])
    assert outcomes(responses) == {"paid": 1, "balance_insufficient": 199}
    assert await purses_of(rush.city.engine, wallet_id) == {"coin free": 0}
    assert await payable_of(rush, rush.city.merchant.shop_id) == 1_000


@pytest.mark.attack(18)
@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_a_code_scanned_by_fifty_pays_one(rush: Rush) -> None:
    responses = await rush.pay([rush.tills[0].body(rush.city.code) for _ in range(50)])
    assert outcomes(responses) == {"paid": 1, "code_used": 49}
    assert await purses_of(rush.city.engine, rush.city.wallet_id) == {"coin free": 9_000}


@pytest.mark.asvs("v5.0.0-2.3.2")
async def test_the_limit_of_a_day_is_exact(rush: Rush) -> None:
    wallet_id = await make_payer(rush.city, yen=100_000, daily_limit_yen=10_500)
    codes = await rush.city.codes(60, wallet_id=wallet_id)
    responses = await rush.pay([rush.tills[0].body(code) for code in codes])
    assert outcomes(responses) == {"paid": 10, "limit_daily": 50}
    assert await purses_of(rush.city.engine, wallet_id) == {"coin free": 90_000}


async def test_the_limits_of_cards_are_exact_beside_the_wallets(rush: Rush) -> None:
    wallet_id = await make_payer(rush.city, yen=100_000, daily_limit_yen=15_000)
    cards = [await make_card(rush.city.engine, wallet_id, daily_limit_yen=4_000) for _ in range(2)]
    by_cards = [by_card(rush.tills[0], card.qr_value) for _ in range(10) for card in cards]
    assert outcomes(await rush.pay(sorted(by_cards, key=str))) == {"paid": 8, "limit_daily": 12}
    # What the cards may not take, codes may, up to the wallet's limit.
    codes = await rush.city.codes(20, wallet_id=wallet_id)
    by_codes = [rush.tills[0].body(code) for code in codes]
    assert outcomes(await rush.pay(by_codes)) == {"paid": 7, "limit_daily": 13}
    assert await purses_of(rush.city.engine, wallet_id) == {"coin free": 85_000}


async def test_a_wallet_used_by_card_and_by_code_at_once_is_one_wallet(rush: Rush) -> None:
    wallet_id = await make_payer(rush.city, yen=5_000)
    card = await make_card(rush.city.engine, wallet_id)
    codes = await rush.city.codes(20, wallet_id=wallet_id)
    mixed = []
    for code in codes:
        mixed += [rush.tills[0].body(code), by_card(rush.tills[0], card.qr_value)]
    # The two tills alternate, so each of them gets cards and codes.
    mixed[2::4], mixed[3::4] = mixed[3::4], mixed[2::4]
    responses = await rush.pay(mixed)
    assert outcomes(responses) == {"paid": 5, "balance_insufficient": 35}
    assert await purses_of(rush.city.engine, wallet_id) == {"coin free": 0}


@pytest.mark.asvs("v5.0.0-15.4.3")
async def test_payments_that_cross_neither_wait_for_ever_nor_get_lost(rush: Rush) -> None:
    shops = [await make_merchant(rush.city.engine, rush.city.teller) for _ in range(2)]
    wallets = [await make_payer(rush.city) for _ in range(4)]
    cards = [await make_card(rush.city.engine, wallet_id) for wallet_id in wallets]
    pairs = [(card.qr_value, shop) for card in cards for shop in shops] * 4
    calls = []
    for number, (there, back) in enumerate(zip(pairs, reversed(pairs), strict=True)):
        for till, (qr_value, shop) in ((rush.tills[0], there), (rush.tills[1], back)):
            amount = {"amount": number + 1, "currency": "JPY"}
            calls.append(pay_at(till, shop, by_card(till, qr_value, amount=amount)))
    assert outcomes(await asyncio.gather(*calls)) == {"paid": 2 * len(pairs)}
    paid_yen = 2 * sum(range(1, len(pairs) + 1))
    owed = [await payable_of(rush, shop.shop_id) for shop in shops]
    left = [(await purses_of(rush.city.engine, one))["coin free"] for one in wallets]
    assert sum(owed) == 4 * 10_000 - sum(left) == paid_yen


async def pay_at(till: Till, shop: Merchant, body: dict[str, Any]) -> httpx.Response:
    """Ask for a payment as a merchant."""
    terminal = {"terminal_id": public_id("ter", shop.terminal_id)}
    return await till.pay({**body, **terminal}, Authorization=f"Bearer {shop.api_key}")


async def test_a_busy_shop_is_owed_what_both_tills_took(rush: Rush) -> None:
    wallets = [await make_payer(rush.city) for _ in range(20)]
    cards = [await make_card(rush.city.engine, wallet_id) for wallet_id in wallets]
    bodies = [
        by_card(rush.tills[0], card.qr_value, amount={"amount": yen, "currency": "JPY"})
        for card in cards
        for yen in range(1, 11)
    ]
    assert outcomes(await rush.pay(bodies)) == {"paid": 200}
    assert await payable_of(rush, rush.city.merchant.shop_id) == 20 * 55
    assert await purses_of(rush.city.engine, wallets[7]) == {"coin free": 9_945}


@pytest.mark.attack(27)
@pytest.mark.asvs("v5.0.0-2.3.3")
async def test_several_purses_are_emptied_together_or_not_at_all(rush: Rush) -> None:
    programme = f"voucher-{uuid4()}"
    await make_programme(rush.city.teller, voucher_draft(programme))
    wallet_id = await make_payer(rush.city, yen=1_000)
    await give(rush.city.teller, wallet_id, programme, sets=1)
    codes = await rush.city.codes(40, wallet_id=wallet_id)
    amount = {"amount": 2_400, "currency": "JPY"}
    responses = await rush.pay([rush.tills[0].body(code, amount=amount) for code in codes])
    assert outcomes(responses) == {"paid": 3, "balance_insufficient": 37}
    assert sum((await purses_of(rush.city.engine, wallet_id)).values()) == 50


async def test_after_a_stop_has_returned_no_payment_commits(rush: Rush) -> None:
    codes = await rush.city.codes(200)
    bodies = [rush.tills[0].body(code, amount={"amount": 1, "currency": "JPY"}) for code in codes]
    small_batches = Settings(teller_batch_max=4)
    async with open_till(rush.city, settings=small_batches) as till:
        calls = [asyncio.create_task(till.pay(body)) for body in bodies]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await engage(rush.city, "pay")
        try:
            at_the_stop = await count_paid(rush)
            told = outcomes(await asyncio.gather(*calls))
            assert await count_paid(rush) == at_the_stop
        finally:
            await release(rush.city, "pay")
    assert told.keys() == {"paid", "service_stopped"}
    left = await purses_of(rush.city.engine, rush.city.wallet_id)
    assert left == {"coin free": 10_000 - told["paid"]}


async def count_paid(rush: Rush) -> int:
    """Return how many payments have succeeded in the city."""
    async with read(rush.city.engine) as connection:
        return int((await connection.execute(SUCCEEDED)).scalar_one())
