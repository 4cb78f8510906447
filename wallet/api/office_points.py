"""``/office/v1/points``: civic events and their codes, rewards for steps, orders on takings.

Nothing here moves money: what is decided is written down, and phones or the worker move it within
the budgets that two people have approved. A shop's takings are in no budget, so an order on them is
only asked for here, and written when a colleague has agreed.
"""

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import In, Line, Out, Page, Reason, WhyIn, read_id
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission, check_reason
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.points.manage import (
    CODES_MAX,
    NewEvent,
    NewStepRule,
    close_event,
    hold_event,
    make_event_codes,
    set_step_rule,
)
from wallet.points.queries import EventSeen, list_events, list_step_rules
from wallet.points.rules import LADDER_RUNGS_MAX, STEPS_MAX, Rung
from wallet.points.shops import Order, check_order, list_orders

router = APIRouter(prefix="/office/v1/points", tags=["staff: points"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.POINTS_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.POINTS_WRITE))]

ProgrammeCode = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
ProgrammeInPath = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,64}$")]
ShopId = Annotated[str, Field(pattern=r"^shp_[0-9a-f]{32}$")]


class EventIn(WhyIn):
    """An event to be held; ``amount_yen`` is for one person and day."""

    programme: ProgrammeCode
    name: Annotated[Line, Field(min_length=1, max_length=80)]
    amount_yen: Annotated[int, Field(ge=1, le=10_000)]
    first_day: date
    last_day: date
    grants_max: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class EventOut(Out):
    """An event, and how many have earned its points."""

    id: str
    programme: str
    name: str
    amount_yen: int
    first_day: date
    last_day: date
    grants_max: int | None
    grants: int
    state: str


class EventListOut(Out):
    """One page of events, newest first."""

    data: list[EventOut]
    has_more: bool
    next_cursor: str | None


class EventIdOut(Out):
    """The event that is held."""

    id: str


class ClosedOut(Out):
    """An event that is closed; ``changed`` False: it was before."""

    id: str
    changed: bool


class CodesIn(WhyIn):
    """For how many participants, on which day."""

    day: date
    count: Annotated[int, Field(ge=1, le=CODES_MAX)]


class CodesOut(Out):
    """Codes to print or to show, one for each participant; they are kept nowhere."""

    data: list[str]


class RungForm(In):
    """Who has walked so many steps on a day has earned so much for it, in all."""

    steps: Annotated[int, Field(ge=1, le=STEPS_MAX)]
    yen: Annotated[int, Field(ge=1, le=10_000)]


class StepRuleIn(WhyIn):
    """What steps shall earn from now on."""

    ladder: Annotated[list[RungForm], Field(min_length=1, max_length=LADDER_RUNGS_MAX)]
    month_max_yen: Annotated[int, Field(ge=1, le=100_000)]
    first_day: date
    last_day: date


class StepRuleOut(Out):
    """What steps earn of a programme."""

    programme: str
    ladder: list[RungForm]
    month_max_yen: int
    first_day: date
    last_day: date


class StepRulesOut(Out):
    """All rewards for steps."""

    data: list[StepRuleOut]


class OrderIn(In):
    """What is to happen to a shop's takings; without ``to_shop_id`` they are paid out."""

    shop_id: ShopId
    to_shop_id: ShopId | None = None
    amount_yen: Annotated[int, Field(ge=1, le=1_000_000_000)]
    reason: Reason


class OrderOut(Out):
    """An order as it stands."""

    id: str
    shop_id: str
    to_shop_id: str | None
    amount_yen: int
    state: str
    refused_because: str | None
    ordered_by: str
    ordered_at: str
    decided_at: str | None


class OrderListOut(Out):
    """One page of orders, newest first."""

    data: list[OrderOut]
    has_more: bool
    next_cursor: str | None


@router.get("/events", summary="List civic events")
async def events(acting: Reading, page: Annotated[Page, Query()]) -> EventListOut:
    """List events, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_events(connection, before=page.after("evt"), limit=page.limit + 1)
    shown = [_event(one) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    cursor = shown[-1].id if has_more else None
    return EventListOut(data=shown, has_more=has_more, next_cursor=cursor)


@router.post("/events", status_code=201, summary="Hold a civic event")
async def hold(acting: Writing, body: EventIn) -> EventIdOut:
    """Announce an event whose participants earn points."""
    new = NewEvent(**body.model_dump(exclude={"reason"}))

    async def work(connection: AsyncConnection) -> UUID:
        check_reason(body.reason)
        return await hold_event(connection, new=new, now_us=acting.now_us)

    event_id = await acting.act(
        "points.hold_event",
        work,
        reason=body.reason,
        tell=lambda made: {
            "event": public_id("evt", made),
            "programme": new.programme,
            "amount_yen": new.amount_yen,
        },
    )
    return EventIdOut(id=public_id("evt", event_id))


@router.post("/events/{event_id}/close", summary="Close a civic event")
async def close(acting: Writing, event_id: str, body: WhyIn) -> ClosedOut:
    """Let an event bring nothing more."""
    parsed = read_id("evt", event_id, "event_unknown")

    async def work(connection: AsyncConnection) -> bool:
        check_reason(body.reason)
        return await close_event(connection, event_id=parsed)

    changed = await acting.act(
        "points.close_event",
        work,
        subject=event_id,
        reason=body.reason,
        tell=lambda changed: {"changed": int(changed)},
    )
    return ClosedOut(id=event_id, changed=changed)


@router.post("/events/{event_id}/codes", summary="Make codes for participants")
async def codes(acting: Writing, event_id: str, body: CodesIn) -> CodesOut:
    """Make codes, each good for one participant on the one day."""
    parsed = read_id("evt", event_id, "event_unknown")

    async def work(connection: AsyncConnection) -> list[str]:
        check_reason(body.reason)
        return await make_event_codes(
            connection,
            event_id=parsed,
            day=body.day,
            count=body.count,
            pepper=acting.office.pepper,
        )

    made = await acting.act(
        "points.make_codes",
        work,
        subject=event_id,
        reason=body.reason,
        tell=lambda made: {"day": body.day.isoformat(), "count": len(made)},
    )
    return CodesOut(data=made)


@router.get("/steps", summary="List rewards for steps")
async def step_rules(acting: Reading) -> StepRulesOut:
    """List what steps earn, of every programme that rewards them."""
    async with read(acting.office.engine) as connection:
        found = await list_step_rules(connection)
    return StepRulesOut(
        data=[
            StepRuleOut(
                programme=one.programme,
                ladder=[RungForm(steps=rung.steps, yen=rung.yen) for rung in one.ladder],
                month_max_yen=one.month_max_yen,
                first_day=one.first_day,
                last_day=one.last_day,
            )
            for one in found
        ]
    )


@router.put("/steps/{programme}", status_code=204, summary="Reward steps")
async def reward_steps(acting: Writing, programme: ProgrammeInPath, body: StepRuleIn) -> None:
    """Set what steps earn of a programme, in place of what they did."""
    new = NewStepRule(
        programme=programme,
        ladder=[Rung(one.steps, one.yen) for one in body.ladder],
        month_max_yen=body.month_max_yen,
        first_day=body.first_day,
        last_day=body.last_day,
    )

    async def work(connection: AsyncConnection) -> None:
        check_reason(body.reason)
        await set_step_rule(connection, new=new, now_us=acting.now_us)

    await acting.act(
        "points.reward_steps",
        work,
        reason=body.reason,
        tell=lambda _: {"programme": programme, "month_max_yen": new.month_max_yen},
    )


@router.get("/takings", summary="List orders on takings")
async def orders(acting: Reading, page: Annotated[Page, Query()]) -> OrderListOut:
    """List orders, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_orders(connection, before=page.after("tko"), limit=page.limit + 1)
    shown = [_order(one) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    cursor = shown[-1].id if has_more else None
    return OrderListOut(data=shown, has_more=has_more, next_cursor=cursor)


@router.post("/takings", status_code=202, summary="Ask to order takings to be moved")
async def ask_to_order(acting: Writing, body: OrderIn) -> ApprovalOut:
    """Ask a colleague to agree that a shop's takings go to another shop, or are paid out.

    The order is written once, when what was agreed to is carried out; the worker moves the money.
    """
    shop_id = read_id("shp", body.shop_id, "shop_unknown")
    to_shop_id = None
    if body.to_shop_id is not None:
        to_shop_id = read_id("shp", body.to_shop_id, "shop_unknown")

    async def look() -> None:
        async with read(acting.office.engine) as connection:
            await check_order(connection, shop_id=shop_id, to_shop_id=to_shop_id)

    await acting.noting("takings.order", look, subject=body.shop_id, reason=body.reason)
    payload: dict[str, Any] = {"to_shop_id": body.to_shop_id, "amount_yen": body.amount_yen}
    return await ask(acting, Draft(Action.TAKINGS_ORDER, body.shop_id, payload, body.reason))


def _event(one: EventSeen) -> EventOut:
    return EventOut(
        id=public_id("evt", one.id),
        programme=one.programme,
        name=one.name,
        amount_yen=one.amount_yen,
        first_day=one.first_day,
        last_day=one.last_day,
        grants_max=one.grants_max,
        grants=one.grants,
        state=one.state,
    )


def _order(one: Order) -> OrderOut:
    return OrderOut(
        id=public_id("tko", one.id),
        shop_id=public_id("shp", one.shop_id),
        to_shop_id=None if one.to_shop_id is None else public_id("shp", one.to_shop_id),
        amount_yen=one.amount_yen,
        state=one.state,
        refused_because=one.refused_because,
        ordered_by=public_id("stf", one.ordered_by),
        ordered_at=_moment(one.ordered_at),
        decided_at=None if one.decided_at is None else _moment(one.decided_at),
    )


def _moment(moment: datetime) -> str:
    return rfc3339(to_microseconds(moment))
