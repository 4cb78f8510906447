"""A city in which people have paid, for proofs to look at."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest_asyncio

from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US
from tests.factories.payments import again, ask_to_pay, by_card, by_code, declined, pay
from tests.factories.people import make_wallet
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.vouchers import give
from tests.servers import Database

LATER_US = NOW_US + 3_600_000_000


@dataclass(frozen=True)
class Trade:
    """What was paid: 1,000 yen by code, 2,000 by card, 12,000 out of two purses; one declined."""

    wallet_id: UUID
    holder_id: UUID
    card_id: UUID
    shop_id: UUID
    by_code: UUID
    by_card: UUID
    by_two_purses: UUID
    declined: UUID

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name, as parameters of SQL."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trade(module_database: Database) -> Trade:
    """Let people pay, and return the ids of what came of it."""
    async with make_city(module_database.application_url) as city:
        return await _trade(city)


async def _trade(city: City) -> Trade:
    await make_programme(city.teller, voucher_draft())
    holder_id = await make_wallet(city.engine)
    await give(city.teller, holder_id, "voucher", sets=2)
    request = by_code(city, city.code)
    first = await pay(city, request)
    await ask_to_pay(city, again(city, request, idempotency_key="another key"))
    second = await pay(city, by_card(city, city.card.qr_value, amount_yen=2_000))
    (code,) = await city.codes(wallet_id=holder_id)
    third = await pay(city, by_code(city, code, amount_yen=12_000))
    assert [part.amount_yen for part in third.parts] == [10_000, 2_000]
    assert (await declined(city, by_code(city, city.code))).code == "code_used"
    refused = await declined(city, by_card(city, city.card.qr_value, amount_yen=3_001))
    assert refused.code == "limit_payment"
    (code,) = await city.codes(wallet_id=holder_id)
    poor = by_code(city, code, amount_yen=39_000)
    assert (await declined(city, poor)).code == "balance_insufficient"
    return Trade(
        wallet_id=city.wallet_id,
        holder_id=holder_id,
        card_id=city.card.id,
        shop_id=city.merchant.shop_id,
        by_code=first.id,
        by_card=second.id,
        by_two_purses=third.id,
        declined=poor.payment_id,
    )
