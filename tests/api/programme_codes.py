"""Codes of programmes: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        404: {"draft_unknown", "programme_unknown"},
        409: {
            "draft_changed",
            "draft_in_review",
            "draft_state",
            "programme_not_live",
            "programme_unlawful",
        },
        422: {"base_date_invalid", "day_passed", "day_to_come", "programme_invalid"},
    }
)
"""What each code is answered with, and so what the consoles may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/api/test_office_programmes.py, through the doors of staff"
        for codes in STATUSES.values()
        for code in codes
    }
    | {"programme_not_live": "tests/programmes/test_run_due.py, where value is issued and sold"}
)
"""None of them is met at a till."""
