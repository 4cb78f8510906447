"""Codes that the doors of points tell: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        402: {"charge_first_card", "gift_limit_daily", "gift_limit_monthly", "gift_limit_transfer"},
        403: {
            "charge_cooling_off",
            "charge_not_allowed",
            "exchange_not_allowed",
            "gift_cooling_off",
            "gift_not_allowed",
            "gift_not_for_tier",
            "holder_not_eligible",
        },
        404: {
            "event_code_unknown",
            "event_unknown",
            "gift_code_unknown",
            "gift_receiver_unknown",
            "gift_unknown",
            "shop_unknown",
            "steps_not_counted",
        },
        409: {
            "balance_limit",
            "event_attended",
            "event_code_used",
            "event_full",
            "gift_claimed",
            "gift_receiver_full",
            "gift_to_self",
            "points_exhausted",
            "steps_other_device",
        },
        410: {"event_closed", "event_code_not_today", "gift_over", "points_over"},
        422: {
            "event_days_invalid",
            "exchange_too_small",
            "step_ladder_invalid",
            "steps_not_today",
            "takings_to_self",
        },
        423: {"gift_on_hold"},
    }
)
"""What each code is answered with, and so what the app and consoles may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/points decides it; tests/api/test_*_points.py ask through the doors"
        for codes in STATUSES.values()
        for code in codes
    }
)
"""None of them is met at a till."""
