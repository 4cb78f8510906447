"""``/app/v1/cards``: one's cards, activated with the letter they came in, blocked with one tap."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.problems import ProblemError
from wallet.api.resident import (
    FREE_TEXT,
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Resident,
    answer,
    documented,
    id_in,
    rooms_of,
    write_recorded,
)
from wallet.api.resident_bodies import Id
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.refusals import Refusal
from wallet.people.activate_cards import Activated, activate_card
from wallet.people.cards import Card, block_card, list_cards
from wallet.people.queries import Role, list_reach
from wallet.people.rules import grouped

router = APIRouter(prefix="/app/v1", route_class=AppRoute, tags=["cards"])

CARD = "crd"


class CardAnswer(AppAnswer):
    """A card; limits in yen. Its number names it to the help desk and pays nothing."""

    id: str
    number: str
    wallet_id: str
    state: Literal["active", "blocked", "replaced"]
    payment_limit_yen: int
    daily_limit_yen: int
    issued_at: datetime


class CardsAnswer(AppAnswer):
    """The cards of the wallets that are one's own or in one's care."""

    data: list[CardAnswer]


class ActivateBody(AppBody):
    """What is on the card, its number or its QR value, and the PIN from the letter.

    Without a ``wallet_id`` the card will pay out of one's own wallet.
    """

    card: Annotated[str, Field(min_length=12, max_length=64), FREE_TEXT]
    pin: Annotated[str, Field(pattern=r"^[0-9]{6}$")]
    wallet_id: Id | None = None


class ActivatedAnswer(AppAnswer):
    """The card that pays from now on, and out of which wallet."""

    id: str
    wallet_id: str


class BlockedAnswer(AppAnswer):
    """The card that pays no more; ``changed`` False: it had not before."""

    id: str
    changed: bool


def _card(card: Card) -> CardAnswer:
    return CardAnswer(
        id=public_id(CARD, card.id),
        number=grouped(card.printed_number),
        wallet_id=public_id("wal", card.wallet_id),
        state=card.state,
        payment_limit_yen=card.payment_limit_yen,
        daily_limit_yen=card.daily_limit_yen,
        issued_at=card.issued_at,
    )


async def _wallets(request: Request, resident: Resident) -> list[UUID]:
    """Return the wallets that are one's own, first, or in one's care."""
    async with read(rooms_of(request).engine) as connection:
        reach = await list_reach(connection, person_id=resident.person.id)
    cared_for = [one for one in reach if one.role in {Role.OWN, Role.GUARDIAN}]
    return [one.wallet_id for one in sorted(cared_for, key=lambda one: one.role is not Role.OWN)]


@router.get("/cards", responses=documented(), summary="List cards", operation_id="list_cards")
async def list_(request: Request, resident: AnyResident) -> CardsAnswer:
    """List one's cards, those that no longer pay among them."""
    wallet_ids = await _wallets(request, resident)
    async with read(rooms_of(request).engine) as connection:
        cards = await list_cards(connection, wallet_ids=wallet_ids)
    return CardsAnswer(data=[_card(one) for one in cards])


@router.post(
    "/cards",
    responses=documented(404, 409, 423, 429),
    summary="Activate a card",
    operation_id="activate_card",
)
async def activate(
    request: Request, resident: ActiveResident, body: ActivateBody
) -> ActivatedAnswer:
    """Activate a card that came in the post or was handed out; its PIN is in the letter.

    While a change of how one signs in cools off, no card is added.
    """
    rooms = rooms_of(request)
    now_us = rooms.clock()
    if resident.person.cools_off(now_us=now_us) or resident.caller.cooling_until_us is not None:
        raise ProblemError("card_cooling_off")
    wallet_ids = await _wallets(request, resident)
    wallet_id = next(iter(wallet_ids), None)
    if body.wallet_id is not None:
        wallet_id = id_in("wal", body.wallet_id, code="wallet_unknown")
    if wallet_id not in wallet_ids:
        raise ProblemError("wallet_unknown")

    async def work(connection: AsyncConnection) -> Activated | Refusal:
        return await activate_card(
            connection,
            shown=body.card,
            pin=body.pin,
            wallet_id=wallet_id,
            pepper=rooms.pepper,
            now_us=now_us,
        )

    done = await write_recorded(request, work, action="card.activate", whose=resident.person.id)
    activated = answer(done)
    return ActivatedAnswer(
        id=public_id(CARD, activated.card_id), wallet_id=public_id("wal", activated.wallet_id)
    )


@router.post(
    "/cards/{card_id}/block",
    responses=documented(404),
    summary="Block a card",
    operation_id="block_card",
)
async def block(request: Request, resident: AnyResident, card_id: str) -> BlockedAnswer:
    """Block a card of one's own at once and for good; a new one takes its place."""
    parsed = id_in(CARD, card_id, code="card_number_unknown")
    wallet_ids = await _wallets(request, resident)
    async with read(rooms_of(request).engine) as connection:
        own = {card.id for card in await list_cards(connection, wallet_ids=wallet_ids)}
    if parsed not in own:
        raise ProblemError("card_number_unknown")

    async def work(connection: AsyncConnection) -> bool:
        return await block_card(connection, card_id=parsed, now_us=rooms_of(request).clock())

    changed = await write_recorded(
        request, work, action="card.block", whose=resident.person.id, card=card_id
    )
    return BlockedAnswer(id=card_id, changed=changed)
