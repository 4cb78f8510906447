"""What an approved request about a shop's takings does: it writes the order for the worker."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_guard import Acting
from wallet.auth.staff_rules import Action, Approval
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import RefusedError
from wallet.points.shops import order_takings


class OrderPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much goes to which shop, a public id; None pays it out."""

    to_shop_id: str | None
    amount_yen: int


async def _order(connection: AsyncConnection, approval: Approval, acting: Acting) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, OrderPayload)
    shop_id = parse_public_id("shp", approval.subject)
    to_shop_id = None
    if payload.to_shop_id is not None:
        to_shop_id = parse_public_id("shp", payload.to_shop_id)
    # An id that does not parse must not turn a move between shops into a payout.
    if shop_id is None or (to_shop_id is None) != (payload.to_shop_id is None):
        raise RefusedError("shop_unknown")
    order_id = await order_takings(
        connection,
        shop_id=shop_id,
        to_shop_id=to_shop_id,
        amount_yen=payload.amount_yen,
        ordered_by=approval.requested_by,
        now_us=acting.now_us,
    )
    return {"order": public_id("tko", order_id)}


POINTS_EXECUTIONS: Final[
    Mapping[Action, Callable[[AsyncConnection, Approval, Acting], Awaitable[dict[str, str]]]]
] = MappingProxyType({Action.TAKINGS_ORDER: _order})
