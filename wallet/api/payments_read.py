"""``GET /v1/payments…``: what became of a merchant's payments."""

import base64
from typing import Annotated, Final
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from wallet.api.openapi import AUTHENTICATED_PROBLEMS, Responses, component, problems
from wallet.api.problems import ProblemError
from wallet.api.render import PaymentListBody, payment_body
from wallet.core.ids import parse_public_id
from wallet.core.refusals import Refusal
from wallet.merchants.authenticate import KeyRing, Principal
from wallet.payments.queries import (
    PAGE_MAX,
    find_by_merchant_payment_id,
    find_payment,
    list_payments,
)
from wallet.payments.rules import Payment

_encode = msgspec.json.Encoder().encode


async def authenticated(request: Request) -> Principal:
    """Return the merchant's system that calls; nobody else comes through this door."""
    key_ring: KeyRing = request.app.state.key_ring
    given = request.headers.getlist("authorization")
    principal = await key_ring.authenticate(given[0] if len(given) == 1 else None)
    if isinstance(principal, Refusal):
        raise ProblemError(principal.code)
    return principal


Merchant = Annotated[Principal, Depends(authenticated)]
router = APIRouter(prefix="/v1/payments", tags=["payments"], dependencies=[Depends(authenticated)])


class Page(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 20
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{22}$")] | None = None


_LINK: Final = {"Link": {"schema": {"type": "string"}, "description": "The next page (RFC 8288)."}}
_ONE: Final[Responses] = {
    200: component("PaymentBody", "The payment"),
    **problems(404),
    **AUTHENTICATED_PROBLEMS,
}
_LIST: Final[Responses] = {
    200: {**component("PaymentListBody", "One page of payments"), "headers": _LINK},
    **problems(422),
    **AUTHENTICATED_PROBLEMS,
}


@router.get("", responses=_LIST, summary="List payments", operation_id="list_payments")
async def list_(request: Request, merchant: Merchant, page: Annotated[Page, Query()]) -> Response:
    """List the merchant's payments, newest first, a page at a time."""
    payments = await list_payments(
        request.app.state.engine,
        merchant_id=merchant.merchant_id,
        before=None if page.cursor is None else _read_cursor(page.cursor),
        limit=page.limit + 1,
    )
    shown = payments[: page.limit]
    has_more = len(payments) > len(shown)
    cursor = _cursor(shown[-1].id) if has_more else None
    bodies = [payment_body(one, livemode=request.app.state.livemode) for one in shown]
    response = _json(_encode(PaymentListBody(bodies, has_more, cursor)))
    if cursor is not None:
        response.headers["link"] = (
            f'<{request.url.path}?limit={page.limit}&cursor={cursor}>; rel="next"'
        )
    return response


@router.get(
    "/by-merchant-id/{merchant_payment_id}",
    responses=_ONE,
    summary="Get a payment by the merchant's own id",
    operation_id="get_payment_by_merchant_id",
)
async def by_merchant_id(
    request: Request, merchant: Merchant, merchant_payment_id: str
) -> Response:
    """Return the payment that the merchant itself calls so: the way to learn an unknown outcome."""
    found = None
    if "\0" not in merchant_payment_id:  # PostgreSQL has no text with a zero byte.
        found = await find_by_merchant_payment_id(
            request.app.state.engine,
            merchant_id=merchant.merchant_id,
            merchant_payment_id=merchant_payment_id,
            now_us=request.app.state.clock(),
        )
    return _one(request, found)


@router.get("/{payment_id}", responses=_ONE, summary="Get a payment", operation_id="get_payment")
async def by_id(request: Request, merchant: Merchant, payment_id: str) -> Response:
    """Return one payment."""
    parsed = parse_public_id("pay", payment_id)
    found = None
    if parsed is not None:
        found = await find_payment(
            request.app.state.engine,
            merchant_id=merchant.merchant_id,
            payment_id=parsed,
            now_us=request.app.state.clock(),
        )
    return _one(request, found)


def _one(request: Request, payment: Payment | None) -> Response:
    if payment is None:
        raise ProblemError("payment_unknown")
    return _json(_encode(payment_body(payment, livemode=request.app.state.livemode)))


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


def _cursor(payment_id: UUID) -> str:
    return base64.urlsafe_b64encode(payment_id.bytes).rstrip(b"=").decode("ascii")


def _read_cursor(cursor: str) -> UUID:
    """Return the place in the list; any cursor of the right form is one, whoever made it."""
    return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
