"""``/ops/v1/sessions``: end every session there is, residents' and staff's, one's own as well."""

from typing import Annotated

from fastapi import APIRouter, Depends

from wallet.api.office_forms import Out, WhyIn
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.revoke_sessions import revoke_all_sessions
from wallet.auth.staff_rules import Permission

router = APIRouter(prefix="/ops/v1/sessions", tags=["staff: sessions"], responses=REFUSALS)

Revoking = Annotated[Acting, Depends(needs(Permission.SESSION_REVOKE_ALL))]


class RevokedOut(Out):
    """How many sessions were ended."""

    ended: int


@router.post("/revoke-all", summary="End every session")
async def revoke_all(acting: Revoking, body: WhyIn) -> RevokedOut:
    """End every session that is open now; a payment on a shown code or a card goes on.

    It takes one person, as an emergency stop does. The trail has it before the first session ends.
    """
    await acting.note("session.revoke_all", reason=body.reason)
    ended = await revoke_all_sessions(
        acting.office.engine, because="revoked_all", now_us=acting.now_us
    )
    await acting.note("session.revoked_all", details={"ended": ended})
    return RevokedOut(ended=ended)
