"""``/office/v1/receipts`` and ``/office/v1/sales``: money that came in, and what is on sale.

No door here moves money. What is in suspense is settled by two people, and the worker books it.
"""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import Out, Page, WhyIn
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.api.office_receipts_executions import SettlePayload, settlement_of
from wallet.api.problems import ProblemError
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError
from wallet.programmes.basics import is_code
from wallet.receipts.queries import ReceiptRow, add_up_suspense, list_held, list_receipts
from wallet.receipts.settle_suspense import RECEIPTS_MAX, check_settlement
from wallet.vouchers.campaigns import put_on_sale
from wallet.vouchers.purchase_stock import PAY_WITHIN_S, OnSale, Sale, list_sales

router = APIRouter(prefix="/office/v1", tags=["staff: receipts"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.RECEIPT_READ))]
Settling = Annotated[Acting, Depends(needs(Permission.RECEIPT_WRITE))]
Looking = Annotated[Acting, Depends(needs(Permission.CAMPAIGN_READ))]
Selling = Annotated[Acting, Depends(needs(Permission.CAMPAIGN_WRITE))]

ReceiptId = Annotated[str, Field(pattern=r"^rec_[0-9a-f]{32}$")]
OrderId = Annotated[str, Field(pattern=r"^rcp_[0-9a-f]{32}$")]
ProgrammeCode = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]


class ReceiptPage(Page):
    """Which page of the receipts; ``only_open``: those that wait to be decided on."""

    only_open: bool = False


class ReceiptOut(Out):
    """Money that a provider has reported.

    ``suspended`` of ``amount`` (yen) matches nothing, because of ``suspended_because``. Who has
    paid is not known here: the provider finds it by ``provider_event``.
    """

    id: str
    provider: str
    provider_event: str
    provider_reference: str
    order_id: str | None
    amount: int
    suspended: int
    suspended_because: str | None
    state: Literal["matched", "suspense", "settled"]
    decided: bool
    received_at: str
    noted_at: str


class ReceiptListOut(Out):
    """One page of receipts, newest first."""

    data: list[ReceiptOut]
    has_more: bool
    next_cursor: str | None


class SuspenseOut(Out):
    """What waits to be decided on for one reason (yen), and since when the oldest of it."""

    because: str
    receipts: int
    amount: int
    oldest_at: str


class HeldOut(Out):
    """A purchase that is paid for (yen) and could not be issued yet, and the last reason."""

    purchase_id: str
    because: str
    amount: int
    paid_at: str


class WorkOut(Out):
    """What waits for somebody to look at it."""

    suspense: list[SuspenseOut]
    held: list[HeldOut]


class SettleIn(WhyIn):
    """Which receipts pay which order; without an order they go back to whoever has paid."""

    receipt_ids: Annotated[list[ReceiptId], Field(min_length=1, max_length=RECEIPTS_MAX)]
    order_id: OrderId | None = None


class SaleIn(WhyIn):
    """How the units of a programme are sold; moments with their offset from UTC."""

    mode: Literal["offered", "first_come"]
    units_total: Annotated[int, Field(ge=1, le=100_000_000)]
    opens_at: AwareDatetime
    closes_at: AwareDatetime
    pay_within_s: Annotated[int, Field(ge=600, le=30 * 86_400)] = PAY_WITHIN_S
    min_tier: Literal["T0", "T1", "T2", "T3"] = "T1"
    residents_only: bool = False


class SaleOut(Out):
    """A sale as it stands, in units; amounts in yen."""

    programme: str
    name: str
    price: int
    face: int
    units_per_person: int
    mode: str
    units_total: int
    units_reserved: int
    units_sold: int
    opens_at: str
    closes_at: str


class SaleListOut(Out):
    """All sales, those that are over too."""

    data: list[SaleOut]


@router.get("/receipts", summary="List receipts")
async def list_(acting: Reading, page: Annotated[ReceiptPage, Query()]) -> ReceiptListOut:
    """List what providers have reported, newest first, or what of it waits."""
    async with read(acting.office.engine) as connection:
        found = await list_receipts(
            connection, only_open=page.only_open, before=page.after("rec"), limit=page.limit + 1
        )
    shown = [_receipt(one) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return ReceiptListOut(
        data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None
    )


@router.get("/receipts/work", summary="See what waits")
async def work_list(acting: Reading) -> WorkOut:
    """Add up what is in suspense, and list what is paid for and could not be issued."""
    async with read(acting.office.engine) as connection:
        suspense = await add_up_suspense(connection)
        held = await list_held(connection)
    return WorkOut(
        suspense=[
            SuspenseOut(
                because=one.because,
                receipts=one.receipts,
                amount=one.amount_yen,
                oldest_at=rfc3339(to_microseconds(one.oldest_at)),
            )
            for one in suspense
        ],
        held=[
            HeldOut(
                purchase_id=public_id("pur", one.id),
                because=one.held_because,
                amount=one.price_yen,
                paid_at=rfc3339(to_microseconds(one.paid_at)),
            )
            for one in held
        ],
    )


@router.post("/receipts/settle", status_code=202, summary="Ask to settle suspense")
async def settle(acting: Settling, body: SettleIn) -> ApprovalOut:
    """Ask a second person to let receipts pay an order, or to send them back."""
    payload = SettlePayload(tuple(dict.fromkeys(body.receipt_ids)), body.order_id)

    async def check() -> None:
        async with read(acting.office.engine) as connection:
            settlement = settlement_of(payload, decided_by=acting.actor)
            await check_settlement(connection, settlement=settlement)

    await acting.noting("approval.request", check, subject=body.receipt_ids[0], reason=body.reason)
    return await ask(
        acting,
        Draft(
            action=Action.SUSPENSE_SETTLE,
            subject=body.receipt_ids[0],
            payload=msgspec.to_builtins(payload),
            reason=body.reason,
        ),
    )


@router.get("/sales", summary="List sales")
async def sales(acting: Looking) -> SaleListOut:
    """List what is, was and will be on sale."""
    async with read(acting.office.engine) as connection:
        found = await list_sales(connection, now_us=acting.now_us, also_over=True)
    return SaleListOut(data=[_sale(one) for one in found])


@router.put("/sales/{programme}", summary="Open or change a sale")
async def put_sale(acting: Selling, programme: str, body: SaleIn) -> SaleOut:
    """Put units of a programme on sale; what is reserved or sold stays so.

    What a campaign sells, two have agreed to; that is changed by the campaign alone.
    """
    if body.opens_at >= body.closes_at:
        raise ProblemError("parameter_invalid", errors=[_BACKWARDS])
    sale = Sale(
        mode=body.mode,
        units_total=body.units_total,
        opens_us=to_microseconds(body.opens_at),
        closes_us=to_microseconds(body.closes_at),
        pay_within_s=body.pay_within_s,
        min_tier=body.min_tier,
        residents_only=body.residents_only,
    )

    async def work(connection: AsyncConnection) -> OnSale:
        if not is_code(programme):  # The database takes not every character.
            raise RefusedError("programme_unknown")
        return await put_on_sale(connection, programme=programme, sale=sale)

    opened = await acting.act(
        "sale.open",
        work,
        reason=body.reason,
        tell=lambda one: {"programme": one.programme, "units_total": one.units_total},
    )
    return _sale(opened)


_BACKWARDS = {"pointer": "/body/closes_at", "code": "invalid", "detail": "after opens_at"}


def _receipt(one: ReceiptRow) -> ReceiptOut:
    return ReceiptOut.model_validate(
        {
            "id": public_id("rec", one.id),
            "provider": one.provider,
            "provider_event": one.provider_event,
            "provider_reference": one.provider_reference,
            "order_id": None if one.order_id is None else public_id("rcp", one.order_id),
            "amount": one.amount_yen,
            "suspended": one.suspended_yen,
            "suspended_because": one.suspended_because,
            "state": one.state,
            "decided": one.settlement_id is not None,
            "received_at": rfc3339(to_microseconds(one.received_at)),
            "noted_at": rfc3339(to_microseconds(one.noted_at)),
        }
    )


def _sale(one: OnSale) -> SaleOut:
    return SaleOut(
        programme=one.programme,
        name=one.name,
        price=one.price_yen,
        face=one.face_yen,
        units_per_person=one.units_per_person,
        mode=one.mode,
        units_total=one.units_total,
        units_reserved=one.units_reserved,
        units_sold=one.units_sold,
        opens_at=rfc3339(one.opens_us),
        closes_at=rfc3339(one.closes_us),
    )
