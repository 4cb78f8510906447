"""``/office/v1/card-batches`` and ``/office/v1/cards``: cards from the printer to the holder.

Printing cards, and giving one to a wallet whose holder has not typed its PIN, takes two. Blocking a
card takes one, and whoever holds the PIN needs nobody.
"""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AfterValidator, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_cards_executions import (
    CARD,
    CARD_BATCH,
    AssignCard,
    Matter,
    OrderCards,
    ReplaceCard,
    payload_of,
)
from wallet.api.office_files import CSV, csv_answer
from wallet.api.office_forms import In, Line, Out, Page, WhyIn, read_id
from wallet.api.office_guard import Acting, Details, Work, needs
from wallet.api.office_openapi import REFUSALS
from wallet.api.problems import ProblemError
from wallet.auth.guess_limits import allow, fail, subjects_of
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission, check_reason
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import new_id, public_id
from wallet.core.my_number import contains_twelve_digits
from wallet.core.refusals import Refusal, RefusedError
from wallet.ops.audit import append
from wallet.people.activate_cards import Activated, activate_card
from wallet.people.card_batches import (
    CARDS_PER_BATCH_MAX,
    RECIPIENTS_MAX,
    CardBatch,
    CardOrder,
    PrintedCard,
    ShippedCard,
    cancel_batch,
    check_order,
    find_batch,
    list_batches,
    read_print_file,
    read_shipping_list,
    ship_batch,
)
from wallet.people.cards import (
    Card,
    block_card,
    find_card,
    find_owner,
    knows_card,
    void_blank,
)
from wallet.people.rules import (
    CARD_DAILY_LIMIT_YEN,
    CARD_PAYMENT_LIMIT_YEN,
    PAYMENT_LIMIT_YEN,
    grouped,
    read_printed_number,
)

router = APIRouter(prefix="/office/v1", tags=["staff: cards"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.CARD_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.CARD_WRITE))]

ACTIVATE: Final = "card.activate"

WalletId = Annotated[str, Field(pattern=r"^wal_[0-9a-f]{32}$")]
Number = Annotated[Line, Field(min_length=12, max_length=20)]


def _few_digits(text: str) -> str:
    """Refuse what has as many digits as a My Number; no desk is called so."""
    if contains_twelve_digits(text):
        message = "a name without twelve digits"
        raise ValueError(message)
    return text


Destination = Annotated[
    Line,
    Field(max_length=100, description="A desk or a branch; nobody's name or address."),
    AfterValidator(_few_digits),
]
_Yen = Annotated[int, Field(ge=1, le=PAYMENT_LIMIT_YEN)]


class OrderIn(WhyIn):
    """``cards`` that are nobody's yet, or one for each wallet; limits in yen."""

    cards: Annotated[int, Field(ge=0, le=CARDS_PER_BATCH_MAX)] = 0
    wallet_ids: Annotated[tuple[WalletId, ...], Field(max_length=RECIPIENTS_MAX)] = ()
    destination: Destination = ""
    payment_limit_yen: _Yen = CARD_PAYMENT_LIMIT_YEN
    daily_limit_yen: _Yen = CARD_DAILY_LIMIT_YEN


class BatchOut(Out):
    """An order of cards; ``activated`` of them are in somebody's hand."""

    id: str
    cards: int
    destination: str
    state: str
    payment_limit_yen: int
    daily_limit_yen: int
    made_at: str
    shipped_at: str | None
    activated: int


class BatchListOut(Out):
    """One page of orders, newest first."""

    data: list[BatchOut]
    has_more: bool
    next_cursor: str | None


class DoneOut(Out):
    """How many cards it was done to."""

    cards: int


class NumberIn(In):
    """The number on a card."""

    number: Number


class CardOut(Out):
    """A card; without a person, the wallet is known by its cards alone."""

    id: str
    number: str
    wallet_id: str
    person_id: str | None
    state: str
    payment_limit_yen: int
    daily_limit_yen: int
    issued_at: str


class FoundOut(Out):
    """No card, or the one that bears the number."""

    data: list[CardOut]


class ActivateIn(In):
    """What is on the card and in the letter that came with it, shown by its holder."""

    card: Annotated[Line, Field(min_length=12, max_length=64, description="Number or QR value.")]
    pin: Annotated[Line, Field(pattern=r"^[0-9]{6}$")]


class ActivatedOut(Out):
    """The card that pays now, and out of which wallet."""

    card_id: str
    wallet_id: str


class BlockIn(WhyIn):
    """Which card, and why."""

    number: Number


class BlockedOut(Out):
    """The card that pays no more; ``changed`` False: it had not before."""

    card_id: str
    changed: bool


class AssignIn(WhyIn):
    """Which card to give to which wallet."""

    number: Number
    wallet_id: WalletId


class ReplaceIn(WhyIn):
    """Which card was lost, and which one takes its place."""

    number: Number
    new_number: Number


@router.get("/card-batches", summary="List orders of cards")
async def list_(acting: Reading, page: Annotated[Page, Query()]) -> BatchListOut:
    """List orders of cards, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_batches(connection, before=page.after(CARD_BATCH), limit=page.limit + 1)
    shown = [_batch(one) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return BatchListOut(
        data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None
    )


@router.post("/card-batches", status_code=202, summary="Ask to have cards printed")
async def order(acting: Writing, body: OrderIn) -> ApprovalOut:
    """Ask a colleague to agree that cards are printed; carrying it out makes them."""
    asked = CardOrder(
        cards=body.cards,
        wallet_ids=tuple(read_id("wal", one, "wallet_unknown") for one in body.wallet_ids),
        destination=body.destination,
        payment_limit_yen=body.payment_limit_yen,
        daily_limit_yen=body.daily_limit_yen,
    )
    subject = public_id(CARD_BATCH, new_id(now_us=acting.now_us))
    return await _ask(acting, subject, OrderCards(asked), body.reason)


@router.get("/card-batches/{batch_id}", summary="Get an order of cards")
async def get(acting: Reading, batch_id: str) -> BatchOut:
    """Return an order of cards."""
    parsed = read_id(CARD_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> CardBatch:
        return await find_batch(connection, batch_id=parsed)

    return _batch(await acting.run("card_batch.view", work, subject=batch_id))


@router.post(
    "/card-batches/{batch_id}/print-file",
    summary="Take the print file",
    response_class=Response,
    responses=CSV,
)
async def print_file(acting: Writing, batch_id: str, body: WhyIn) -> Response:
    """Return QR values and PINs for the printer; there are none once the cards have left."""
    parsed = read_id(CARD_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> list[PrintedCard]:
        check_reason(body.reason)
        return await read_print_file(connection, batch_id=parsed, pepper=acting.office.pepper)

    cards = await acting.act(
        "card_batch.print",
        work,
        subject=batch_id,
        reason=body.reason,
        tell=lambda printed: {"cards": len(printed)},
    )
    rows = [(one.number, grouped(one.printed_number), one.qr_value, one.pin) for one in cards]
    header = ("番号", "カード番号", "QR", "暗証番号")
    return csv_answer(f"cards_{batch_id}", header, rows, japanese=f"カード印刷_{batch_id}")


@router.get(
    "/card-batches/{batch_id}/shipping-list",
    summary="Take the shipping list",
    response_class=Response,
    responses=CSV,
)
async def shipping_list(acting: Reading, batch_id: str) -> Response:
    """Return which card goes to whose wallet or to which desk; addresses are not kept here."""
    parsed = read_id(CARD_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> tuple[CardBatch, list[ShippedCard]]:
        batch = await find_batch(connection, batch_id=parsed)
        return batch, await read_shipping_list(connection, batch_id=parsed)

    batch, cards = await acting.act(
        "card_batch.list", work, subject=batch_id, tell=lambda found: {"cards": len(found[1])}
    )
    rows = [
        (
            one.number,
            grouped(one.printed_number),
            "" if one.wallet_id is None else public_id("wal", one.wallet_id),
            batch.destination,
        )
        for one in cards
    ]
    header = ("番号", "カード番号", "ウォレット", "送り先")
    return csv_answer(f"shipping_{batch_id}", header, rows, japanese=f"発送一覧_{batch_id}")


@router.post("/card-batches/{batch_id}/ship", summary="Note that cards have left")
async def ship(acting: Writing, batch_id: str, body: WhyIn) -> DoneOut:
    """Note that the cards have left the house; what was printed on them is forgotten."""
    parsed = read_id(CARD_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> int:
        check_reason(body.reason)
        return await ship_batch(connection, batch_id=parsed, now_us=acting.now_us)

    return await _done(acting, "card_batch.ship", work, batch_id, body.reason)


@router.post("/card-batches/{batch_id}/cancel", summary="Void what is nobody's yet of a batch")
async def cancel(acting: Writing, batch_id: str, body: WhyIn) -> DoneOut:
    """Void every card of a batch that nobody has activated, as after a theft of the box."""
    parsed = read_id(CARD_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> int:
        check_reason(body.reason)
        return await cancel_batch(connection, batch_id=parsed, now_us=acting.now_us)

    return await _done(acting, "card_batch.cancel", work, batch_id, body.reason)


@router.post("/cards/search", summary="Find a card")
async def search(acting: Reading, body: NumberIn) -> FoundOut:
    """Find a card by its whole number; that it was looked for is kept."""

    async def work(connection: AsyncConnection) -> Card | None:
        counted_for = subjects_of(pepper=acting.office.pepper, account=acting.actor)
        now_us = acting.now_us
        refusal = await allow(connection, kind="office_search", subjects=counted_for, now_us=now_us)
        if refusal is not None:
            raise RefusedError("lookups_too_many", **refusal.facts)
        if await knows_card(connection, number=body.number):
            return await _find(connection, acting, body.number)
        await fail(connection, kind="office_search", subjects=counted_for, now_us=now_us)
        return None

    found = await acting.act("card.search", work, tell=_found)
    return FoundOut(data=[] if found is None else [_card(found)])


@router.post("/cards/activate", summary="Activate a card")
async def activate(acting: Writing, body: ActivateIn) -> ActivatedOut:
    """Activate a card for the wallet it was printed for, or for a new one of its own."""

    async def work(connection: AsyncConnection) -> Activated | Refusal:
        done = await activate_card(
            connection,
            shown=body.card,
            pin=body.pin,
            wallet_id=None,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )
        if isinstance(done, Activated):  # A refusal is committed too: that counts a wrong try.
            entry = acting.entry(ACTIVATE, subject=public_id(CARD, done.card_id))
            await append(connection, entry=entry, now_us=acting.now_us)
        return done

    done = await acting.run(ACTIVATE, work)
    if isinstance(done, Refusal):
        await acting.refuse(ACTIVATE, done)
    return ActivatedOut(
        card_id=public_id(CARD, done.card_id), wallet_id=public_id("wal", done.wallet_id)
    )


@router.post("/cards/block", summary="Block a card")
async def block(acting: Writing, body: BlockIn) -> BlockedOut:
    """Block a card at once and for good; one that nobody has activated is void."""

    async def work(connection: AsyncConnection) -> tuple[UUID, bool]:
        check_reason(body.reason)
        blank_id = await void_blank(connection, number=body.number)
        if blank_id is not None:
            return blank_id, True
        card = await _find(connection, acting, body.number)
        return card.id, await block_card(connection, card_id=card.id, now_us=acting.now_us)

    card_id, changed = await acting.act(
        "card.block",
        work,
        reason=body.reason,
        tell=lambda done: {"card": public_id(CARD, done[0]), "changed": int(done[1])},
    )
    return BlockedOut(card_id=public_id(CARD, card_id), changed=changed)


@router.post("/cards/assign", status_code=202, summary="Ask to give a card to a wallet")
async def assign(acting: Writing, body: AssignIn) -> ApprovalOut:
    """Ask a colleague to agree that a card pays out of a wallet, without its PIN."""
    wallet_id = read_id("wal", body.wallet_id, "wallet_unknown")

    async def work(connection: AsyncConnection) -> UUID | None:
        return await find_owner(connection, wallet_id=wallet_id)

    owner_id = await acting.run("card.view", work)
    subject = _subject(owner_id, public_id("wal", wallet_id))
    matter = AssignCard(_printed(body.number), wallet_id)
    return await _ask(acting, subject, matter, body.reason)


@router.post("/cards/replace", status_code=202, summary="Ask to replace a card")
async def replace(acting: Writing, body: ReplaceIn) -> ApprovalOut:
    """Ask a colleague to agree that another card takes the place of a lost one, money and all."""

    async def work(connection: AsyncConnection) -> Card:
        return await _find(connection, acting, body.number)

    card = await acting.run("card.view", work)
    subject = _subject(card.person_id, public_id(CARD, card.id))
    matter = ReplaceCard(card.id, _printed(body.new_number))
    return await _ask(acting, subject, matter, body.reason)


async def _ask(acting: Acting, subject: str, matter: Matter, reason: str) -> ApprovalOut:
    def check() -> None:
        if isinstance(matter, OrderCards):
            check_order(matter.order)

    draft = Draft(Action.CARD_BATCH, subject, payload_of(matter), reason)
    return await ask(acting, draft, check=check)


def _printed(number: str) -> str:
    """Return a number that a card can bear; no other twelve digits are kept in a request."""
    kept = read_printed_number(number)
    if not kept:
        raise ProblemError("card_number_unknown")
    return kept


def _subject(person_id: UUID | None, otherwise: str) -> str:
    """Return the person something is about, so that nobody decides their own affairs."""
    return otherwise if person_id is None else public_id("per", person_id)


async def _find(connection: AsyncConnection, acting: Acting, number: str) -> Card:
    """Return a card that is not the member's own affair."""
    card = await find_card(connection, number=number)
    if card.person_id is not None:
        await acting.check_own_affair(connection, public_id("per", card.person_id))
    return card


async def _done(
    acting: Acting, action: str, work: Work[int], batch_id: str, reason: str
) -> DoneOut:
    cards = await acting.act(
        action, work, subject=batch_id, reason=reason, tell=lambda cards: {"cards": cards}
    )
    return DoneOut(cards=cards)


def _found(found: Card | None) -> Details:
    """Return what a search has found, for the trail; the number is not kept."""
    return {"found": 0} if found is None else {"found": 1, "card": public_id(CARD, found.id)}


def _batch(batch: CardBatch) -> BatchOut:
    shipped_at = batch.shipped_at
    return BatchOut(
        id=public_id(CARD_BATCH, batch.id),
        cards=batch.cards,
        destination=batch.destination,
        state=batch.state,
        payment_limit_yen=batch.payment_limit_yen,
        daily_limit_yen=batch.daily_limit_yen,
        made_at=rfc3339(to_microseconds(batch.made_at)),
        shipped_at=None if shipped_at is None else rfc3339(to_microseconds(shipped_at)),
        activated=batch.activated,
    )


def _card(card: Card) -> CardOut:
    return CardOut(
        id=public_id(CARD, card.id),
        number=grouped(card.printed_number),
        wallet_id=public_id("wal", card.wallet_id),
        person_id=None if card.person_id is None else public_id("per", card.person_id),
        state=card.state,
        payment_limit_yen=card.payment_limit_yen,
        daily_limit_yen=card.daily_limit_yen,
        issued_at=rfc3339(to_microseconds(card.issued_at)),
    )
