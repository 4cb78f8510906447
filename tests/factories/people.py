"""Wallets and cards."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from wallet.core.ids import new_id
from wallet.people.issue_cards import IssuedCard, NewCard, issue_cards
from wallet.people.open_wallets import NewWallet, open_wallets


async def make_wallet(
    engine: AsyncEngine,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> UUID:
    """Open an empty wallet."""
    wallet_id = new_id(now_us=NOW_US)
    await open_wallets(engine, wallets=[NewWallet(wallet_id, **changes)], now_us=NOW_US)
    return wallet_id


async def make_card(
    engine: AsyncEngine,
    wallet_id: UUID,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> IssuedCard:
    """Issue a card for a wallet."""
    cards = [NewCard(wallet_id, **changes)]
    (card,) = await issue_cards(engine, cards=cards, pepper=PEPPER, now_us=NOW_US)
    return card
