"""What approved requests about benefits do: let a run begin, take a grant back, know somebody."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_guard import Acting
from wallet.auth.staff_rules import Action, Approval
from wallet.benefits.claim import know_beneficiary
from wallet.benefits.claw_back import ask_back
from wallet.benefits.steer_run import approve_run
from wallet.core.ids import parse_public_id
from wallet.core.refusals import RefusedError


class ClawBackPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the grant was a mistake, and which mistake it was."""

    amount_yen: int
    because: str


class KnowPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which reference it is, as a keyed hash in Base64 like in every row, and what was seen."""

    beneficiary: bytes
    document: str


async def _grant(connection: AsyncConnection, approval: Approval, acting: Acting) -> dict[str, str]:
    run_id = _id("bnf", approval.subject, unknown="benefit_run_unknown")
    await approve_run(connection, run_id=run_id, payload=approval.payload, now_us=acting.now_us)
    return {"run_id": approval.subject}


async def _claw_back(
    connection: AsyncConnection, approval: Approval, acting: Acting
) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, ClawBackPayload)
    await ask_back(
        connection,
        grant_id=_id("grt", approval.subject, unknown="benefit_grant_unknown"),
        amount_yen=payload.amount_yen,
        because=payload.because,
        now_us=acting.now_us,
    )
    return {"grant_id": approval.subject}


async def _know(connection: AsyncConnection, approval: Approval, acting: Acting) -> dict[str, str]:
    payload = msgspec.convert(approval.payload, KnowPayload)
    if not await know_beneficiary(
        connection,
        beneficiary_hash=payload.beneficiary,
        person_id=_id("per", approval.subject, unknown="person_unknown"),
        proven_by="counter",
        now_us=acting.now_us,
    ):
        raise RefusedError("beneficiary_known")
    return {"person_id": approval.subject}


BENEFIT_EXECUTIONS: Final[
    Mapping[Action, Callable[[AsyncConnection, Approval, Acting], Awaitable[dict[str, str]]]]
] = MappingProxyType(
    {
        Action.BENEFIT_GRANT: _grant,
        Action.BENEFIT_CLAW_BACK: _claw_back,
        Action.BENEFIT_KNOW: _know,
    }
)


def _id(prefix: str, text: str, *, unknown: str) -> UUID:
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        raise RefusedError(unknown)
    return parsed
