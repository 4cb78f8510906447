"""``wallet refund``: give a payment back for a merchant who cannot do it at the till."""

from typing import Annotated, Any

import typer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.cli.shell import ORIGIN, JsonOption, audited, emit, read_id, shell_actor, with_engine
from wallet.core.clock import system_clock
from wallet.core.database import read, write
from wallet.core.ids import align_id, new_id, public_id
from wallet.core.refusals import RefusedError
from wallet.core.runtime import Runtime
from wallet.ledger.bulk import bulk_teller
from wallet.ops.audit import Entry, append
from wallet.payments.refund import RefundRefused, refund_payment
from wallet.payments.refund_rules import Refund, RefundRequest

group = typer.Typer(no_args_is_help=True, help="Refunds of payments.")

_MERCHANT_OF = text("SELECT merchant_id FROM payment WHERE id = :id")


@group.command("give")
def refund_payment_command(
    payment_id: Annotated[str, typer.Argument(help="pay_ and 32 hex digits")],
    *,
    name: Annotated[str, typer.Option(help="The merchant's own name for it; once for each")],
    reason: Annotated[str, typer.Option(help="Why; kept for ever")],
    amount_yen: Annotated[
        int | None, typer.Option(min=1, help="How much; all that is left by default")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a payment back, whole or in part, to the very purses it came from."""
    parsed = read_id("pay", payment_id)

    async def work(engine: AsyncEngine, runtime: Runtime) -> Refund:
        async with read(engine) as connection:
            found = (await connection.execute(_MERCHANT_OF, {"id": parsed})).one_or_none()
        if found is None:
            raise RefusedError("payment_unknown")
        request = RefundRequest(
            refund_id=align_id(new_id(now_us=system_clock())),
            merchant_id=found.merchant_id,
            merchant_refund_id=name,
            payment_id=parsed,
            amount_yen=amount_yen,
            reason=reason,
        )
        await _note(engine, request)
        async with bulk_teller(runtime.database_url, clock=system_clock) as teller:
            answer = await refund_payment(teller, request)
        if isinstance(answer, RefundRefused):
            raise RefusedError(answer.refusal.code, **answer.refusal.facts)
        return answer.refund

    refund = with_engine(audited("payment.refund", work))
    sentence = f"Given back: {refund.amount_yen:,} yen as {public_id('ref', refund.id)}"
    emit(_as_dict(refund), sentence, as_json=as_json)


async def _note(engine: AsyncEngine, request: RefundRequest) -> None:
    """Write down who asks, before money moves: what moved then has somebody who asked for it."""
    now_us = system_clock()
    entry = Entry(
        action="payment.refund",
        actor=shell_actor(),
        subject=public_id("pay", request.payment_id),
        reason=request.reason,
        origin=ORIGIN,
        details={"refund": request.merchant_refund_id},
    )

    async def work(connection: AsyncConnection) -> None:
        await append(connection, entry=entry, now_us=now_us)

    await write(engine, work)


def _as_dict(refund: Refund) -> dict[str, Any]:
    return {
        "refund": public_id("ref", refund.id),
        "payment": public_id("pay", refund.payment_id),
        "amount_yen": refund.amount_yen,
        "bonus_taken_yen": refund.bonus_taken_yen,
        "bonus_missing_yen": refund.bonus_missing_yen,
        "parts": [
            {
                "programme": part.programme,
                "funding": part.funding,
                "amount_yen": part.amount_yen,
                "to": str(part.target),
            }
            for part in refund.parts
        ],
    }
