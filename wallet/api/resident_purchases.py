"""``/app/v1/sales`` and ``/app/v1/purchases``: what may be bought, reserving, paying, giving up.

Buying is in three steps that may be far apart: units are kept, money is paid to a provider
outside, and the vouchers come when the provider has reported it. At each of them the state says
what has happened, never what is hoped for.
"""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.hot_door import headers_of, idempotency_key
from wallet.api.openapi import IDEMPOTENCY_KEY
from wallet.api.problems import ProblemError
from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Rooms,
    documented,
    id_in,
    rooms_of,
    told,
    write_recorded,
)
from wallet.api.resident_bodies import Id
from wallet.auth.recognise import Claim, read_claim
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import align_id, new_id, public_id
from wallet.ledger.teller import OutcomeUnknown, Overloaded, Teller
from wallet.people.queries import Role, list_reach
from wallet.receipts.providers import page_order
from wallet.receipts.request_payment import PaymentSlip
from wallet.receipts.rules import Method
from wallet.vouchers.purchase import Bought, cancel_purchase, list_purchases, pay_purchase
from wallet.vouchers.purchase_stock import list_sales
from wallet.vouchers.purchase_storage import Purchase
from wallet.vouchers.reserve import RESERVE, Refused, Reserved
from wallet.vouchers.reserve_by_phone import ReserveByPhone
from wallet.vouchers.results import Offer, offers_of

router = APIRouter(prefix="/app/v1", route_class=AppRoute)

_KEYED: Final[dict[str, Any]] = {"parameters": [IDEMPOTENCY_KEY]}

Code = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
State = Literal["reserved", "paid", "issued", "lapsed", "cancelled"]


class SaleAnswer(AppAnswer):
    """A voucher on sale: one unit costs ``price_yen`` and is worth ``face_yen``."""

    programme: str
    name: str
    price_yen: int
    face_yen: int
    units_per_person: int
    mode: Literal["offered", "first_come"]
    units_left: int
    opens_at: str
    closes_at: str


class OfferAnswer(AppAnswer):
    """Units that were won and may be bought until the deadline."""

    application_id: str
    programme: str
    units: int
    deadline: str


class SalesAnswer(AppAnswer):
    """What is on sale, and what the caller has won of it."""

    sales: list[SaleAnswer]
    offers: list[OfferAnswer]


class ReserveBody(AppBody):
    """How many units to keep, for which wallet; with the application that has won them."""

    programme: Code
    units: Annotated[int, Field(ge=1, le=1_000)]
    wallet_id: Id | None = None
    application_id: Id | None = None


class PayBody(AppBody):
    """How to pay."""

    method: Literal["convenience", "card", "bank"]


class SlipAnswer(AppAnswer):
    """How a purchase is paid: the number to give, and for a card the order for its page."""

    id: str
    method: Literal["convenience", "card", "bank"]
    reference: str
    amount_yen: int
    expires_at: str
    card_order: str | None


class PurchaseAnswer(AppAnswer):
    """A purchase; ``paid`` is when the money has come and the vouchers are on their way."""

    id: str
    programme: str
    wallet_id: str
    units: int
    price_yen: int
    face_yen: int
    state: State
    created_at: str
    deadline: str
    slip: SlipAnswer | None


class PurchasesAnswer(AppAnswer):
    """The newest purchases of the wallets that the caller looks after."""

    data: list[PurchaseAnswer]


async def claim_in(request: Request) -> Claim:
    """Return who a request says it is from; the batch that reserves sees whether that is so."""
    rooms = rooms_of(request)
    authorization, proof = (
        values[0] if len(values := request.headers.getlist(name)) == 1 else None
        for name in ("authorization", "dpop")
    )
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    claim = read_claim(
        authorization=authorization,
        proof=proof,
        method=request.method,
        path=raw.partition(b"?")[0].decode("latin-1"),
        body=await request.body(),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    if claim is None:
        raise ProblemError("signed_out")
    return claim


Claimed = Annotated[Claim, Depends(claim_in)]
"""A phone that nobody has looked up yet: for what many ask at once."""


@router.get(
    "/sales", responses=documented(), summary="See what may be bought", operation_id="list_sales"
)
async def sales(request: Request, resident: AnyResident) -> SalesAnswer:
    """List what is on sale now or soon, and what the caller and their wards have won."""
    rooms = rooms_of(request)
    now_us = rooms.clock()
    async with read(rooms.engine) as connection:
        found = await list_sales(connection, now_us=now_us)
        offers = await offers_of(connection, resident.person.id, now_us=now_us)
    return SalesAnswer(
        sales=[
            SaleAnswer(
                programme=one.programme,
                name=one.name,
                price_yen=one.price_yen,
                face_yen=one.face_yen,
                units_per_person=one.units_per_person,
                mode="offered" if one.mode == "offered" else "first_come",
                units_left=one.units_left,
                opens_at=rfc3339(one.opens_us),
                closes_at=rfc3339(one.closes_us),
            )
            for one in found
        ],
        offers=[_offer(one) for one in offers],
    )


@router.get(
    "/purchases",
    responses=documented(),
    summary="List my purchases",
    operation_id="list_purchases",
)
async def purchases(request: Request, resident: AnyResident) -> PurchasesAnswer:
    """List the purchases for the caller's own wallets and their wards', newest first."""
    found = await _list(request, resident.person.id)
    return PurchasesAnswer(data=[_purchase(one, rooms_of(request)) for one in found])


@router.post(
    "/purchases",
    status_code=201,
    response_model=PurchaseAnswer,
    responses=documented(400, 403, 404, 409, 410, 423),
    summary="Reserve vouchers",
    operation_id="reserve_vouchers",
    openapi_extra=_KEYED,
)
async def reserve(request: Request, claim: Claimed, body: ReserveBody) -> Response:
    """Keep units for a wallet until they are paid for; a repeat is told of the same purchase."""
    rooms = rooms_of(request)
    key = idempotency_key(headers_of(request.scope["headers"]))
    answer = await _ask(
        request,
        ReserveByPhone(
            claim,
            align_id(new_id(now_us=rooms.clock())),
            body.programme,
            body.units,
            key,
            _id_of("wal", body.wallet_id, code="wallet_unknown"),
            _id_of("app", body.application_id, code="offer_unknown"),
        ),
    )
    told_of = _kept(answer.purchase, body.programme)
    if answer.replayed:  # Much may have become of it meanwhile.
        told_of = await _find(request, answer.purchase.person_id, answer.purchase.id)
    # Made here, because FastAPI would check and turn it into JSON in twice the time.
    return Response(told_of.model_dump_json(), 201, media_type="application/json")


@router.get(
    "/purchases/{purchase_id}",
    responses=documented(404),
    summary="See one purchase",
    operation_id="get_purchase",
)
async def purchase(request: Request, resident: AnyResident, purchase_id: str) -> PurchaseAnswer:
    """Return a purchase as it stands."""
    parsed = id_in("pur", purchase_id, code="purchase_unknown")
    return await _find(request, resident.person.id, parsed)


@router.post(
    "/purchases/{purchase_id}/payment",
    responses=documented(403, 404, 409, 410),
    summary="Choose how to pay",
    operation_id="pay_purchase",
)
async def pay(
    request: Request, resident: ActiveResident, purchase_id: str, body: PayBody
) -> SlipAnswer:
    """Return the slip to pay by; the same way gives the same slip, another takes it back.

    Nobody pays by card within twelve hours of a change of how they sign in.
    """
    rooms = rooms_of(request)
    parsed = id_in("pur", purchase_id, code="purchase_unknown")
    now_us = rooms.clock()
    cools = resident.caller.cooling_until_us is not None or resident.person.cools_off(now_us=now_us)
    if cools and body.method == "card":
        raise ProblemError("card_payment_cooling_off")

    async def work(connection: AsyncConnection) -> PaymentSlip:
        return await pay_purchase(
            connection,
            purchase_id=parsed,
            person_id=resident.person.id,
            method=Method(body.method),
            now_us=now_us,
        )

    slip = await write_recorded(
        request, work, action="purchase.pay", whose=resident.person.id, method=body.method
    )
    return _slip(slip, rooms)


@router.delete(
    "/purchases/{purchase_id}",
    status_code=204,
    responses=documented(404, 409, 410),
    summary="Give up a reservation",
    operation_id="cancel_purchase",
)
async def cancel(request: Request, resident: ActiveResident, purchase_id: str) -> None:
    """Give up what was reserved and not paid for; the units are for others again."""
    rooms = rooms_of(request)
    parsed = id_in("pur", purchase_id, code="purchase_unknown")

    async def work(connection: AsyncConnection) -> None:
        await cancel_purchase(
            connection,
            purchase_id=parsed,
            person_id=resident.person.id,
            now_us=rooms.clock(),
        )

    await write_recorded(request, work, action="purchase.cancel", whose=resident.person.id)


def _id_of(prefix: str, text: str | None, *, code: str) -> UUID | None:
    return None if text is None else id_in(prefix, text, code=code)


async def _ask(request: Request, asked: ReserveByPhone) -> Reserved:
    """Have the teller decide, or end the request with what it says."""
    teller: Teller = request.app.state.teller
    try:
        answer: Reserved | Refused = await teller.submit(RESERVE, asked)
    except Overloaded:
        raise ProblemError("overloaded") from None
    except OutcomeUnknown:
        raise ProblemError("result_unknown") from None
    if isinstance(answer, Refused):
        raise told(answer.refusal)
    return answer


async def _list(request: Request, person_id: UUID, purchase_id: UUID | None = None) -> list[Bought]:
    async with read(rooms_of(request).engine) as connection:
        reach = await list_reach(connection, person_id=person_id)
        mine = [one.wallet_id for one in reach if one.role in {Role.OWN, Role.GUARDIAN}]
        return await list_purchases(connection, wallet_ids=mine, purchase_id=purchase_id)


async def _find(request: Request, person_id: UUID, purchase_id: UUID) -> PurchaseAnswer:
    found = await _list(request, person_id, purchase_id)
    if not found:
        raise ProblemError("purchase_unknown")
    return _purchase(found[0], rooms_of(request))


def _offer(one: Offer) -> OfferAnswer:
    return OfferAnswer(
        application_id=public_id("app", one.application_id),
        programme=one.frame,
        units=one.units - one.units_bought,
        deadline=rfc3339(to_microseconds(one.deadline)),
    )


def _purchase(one: Bought, rooms: Rooms) -> PurchaseAnswer:
    return PurchaseAnswer.model_validate(
        {
            "id": public_id("pur", one.id),
            "programme": one.programme,
            "wallet_id": public_id("wal", one.wallet_id),
            "units": one.units,
            "price_yen": one.price_yen,
            "face_yen": one.face_yen,
            "state": one.state,
            "created_at": rfc3339(one.created_us),
            "deadline": rfc3339(one.deadline_us),
            "slip": None if one.slip is None else _slip(one.slip, rooms),
        }
    )


def _kept(one: Purchase, programme: str) -> PurchaseAnswer:
    return PurchaseAnswer(
        id=public_id("pur", one.id),
        programme=programme,
        wallet_id=public_id("wal", one.wallet_id),
        units=one.units,
        price_yen=one.price_yen,
        face_yen=one.face_yen,
        state="reserved",
        created_at=rfc3339(one.created_us),
        deadline=rfc3339(one.deadline_us),
        slip=None,
    )


def _slip(slip: PaymentSlip, rooms: Rooms) -> SlipAnswer:
    return SlipAnswer(
        id=public_id("rcp", slip.order_id),
        method=slip.method.value,
        reference=slip.reference,
        amount_yen=slip.amount_yen,
        expires_at=rfc3339(slip.expires_us),
        card_order=page_order(slip, pepper=rooms.pepper) if slip.method is Method.CARD else None,
    )
