"""``/app/v1/wallets/{wallet_id}/coupons``: which there are, and which one is to be used next."""

from datetime import date
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field, model_validator

from wallet.api.problems import ProblemError
from wallet.api.resident import (
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
)
from wallet.core.database import read, write
from wallet.payments.coupons import CouponSeen, choose_coupon, drop_coupon, list_coupons
from wallet.people.queries import Role, list_reach

router = APIRouter(prefix="/app/v1/wallets/{wallet_id}", route_class=AppRoute, tags=["coupons"])

MAY_CHOOSE: Final = frozenset({Role.OWN, Role.GUARDIAN})

Code = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]


class CouponAnswer(AppAnswer):
    """A coupon: what it takes off, and from which amount on; ``chosen`` is used next.

    It is ``off_yen``, or ``percent`` up to ``ceiling_yen``. ``small_shops_only`` and ``categories``
    say where it is good; none says everywhere.
    """

    programme: str
    programme_name: str
    coupon: str
    name: str
    off_yen: int
    percent: int
    ceiling_yen: int | None
    minimum_yen: int
    last_day: date | None
    small_shops_only: bool
    categories: list[str]
    chosen: bool
    good: bool


class CouponsAnswer(AppAnswer):
    """The coupons of a wallet."""

    data: list[CouponAnswer]


class ChooseBody(AppBody):
    """A coupon, by its programme and code, or by the code that opens it."""

    programme: Code | None = None
    coupon: Code | None = None
    entry_code: Annotated[str, Field(pattern=r"^[A-Z0-9]{4,32}$")] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "ChooseBody":
        by_name = (self.programme, self.coupon)
        if (None in by_name) == (self.entry_code is None) or by_name.count(None) == 1:
            message = "name programme and coupon, or the code that opens it"
            raise ValueError(message)
        return self


@router.get(
    "/coupons",
    responses=documented(404),
    summary="See which coupons my wallet can use",
    operation_id="list_coupons",
)
async def show_coupons(request: Request, wallet_id: str, resident: AnyResident) -> CouponsAnswer:
    """Return those that can be used today, and the one that was chosen."""
    found_id = await _wallet_of(request, resident, wallet_id)
    rooms = rooms_of(request)
    async with read(rooms.engine) as connection:
        seen = await list_coupons(connection, wallet_id=found_id, now_us=rooms.clock())
    return CouponsAnswer(data=[_told(one) for one in seen])


@router.put(
    "/coupon",
    responses=documented(403, 404, 409),
    summary="Use a coupon with the next payment that it fits",
    operation_id="choose_coupon",
)
async def use_next(
    request: Request, wallet_id: str, resident: ActiveResident, body: ChooseBody
) -> CouponAnswer:
    """Choose the coupon; it is used once, by the first payment that it fits."""
    found_id = await _wallet_of(request, resident, wallet_id)
    rooms = rooms_of(request)
    key = None if body.coupon is None else f"{body.programme}:{body.coupon}"
    seen = await write(
        rooms.engine,
        partial(
            choose_coupon,
            wallet_id=found_id,
            key=key,
            entry_code=body.entry_code,
            now_us=rooms.clock(),
        ),
    )
    return _told(answer(seen))


@router.delete(
    "/coupon",
    status_code=204,
    response_class=Response,
    responses=documented(403, 404),
    summary="Use no coupon",
    operation_id="drop_coupon",
)
async def use_none(request: Request, wallet_id: str, resident: ActiveResident) -> None:
    """Choose no coupon any more."""
    found_id = await _wallet_of(request, resident, wallet_id)
    await write(rooms_of(request).engine, partial(drop_coupon, wallet_id=found_id))


async def _wallet_of(request: Request, resident: Resident, wallet_id: str) -> UUID:
    """Return the wallet's id; one that is not theirs, or their ward's, is none."""
    named: Any = id_in("wal", wallet_id, code="wallet_unknown")
    async with read(rooms_of(request).engine) as connection:
        reach = await list_reach(connection, person_id=resident.person.id)
    for one in reach:
        if one.wallet_id == named and one.role in MAY_CHOOSE:
            return one.wallet_id
    raise ProblemError("wallet_unknown")


def _told(seen: CouponSeen) -> CouponAnswer:
    coupon = seen.coupon
    return CouponAnswer(
        programme=seen.programme,
        programme_name=seen.name,
        coupon=coupon.code,
        name=coupon.name,
        off_yen=coupon.off_yen,
        percent=coupon.percent,
        ceiling_yen=coupon.ceiling_yen,
        minimum_yen=coupon.minimum_yen,
        last_day=coupon.last_day,
        small_shops_only=coupon.shops == "small",
        categories=sorted(coupon.categories),
        chosen=seen.is_chosen,
        good=seen.is_good,
    )
