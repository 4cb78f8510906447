"""What an approved request about the end of money does: it writes down what the worker is to do."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_guard import Acting
from wallet.auth.staff_rules import Action, Approval
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import RefusedError
from wallet.programmes.extend import Extension, decide_extension
from wallet.vouchers.refund_buyers import decide_buyer_refunds
from wallet.vouchers.refund_rules import Reason


class ExtendPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which purses get which last day, and how many there were when it was asked for."""

    programme: str
    from_day: date
    to_day: date
    purses: int


class BuyersPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who gets back what they paid for a programme's money, and why; public ids."""

    programme: str
    reason: Reason
    wallets: tuple[str, ...]


async def _extend(
    connection: AsyncConnection, approval: Approval, acting: Acting
) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, ExtendPayload)
    extension_id = await decide_extension(
        connection,
        extension=Extension(
            programme=payload.programme, from_day=payload.from_day, to_day=payload.to_day
        ),
        reason=approval.reason,
        now_us=acting.now_us,
    )
    return {"extension": public_id("ext", extension_id)}


async def _refund(
    connection: AsyncConnection, approval: Approval, acting: Acting
) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, BuyersPayload)
    wallet_ids = [parse_public_id("wal", wallet) for wallet in payload.wallets]
    decided = await decide_buyer_refunds(
        connection,
        programme=payload.programme,
        wallet_ids=[wallet_id for wallet_id in wallet_ids if wallet_id is not None],
        reason=payload.reason,
        now_us=acting.now_us,
    )
    if len(decided) != len(set(payload.wallets)):
        raise RefusedError("wallet_unknown")
    return {"refunds": str(len(decided))}


PURSE_EXECUTIONS: Final[
    Mapping[Action, Callable[[AsyncConnection, Approval, Acting], Awaitable[dict[str, str]]]]
] = MappingProxyType({Action.PURSE_EXTEND: _extend, Action.BUYER_REFUND: _refund})
