"""Codes of buying and of money that comes in: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        401: {"report_unsigned"},
        403: {"card_payment_cooling_off", "residents_only", "tier_too_low"},
        404: {"offer_unknown", "purchase_unknown", "receipt_order_unknown", "sale_unknown"},
        409: {
            "offer_exceeded",
            "purchase_paid",
            "receipt_differs",
            "receipt_not_suspended",
            "receipt_order_over",
            "sale_below_sold",
            "sale_not_open",
            "sale_of_campaign",
            "slips_too_many",
            "sold_out",
            "units_per_person_exceeded",
        },
        410: {"offer_over", "payment_too_late", "purchase_over", "sale_over"},
        422: {
            "report_invalid",
            "sale_beyond_frame",
            "sale_without_frame",
            "suspense_amount_differs",
        },
    }
)

_FILES: Final = MappingProxyType(
    {
        "receipts_callbacks": {"receipt_differs", "report_invalid", "report_unsigned"},
        "office_receipts": {
            "receipt_not_suspended",
            "receipt_order_over",
            "receipt_order_unknown",
            "sale_below_sold",
            "sale_beyond_frame",
            "sale_of_campaign",
            "sale_without_frame",
            "suspense_amount_differs",
        },
    }
)

ELSEWHERE: Final = MappingProxyType(
    {
        **{
            code: "tests/api/test_resident_purchases.py buys by phone for it"
            for codes in STATUSES.values()
            for code in codes
        },
        **{
            code: f"tests/api/test_{name}.py leads to it"
            for name, codes in _FILES.items()
            for code in codes
        },
    }
)
"""Codes that no request at the till leads to, and where they are met."""
