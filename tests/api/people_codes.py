"""Codes that the app's doors tell people: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        401: {
            "credentials_wrong",
            "pin_wrong",
            "proof_replayed",
            "signed_out",
            "step_up_expired",
            "step_up_failed",
            "step_up_insufficient",
            "step_up_mismatch",
            "step_up_not_passed",
            "step_up_required",
            "step_up_unknown",
            "step_up_used",
        },
        403: {
            "factor_not_enrolled",
            "helper_not_proven",
            "identity_not_accepted",
            "identity_other_person",
            "passkey_refused",
        },
        404: {
            "device_unknown",
            "helper_unknown",
            "identity_unknown",
            "invitation_unknown",
            "passkey_unknown",
            "totp_unknown",
            "wallet_unknown",
        },
        409: {
            "contact_in_use",
            "device_key_taken",
            "devices_too_many",
            "helper_of_self",
            "helpers_too_many",
            "identity_already_used",
            "passkey_known",
            "step_up_dead",
            "step_up_passed",
        },
        410: {"identity_flow_unknown"},
        422: {
            "contact_code_wrong",
            "contact_invalid",
            "device_key_invalid",
            "factor_missing",
            "helper_limits",
            "my_number_refused",
            "otp_wrong",
            "password_guessable",
            "password_leaked",
            "password_too_short",
            "password_unusable",
            "pin_malformed",
            "pin_weak",
            "request_invalid",
        },
        423: {"account_frozen"},
        429: {"push_too_often", "sign_in_busy", "too_many_tries"},
        503: {"identity_app_unavailable"},
    }
)
"""What each code is answered with, and so what the app may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/api/test_resident_*.py, through the doors of the app"
        for codes in STATUSES.values()
        for code in codes
    }
)
"""None of them is met at a till."""
