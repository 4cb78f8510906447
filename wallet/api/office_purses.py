"""``/office/v1``: the end of money. Later last days, and refunds to those who bought it.

Both are asked for by one and decided by another; the worker then does it. Nothing here moves money.
"""

from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import In, Out, Page, WhyIn
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import RefusedError
from wallet.programmes.extend import Extension, Preview, list_extensions, preview_extension
from wallet.vouchers.refund_buyers import WALLETS_MAX, check_buyers, list_buyer_refunds
from wallet.vouchers.refund_rules import Reason

router = APIRouter(prefix="/office/v1", tags=["staff: programmes"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.PROGRAMME_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.PROGRAMME_WRITE))]

Code = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
WalletId = Annotated[str, Field(pattern=r"^wal_[0-9a-f]{32}$")]

_LAST: Final = -1


class ExtendIn(WhyIn):
    """Purses of a programme that are good until ``from_day`` shall be until ``to_day``."""

    programme: Code
    from_day: date
    to_day: date


class ExtensionOut(Out):
    """A decided extension; ``extended`` purses have their new day so far."""

    id: str
    programme: str
    from_day: date
    to_day: date
    reason: str
    extended: int
    created_at: str
    done_at: str | None


class ExtensionListOut(Out):
    """One page of extensions, newest first."""

    data: list[ExtensionOut]
    has_more: bool
    next_cursor: str | None


class BuyersIn(In):
    """Who is to get back what is left of what they bought, by law for which reason, and why."""

    programme: Code
    because: Reason
    wallets: Annotated[list[WalletId], Field(min_length=1, max_length=WALLETS_MAX)]
    reason: Annotated[str, Field(max_length=1_000)]


class BuyerRefundOut(Out):
    """A refund to a buyer; ``paid_yen`` is to be given to them, once it is ``done``."""

    id: str
    programme: str
    wallet_id: str
    because: str
    state: str
    refusal: str | None
    paid_yen: int | None
    premium_yen: int | None
    created_at: str
    settled_at: str | None


class BuyerRefundListOut(Out):
    """One page of refunds, newest first."""

    data: list[BuyerRefundOut]
    has_more: bool
    next_cursor: str | None


@router.get("/purse-extensions", summary="List extensions")
async def extensions(acting: Reading, page: Annotated[Page, Query()]) -> ExtensionListOut:
    """List extensions that were decided, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_extensions(connection, before=page.after("ext"), limit=page.limit + 1)
    shown = [_extension(row) for row in found[: page.limit]]
    has_more = len(found) > len(shown)
    return ExtensionListOut(
        data=shown, has_more=has_more, next_cursor=shown[_LAST].id if has_more else None
    )


@router.post("/purse-extensions", status_code=202, summary="Ask to extend a programme's money")
async def ask_to_extend(acting: Writing, body: ExtendIn) -> ApprovalOut:
    """Ask a colleague to agree to a later last day; the request says how many purses it reaches."""
    extension = Extension(programme=body.programme, from_day=body.from_day, to_day=body.to_day)

    async def look() -> Preview:
        async with read(acting.office.engine) as connection:
            return await preview_extension(connection, extension=extension, now_us=acting.now_us)

    preview = await acting.noting("purse.extend", look, reason=body.reason)
    payload: dict[str, Any] = {
        "programme": body.programme,
        "from_day": body.from_day.isoformat(),
        "to_day": body.to_day.isoformat(),
        "purses": preview.purses,
    }
    subject = public_id("prg", preview.programme_id)
    return await ask(acting, Draft(Action.PURSE_EXTEND, subject, payload, body.reason))


@router.get("/buyer-refunds", summary="List refunds to buyers")
async def buyer_refunds(acting: Reading, page: Annotated[Page, Query()]) -> BuyerRefundListOut:
    """List refunds to buyers with what has come of them, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_buyer_refunds(connection, before=page.after("brf"), limit=page.limit + 1)
    shown = [_buyer_refund(row) for row in found[: page.limit]]
    has_more = len(found) > len(shown)
    return BuyerRefundListOut(
        data=shown, has_more=has_more, next_cursor=shown[_LAST].id if has_more else None
    )


@router.post("/buyer-refunds", status_code=202, summary="Ask to refund buyers")
async def ask_to_refund(acting: Writing, body: BuyersIn) -> ApprovalOut:
    """Ask a colleague to agree that buyers get back what is left of what they paid."""
    wallets = list(dict.fromkeys(body.wallets))

    async def look() -> UUID:
        wallet_ids = [one for one in (parse_public_id("wal", wallet) for wallet in wallets) if one]
        if len(wallet_ids) < len(wallets):
            raise RefusedError("wallet_unknown")
        async with read(acting.office.engine) as connection:
            return await check_buyers(connection, programme=body.programme, wallet_ids=wallet_ids)

    programme_id = await acting.noting("buyer.refund", look, reason=body.reason)
    payload: dict[str, Any] = {
        "programme": body.programme,
        "reason": str(body.because),
        "wallets": wallets,
    }
    subject = public_id("prg", programme_id)
    return await ask(acting, Draft(Action.BUYER_REFUND, subject, payload, body.reason))


def _extension(row: Any) -> ExtensionOut:  # noqa: ANN401 - a row of its query
    return ExtensionOut(
        id=public_id("ext", row.id),
        programme=row.programme,
        from_day=row.from_day,
        to_day=row.to_day,
        reason=row.reason,
        extended=row.extended,
        created_at=rfc3339(to_microseconds(row.created_at)),
        done_at=None if row.done_at is None else rfc3339(to_microseconds(row.done_at)),
    )


def _buyer_refund(row: Any) -> BuyerRefundOut:  # noqa: ANN401 - as above
    return BuyerRefundOut(
        id=public_id("brf", row.id),
        programme=row.programme,
        wallet_id=public_id("wal", row.wallet_id),
        because=row.reason,
        state=row.state,
        refusal=row.refusal,
        paid_yen=row.paid_yen,
        premium_yen=row.premium_yen,
        created_at=rfc3339(to_microseconds(row.created_at)),
        settled_at=None if row.settled_at is None else rfc3339(to_microseconds(row.settled_at)),
    )
