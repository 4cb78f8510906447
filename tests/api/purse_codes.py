"""Codes of the end of money: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        409: {
            "buyer_refund_nothing_left",
            "buyer_refund_ratio",
            "extension_reaches_nobody",
            "extension_too_late",
            "extension_under_way",
            "extension_unlawful",
            "payment_not_refundable",
            "payment_refunded",
            "refund_exceeds_payment",
            "refund_of_paper",
            "refund_purse_expired",
        },
        422: {"buyer_refund_too_many", "extension_day_invalid"},
    }
)
"""What each code is answered with, and so what the consoles may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/api/test_office_purses.py, through the doors of staff"
        for codes in STATUSES.values()
        for code in codes
    }
    | {
        "buyer_refund_nothing_left": "tests/vouchers/test_refund_buyers.py, where it is kept",
        "buyer_refund_ratio": "tests/vouchers/test_refund_buyers.py, where it is kept",
        "buyer_refund_too_many": "tests/vouchers/test_refund_buyers.py; a door counts before",
        "payment_not_refundable": "tests/payments/test_refund.py",
        "payment_refunded": "tests/payments/test_refund.py",
        "refund_exceeds_payment": "tests/payments/test_refund.py",
        "refund_of_paper": "tests/payments/test_refund_rules.py",
        "refund_purse_expired": "tests/payments/test_refund.py",
    }
)
"""None of them is met at a till."""
