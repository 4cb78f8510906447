"""What an approved request about a programme does."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_guard import Acting
from wallet.auth.staff_rules import Action, Approval
from wallet.core.ids import parse_public_id
from wallet.core.refusals import RefusedError
from wallet.merchants.rules import CATEGORIES
from wallet.programmes.legal_settings import legal_settings
from wallet.programmes.write_drafts import approve_draft


class ApprovePayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which revision was seen, and the SHA-256 of its terms in hexadecimal."""

    code: str
    revision: int
    sha256: str


async def _approve(
    connection: AsyncConnection, approval: Approval, acting: Acting
) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, ApprovePayload)
    draft_id = parse_public_id("prg", approval.subject)
    if draft_id is None:
        raise RefusedError("draft_unknown")
    approved = await approve_draft(
        connection,
        draft_id=draft_id,
        settings=legal_settings(),
        known_categories=CATEGORIES,
        now_us=acting.now_us,
    )
    if approved.sha256 != payload.sha256:
        raise RefusedError("draft_changed", revision=approved.revision)
    return {"code": approved.code, "revision": str(approved.revision)}


PROGRAMME_EXECUTIONS: Final[
    Mapping[Action, Callable[[AsyncConnection, Approval, Acting], Awaitable[dict[str, str]]]]
] = MappingProxyType({Action.PROGRAMME_APPROVE: _approve})
