"""Codes of cards, paper and numbers: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        404: {
            "batch_unknown",
            "card_number_unknown",
            "paper_entry_unknown",
            "paper_shop_unknown",
            "paper_unknown",
        },
        409: {
            "batch_cancelled",
            "batch_shipped",
            "card_cooling_off",
            "card_of_another",
            "card_replaced",
            "cards_too_many",
            "paper_sold_out",
            "paper_state",
        },
        422: {
            "card_order_invalid",
            "card_pin_wrong",
            "paper_clearing_too_short",
            "paper_sheets_uneven",
            "paper_without_frame",
            "period_invalid",
        },
    }
)
"""What each code is answered with, and so what consoles and the app may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/api/test_office_cards.py, _paper.py, _numbers.py and test_resident_cards.py"
        for codes in STATUSES.values()
        for code in codes
    }
)
"""None of them is met at a till."""
