"""What an approved request about a campaign does."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_guard import Acting
from wallet.auth.staff_rules import Action, Approval
from wallet.core.ids import parse_public_id
from wallet.core.refusals import RefusedError
from wallet.vouchers.campaigns import approve_campaign


class ApprovePayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which revision was seen, and the terms as they were shown."""

    code: str
    revision: int
    terms: dict[str, Any]


async def _approve(
    connection: AsyncConnection, approval: Approval, acting: Acting
) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, ApprovePayload)
    campaign_id = parse_public_id("cmp", approval.subject)
    if campaign_id is None:
        raise RefusedError("campaign_unknown")
    approved = await approve_campaign(
        connection,
        campaign_id=campaign_id,
        revision=payload.revision,
        actor=acting.actor,
        now_us=acting.now_us,
    )
    return {"code": approved.code, "revision": str(approved.revision)}


CAMPAIGN_EXECUTIONS: Final[
    Mapping[Action, Callable[[AsyncConnection, Approval, Acting], Awaitable[dict[str, str]]]]
] = MappingProxyType({Action.CAMPAIGN_APPROVE: _approve})
