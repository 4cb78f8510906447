"""What an approved matter of cards and paper does: to print money's bearers takes two.

So does giving a card to a wallet without its holder's PIN, for whoever has the card has the money.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_guard import Acting
from wallet.auth.staff_rules import Action, Approval
from wallet.core.ids import parse_public_id, public_id
from wallet.people.activate_cards import assign_card
from wallet.people.card_batches import CardOrder, make_batch
from wallet.people.cards import replace_card
from wallet.vouchers.paper_batches import PaperOrder, make_paper

CARD_BATCH: Final = "crb"
PAPER_BATCH: Final = "pbt"
CARD: Final = "crd"


class OrderCards(msgspec.Struct, frozen=True, tag_field="kind", tag="cards"):
    """Cards to print; the batch's id is the approval's subject."""

    order: CardOrder


class OrderPaper(msgspec.Struct, frozen=True, tag_field="kind", tag="paper"):
    """Booklets to print; the batch's id is the approval's subject."""

    order: PaperOrder


class AssignCard(msgspec.Struct, frozen=True, tag_field="kind", tag="assign"):
    """A card to give to a wallet without its PIN."""

    number: str
    wallet_id: UUID


class ReplaceCard(msgspec.Struct, frozen=True, tag_field="kind", tag="replace"):
    """A card to put another one in the place of."""

    card_id: UUID
    number: str


Matter = OrderCards | OrderPaper | AssignCard | ReplaceCard


def payload_of(matter: Matter) -> dict[str, Any]:
    """Return a matter as the plain JSON that is approved."""
    payload: dict[str, Any] = msgspec.to_builtins(matter)
    return payload


async def _execute(
    connection: AsyncConnection, approval: Approval, acting: Acting
) -> dict[str, str]:
    matter: Matter = msgspec.convert(approval.payload, Matter)
    if isinstance(matter, OrderCards):
        return await _order_cards(connection, approval, acting, matter)
    if isinstance(matter, OrderPaper):
        return await _order_paper(connection, approval, acting, matter)
    if isinstance(matter, AssignCard):
        activated = await assign_card(
            connection,
            number=matter.number,
            wallet_id=matter.wallet_id,
            now_us=acting.now_us,
        )
        return {"card_id": public_id(CARD, activated.card_id)}
    replaced = await replace_card(
        connection,
        card_id=matter.card_id,
        number=matter.number,
        decided_by=acting.member.id,
        now_us=acting.now_us,
    )
    return {
        "card_id": public_id(CARD, replaced.card_id),
        "money": "follows" if replaced.moves else "stays",
    }


async def _order_cards(
    connection: AsyncConnection, approval: Approval, acting: Acting, matter: OrderCards
) -> dict[str, str]:
    cards = await make_batch(
        connection,
        batch_id=_id(CARD_BATCH, approval.subject),
        order=matter.order,
        ordered_by=acting.member.id,
        pepper=acting.office.pepper,
        now_us=acting.now_us,
    )
    return {"batch_id": approval.subject, "cards": str(cards)}


async def _order_paper(
    connection: AsyncConnection, approval: Approval, acting: Acting, matter: OrderPaper
) -> dict[str, str]:
    number = await make_paper(
        connection,
        batch_id=_id(PAPER_BATCH, approval.subject),
        order=matter.order,
        ordered_by=acting.member.id,
        now_us=acting.now_us,
    )
    return {"batch_id": approval.subject, "number": str(number)}


def _id(prefix: str, text: str) -> UUID:
    """Return an id that was made when the approval was asked for."""
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        message = f"an approved request holds no id with {prefix}_"
        raise ValueError(message)
    return parsed


CARD_EXECUTIONS: Final[
    Mapping[Action, Callable[[AsyncConnection, Approval, Acting], Awaitable[dict[str, str]]]]
] = MappingProxyType({Action.CARD_BATCH: _execute})
