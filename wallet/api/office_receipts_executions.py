"""What an approved request about suspense does: writes down what was decided, for the worker."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_guard import Acting
from wallet.auth.staff_rules import Action, Approval
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import RefusedError
from wallet.receipts.settle_suspense import Settlement, decide_settlement


class SettlePayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which receipts, and the order that they pay; None sends them back. Public ids."""

    receipt_ids: tuple[str, ...]
    order_id: str | None


def settlement_of(payload: SettlePayload, *, decided_by: str) -> Settlement:
    """Return what is asked for; raises :class:`RefusedError` for ids that are nothing's."""
    # Twice the same is once: what was agreed to before must not fail for ever.
    receipt_ids = [parse_public_id("rec", one) for one in dict.fromkeys(payload.receipt_ids)]
    order_id = None
    if payload.order_id is not None:
        order_id = parse_public_id("rcp", payload.order_id)
        if order_id is None:
            raise RefusedError("receipt_order_unknown")
    known = tuple(one for one in receipt_ids if one is not None)
    if len(known) < len(receipt_ids):
        raise RefusedError("receipt_not_suspended")
    return Settlement(receipt_ids=known, order_id=order_id, decided_by=decided_by)


async def _settle(
    connection: AsyncConnection, approval: Approval, acting: Acting
) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, SettlePayload)
    settlement = settlement_of(payload, decided_by=public_id("apr", approval.id))
    await decide_settlement(connection, settlement=settlement, now_us=acting.now_us)
    return {"receipt_id": approval.subject}


RECEIPT_EXECUTIONS: Final[
    Mapping[Action, Callable[[AsyncConnection, Approval, Acting], Awaitable[dict[str, str]]]]
] = MappingProxyType({Action.SUSPENSE_SETTLE: _settle})
