"""Merchants, ready to be paid."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from wallet.core.ids import new_id
from wallet.ledger.teller import Teller
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.register_merchants import NewMerchant, NewShop, register_merchants


@dataclass(frozen=True, kw_only=True)
class Merchant:
    """A merchant with one shop and one terminal."""

    id: UUID
    shop_id: UUID
    terminal_id: UUID
    key_id: UUID
    api_key: str


async def make_merchant(
    engine: AsyncEngine, teller: Teller, *, category: str = "groceries", small: bool = True
) -> Merchant:
    """Register a merchant and issue a test key to it."""
    merchant_id, shop_id, terminal_id = (new_id(now_us=NOW_US) for _ in range(3))
    shop = NewShop(shop_id, "白鷺青果 本町店", category, small, (terminal_id,))
    await register_merchants(teller, merchants=[NewMerchant(merchant_id, "白鷺青果", (shop,))])
    key = await issue_api_key(
        engine, merchant_id=merchant_id, livemode=False, pepper=PEPPER, now_us=NOW_US
    )
    return Merchant(
        id=merchant_id, shop_id=shop_id, terminal_id=terminal_id, key_id=key.id, api_key=key.key
    )
