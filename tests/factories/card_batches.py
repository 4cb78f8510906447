"""Cards in numbers: ordered, printed and shipped."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from wallet.core.database import write
from wallet.core.ids import new_id
from wallet.core.refusals import Refusal
from wallet.people.activate_cards import Activated, activate_card
from wallet.people.card_batches import (
    CardOrder,
    PrintedCard,
    make_batch,
    read_print_file,
    ship_batch,
)


@dataclass(frozen=True, kw_only=True)
class CardBox:
    """A batch of cards and what was printed on them."""

    batch_id: UUID
    cards: list[PrintedCard]


async def make_cards(
    engine: AsyncEngine,
    *,
    cards: int = 1,
    ship: bool = True,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> CardBox:
    """Print cards that are nobody's, or one for each of ``wallet_ids``, and ship them."""
    batch_id = new_id(now_us=NOW_US)
    order = CardOrder(cards=0 if "wallet_ids" in changes else cards, **changes)

    async def work(connection: AsyncConnection) -> list[PrintedCard]:
        await make_batch(
            connection,
            batch_id=batch_id,
            order=order,
            ordered_by=uuid4(),
            pepper=PEPPER,
            now_us=NOW_US,
        )
        printed = await read_print_file(connection, batch_id=batch_id, pepper=PEPPER)
        if ship:
            await ship_batch(connection, batch_id=batch_id, now_us=NOW_US)
        return printed

    return CardBox(batch_id=batch_id, cards=await write(engine, work))


async def activate(
    engine: AsyncEngine, shown: str, pin: str, *, wallet_id: UUID | None = None
) -> Activated | Refusal:
    """Activate a card, as its holder does."""

    async def work(connection: AsyncConnection) -> Activated | Refusal:
        return await activate_card(
            connection,
            shown=shown,
            pin=pin,
            wallet_id=wallet_id,
            pepper=PEPPER,
            now_us=NOW_US,
        )

    return await write(engine, work)


async def activated_card(
    engine: AsyncEngine, *, wallet_id: UUID | None = None
) -> tuple[PrintedCard, Activated]:
    """Return a new card that pays out of a wallet, a new one by default."""
    (card,) = (await make_cards(engine)).cards
    answer = await activate(engine, card.printed_number, card.pin, wallet_id=wallet_id)
    assert isinstance(answer, Activated), answer
    return card, answer
