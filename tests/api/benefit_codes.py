"""Codes that the doors of benefits tell: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        403: {"claim_not_proven"},
        404: {
            "benefit_grant_unknown",
            "benefit_offer_unknown",
            "benefit_programme_unknown",
            "benefit_run_unknown",
        },
        409: {
            "beneficiary_known",
            "benefit_budget_short",
            "benefit_run_changed",
            "benefit_run_empty",
            "benefit_run_not_approved",
            "benefit_run_not_draft",
            "claw_back_too_much",
            "claw_back_under_way",
        },
        422: {
            "beneficiary_ref_invalid",
            "benefit_claim_until_invalid",
            "benefit_period_invalid",
            "benefit_rows_invalid",
            "claim_code_wrong",
            "roster_columns",
            "roster_empty",
            "roster_too_large",
            "roster_unreadable",
        },
    }
)
"""What each code is answered with, and so what consoles and the app may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/api/test_office_benefits.py and test_resident_benefits.py"
        for codes in STATUSES.values()
        for code in codes
    }
)
"""None of them is met at a till."""
