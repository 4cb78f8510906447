"""Orders that wait for money, and money that providers report."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US
from wallet.core.clock import MICROSECONDS
from wallet.core.database import write
from wallet.core.ids import align_id, new_id
from wallet.ledger.teller import Teller
from wallet.receipts.note_receipt import NOTE, NoteReceipt, ReceiptNoted, Refused
from wallet.receipts.request_payment import Bill, PaymentSlip, request_payment
from wallet.receipts.rules import Method, Purpose

DAY_S = 86_400


async def make_slip(
    engine: AsyncEngine,
    programme_id: UUID,
    *,
    now_us: int = NOW_US,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> PaymentSlip:
    """Ask for 5,000 yen at a convenience store within seven days, with ``changes``."""
    fields: dict[str, Any] = {
        "purpose": Purpose.CHARGE,
        "reference_id": uuid4(),
        "programme_id": programme_id,
        "amount_yen": 5_000,
        "method": Method.CONVENIENCE,
        "deadline_us": now_us + 7 * DAY_S * MICROSECONDS,
    }
    bill = Bill(**{**fields, **changes})
    return await write(engine, lambda c: request_payment(c, bill=bill, now_us=now_us))


def report(slip: PaymentSlip, **changes: Any) -> NoteReceipt:  # noqa: ANN401 - as above
    """Return what a provider reports of a slip that was paid in full, with ``changes``."""
    fields: dict[str, Any] = {
        "receipt_id": align_id(new_id(now_us=NOW_US)),
        "provider": slip.method,
        "provider_event": f"event-{uuid4()}",
        "reference": slip.reference,
        "amount_yen": slip.amount_yen,
        "received_us": NOW_US,
        "authenticated": True,
    }
    return NoteReceipt(**{**fields, **changes})


async def note(teller: Teller, request: NoteReceipt) -> ReceiptNoted:
    """Note a receipt, or fail the test."""
    answer: ReceiptNoted | Refused = await teller.submit(NOTE, request)
    assert isinstance(answer, ReceiptNoted), answer
    return answer
