"""Refunds, asked of the teller."""

from typing import Any
from uuid import UUID

from tests.factories.city import City
from wallet.core.ids import align_id, new_id
from wallet.core.refusals import Refusal
from wallet.payments.refund import Refunded, RefundRefused, refund_payment
from wallet.payments.refund_rules import Refund, RefundRequest


def make_refund(city: City, payment_id: UUID, **changes: Any) -> RefundRequest:  # noqa: ANN401 - fields of many types
    """Return a request of the city's merchant for all of a payment, with a name of its own."""
    refund_id = align_id(new_id(now_us=city.clock()))
    fields: dict[str, Any] = {
        "refund_id": refund_id,
        "merchant_id": city.merchant.id,
        "merchant_refund_id": f"return-{refund_id.hex}",
        "payment_id": payment_id,
    }
    return RefundRequest(**{**fields, **changes})


async def refund(city: City, payment_id: UUID, **changes: Any) -> Refund:  # noqa: ANN401 - as above
    """Have a payment given back, or fail the test."""
    answer = await refund_payment(city.teller, make_refund(city, payment_id, **changes))
    assert isinstance(answer, Refunded), answer
    return answer.refund


async def refund_refused(city: City, payment_id: UUID, **changes: Any) -> Refusal:  # noqa: ANN401 - as above
    """Return why a payment was not given back."""
    answer = await refund_payment(city.teller, make_refund(city, payment_id, **changes))
    assert isinstance(answer, RefundRefused), answer
    return answer.refusal
