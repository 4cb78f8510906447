"""``/app/v1/movements``: whatever came into a wallet and went out of it, and why."""

import base64
from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request

from wallet.api.resident import AnyResident, AppAnswer, AppRoute, documented, rooms_of
from wallet.api.resident_read import reach_of
from wallet.core.clock import to_datetime
from wallet.programmes.movements import (
    MOVEMENTS_MAX,
    Movement,
    Position,
    list_movements,
)

router = APIRouter(prefix="/app/v1", route_class=AppRoute)

_TIME_BYTES: Final = 8
_CURSOR: Final = r"^[A-Za-z0-9_-]{32}$"
"""Base64url of 24 bytes: the time, then the transfer."""


class MovementAnswer(AppAnswer):
    """Yen that came in, or, below zero, went out, of one kind of money."""

    id: str
    kind: str
    amount: int
    programme: str
    name: str | None
    funding: str
    expires_on: date
    at: datetime


class MovementPage(AppAnswer):
    """One page of movements, newest first."""

    data: list[MovementAnswer]
    has_more: bool
    next_cursor: str | None


@router.get(
    "/movements",
    responses=documented(404),
    summary="List what came in and went out",
    operation_id="list_movements",
)
async def movements(
    request: Request,
    resident: AnyResident,
    wallet_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MOVEMENTS_MAX)] = 20,
    cursor: Annotated[str | None, Query(pattern=_CURSOR)] = None,
) -> MovementPage:
    """List a wallet's movements, newest first; one's own wallet unless another is named."""
    reach = await reach_of(request, resident, wallet_id)
    found = await list_movements(
        rooms_of(request).engine,
        wallet_id=reach.wallet_id,
        before=Position() if cursor is None else _read_cursor(cursor),
        limit=limit + 1,
    )
    shown = found[:limit]
    has_more = len(found) > len(shown)
    return MovementPage(
        data=[_answer(one) for one in shown],
        has_more=has_more,
        next_cursor=_cursor(shown[-1].position) if has_more else None,
    )


def _answer(one: Movement) -> MovementAnswer:
    return MovementAnswer(
        id=one.transfer_id.hex,
        kind=one.kind,
        amount=one.amount_yen,
        programme=one.programme,
        name=one.name,
        funding=one.funding,
        expires_on=one.expires_on,
        at=to_datetime(one.at_us),
    )


def _cursor(position: Position) -> str:
    place = position.at_us.to_bytes(_TIME_BYTES, "big") + position.transfer_id.bytes
    return base64.urlsafe_b64encode(place).decode("ascii")


def _read_cursor(cursor: str) -> Position:
    """Return the place in the list; any cursor of the right form is one, whoever made it."""
    place = base64.urlsafe_b64decode(cursor)
    at_us = int.from_bytes(place[:_TIME_BYTES], "big")
    return Position(min(at_us, 2**63 - 1), UUID(bytes=place[_TIME_BYTES:]))
