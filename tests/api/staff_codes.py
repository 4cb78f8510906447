"""Codes that only staff's doors tell: their statuses, and where each is met."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType(
    {
        401: {
            "reauthentication_required",
            "sign_in_refused",
            "sign_in_required",
        },
        403: {
            "approval_of_another",
            "approver_not_entitled",
            "enrolment_refused",
            "four_eyes",
            "own_affair",
            "permission_missing",
        },
        404: {
            "approval_unknown",
            "enrolment_unknown",
            "incident_unknown",
            "person_unknown",
            "session_unknown",
            "staff_unknown",
            "stop_unknown",
            "support_code_wrong",
        },
        409: {
            "approval_changed",
            "approval_decided",
            "approval_executed",
            "approval_missing",
            "approval_void",
            "approvals_too_many",
            "incident_closed",
            "incident_contact_missing",
            "passkey_last",
            "person_not_frozen",
            "release_not_requested",
            "release_requested",
            "report_not_owed",
            "reports_owed",
            "staff_exists",
            "stop_released",
        },
        410: {
            "approval_expired",
        },
        422: {
            "department_unknown",
            "incident_text_missing",
            "incident_time_invalid",
            "reason_missing",
            "reason_personal",
            "role_of_other_department",
            "role_unknown",
            "roles_incompatible",
            "stop_reason_missing",
            "stop_scope_unknown",
        },
        429: {
            "lookups_too_many",
        },
    }
)
"""What each code is answered with, and so what the consoles may rely on."""

ELSEWHERE: Final = MappingProxyType(
    {
        code: "tests/api/test_office_*.py and test_ops_*.py, through the doors of staff"
        for codes in STATUSES.values()
        for code in codes
    }
)
"""None of them is met at a till."""
