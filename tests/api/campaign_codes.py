"""Codes of campaigns, applications and draws: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        404: {"application_unknown", "campaign_unknown", "draw_unknown", "frame_unknown"},
        409: {
            "application_decided",
            "application_exists",
            "application_not_eligible",
            "applications_closed",
            "applications_not_checked",
            "applications_unchecked",
            "campaign_changed",
            "campaign_exists",
            "campaign_fixed",
            "campaign_frame_taken",
            "campaign_not_approved",
            "campaign_not_drawn",
            "campaign_not_drawn_again",
            "campaign_not_suspended",
            "campaign_not_told",
            "campaign_offers_open",
            "campaign_seed_missing",
            "campaign_shops_missing",
            "campaign_step_unknown",
            "campaign_suspended",
            "campaign_too_early",
            "draw_committed",
            "draw_listed",
            "draw_not_listed",
            "draw_not_now",
            "draw_revealed",
            "draw_too_early",
        },
        422: {"campaign_invalid", "draw_value_invalid", "reason_unknown", "units_too_many"},
    }
)
"""What each code is answered with, and so what apps and consoles may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/api/test_office_campaigns.py, through the doors of staff"
        for codes in STATUSES.values()
        for code in codes
    }
    | dict.fromkeys(
        (
            "application_exists",
            "application_not_eligible",
            "application_unknown",
            "applications_closed",
            "campaign_unknown",
            "frame_unknown",
            "units_too_many",
        ),
        "tests/api/test_resident_campaigns.py, through the doors of the app",
    )
)
"""None of them is met at a till."""
