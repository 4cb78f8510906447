"""``POST /receipts/v1/callbacks/{provider}``: where payment providers report money.

The path is open to the network and closed to everybody without a provider's key. A report is
answered with 200 once it is durably noted, and a repeat of it as well; whatever else is answered,
the provider reports it again.
"""

from typing import Final

import msgspec
from fastapi import APIRouter, Request

from wallet.api.problems import ProblemError
from wallet.api.resident import AppAnswer, AppRoute, rooms_of, told
from wallet.core.clock import MICROSECONDS
from wallet.core.ids import align_id, keyed_hash, new_id, public_id
from wallet.ledger.teller import OutcomeUnknown, Overloaded, Teller
from wallet.receipts.note_receipt import NOTE, NoteReceipt, ReceiptNoted, Refused
from wallet.receipts.providers import Report, Signed, is_signed, provider_key, read_report
from wallet.receipts.rules import Method

# It is not the app's, so it is not in the app's document; docs/payment-providers.md describes it.
router = APIRouter(prefix="/receipts/v1", route_class=AppRoute, include_in_schema=False)

PATH: Final = "/receipts/v1/callbacks/{provider}"

_AHEAD_S: Final = 300
"""How far a provider's clock may be ahead of ours."""

_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


class NotedAnswer(AppAnswer):
    """The receipt that the event is noted as, and how much of it was for what was asked for."""

    receipt_id: str
    matched_yen: int
    suspended_yen: int


@router.post("/callbacks/{provider}")
async def note(request: Request, provider: str) -> NotedAnswer:
    """Note what a provider reports."""
    report = await _read(request, provider)
    answer = await _note(request, report)
    return NotedAnswer(
        receipt_id=public_id("rec", answer.receipt_id),
        matched_yen=answer.matched_yen,
        suspended_yen=answer.suspended_yen,
    )


async def _read(request: Request, provider: str) -> Report:
    """Return what was reported, or end the request: unsigned before anything is looked into."""
    rooms = rooms_of(request)
    named = next((method for method in Method if method == provider), None)
    given = [request.headers.getlist(name) for name in _HEADERS]
    if named is None or any(len(values) != 1 for values in given):
        raise ProblemError("report_unsigned")
    message_id, timestamp, signatures = (values[0] for values in given)
    signed = Signed(
        message_id=message_id,
        timestamp=timestamp,
        signatures=signatures,
        body=await request.body(),
    )
    key = provider_key(named, pepper=rooms.pepper)
    if not is_signed(signed, key=key, now_us=rooms.clock()):
        raise ProblemError("report_unsigned")
    try:
        report = read_report(named, signed.body)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        raise ProblemError("report_invalid") from None
    if report.received_us > rooms.clock() + _AHEAD_S * MICROSECONDS:
        raise ProblemError("report_invalid")
    return report


async def _note(request: Request, report: Report) -> ReceiptNoted:
    rooms = rooms_of(request)
    asked = NoteReceipt(
        receipt_id=align_id(new_id(now_us=rooms.clock())),
        provider=report.provider,
        provider_event=report.event,
        reference=report.reference,
        amount_yen=report.amount_yen,
        received_us=report.received_us,
        authenticated=report.authenticated,
        card_key=(
            None if report.card is None else keyed_hash(f"card {report.card}", pepper=rooms.pepper)
        ),
    )
    teller: Teller = request.app.state.teller
    try:
        answer: ReceiptNoted | Refused = await teller.submit(NOTE, asked)
    except Overloaded:
        raise ProblemError("overloaded") from None
    except OutcomeUnknown:
        raise ProblemError("result_unknown") from None
    if isinstance(answer, Refused):
        raise told(answer.refusal)
    return answer
