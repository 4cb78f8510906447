"""All doors of staff, for the plane that opens them.

The plane sets ``application.state.office`` to an :class:`~wallet.api.office_guard.Office` when it
starts, and calls :func:`~wallet.api.office_openapi.describe_office` once the doors are hung.
"""

from typing import Final

from fastapi import APIRouter

from wallet.api import (
    office_applications,
    office_approvals,
    office_audit,
    office_benefit_rows,
    office_benefits,
    office_campaigns,
    office_cards,
    office_me,
    office_numbers,
    office_paper,
    office_people,
    office_points,
    office_programmes,
    office_purses,
    office_receipts,
    office_sign_in,
    ops_incidents,
    ops_sessions,
    ops_staff,
    ops_stops,
)

STAFF_ROUTERS: Final[tuple[APIRouter, ...]] = (
    office_sign_in.router,
    office_me.router,
    office_people.router,
    office_receipts.router,
    office_points.router,
    office_approvals.router,
    office_programmes.router,
    office_purses.router,
    office_audit.router,
    office_campaigns.router,
    office_applications.router,
    office_cards.router,
    office_paper.router,
    office_numbers.router,
    office_benefits.router,
    office_benefit_rows.router,
    ops_staff.router,
    ops_stops.router,
    ops_incidents.router,
    ops_sessions.router,
)

OPEN_PATHS: Final = frozenset(
    {
        "/office/v1/sign-in/options",
        "/office/v1/sign-in",
        "/office/v1/refresh",
        "/office/v1/enrolment/options",
        "/office/v1/enrolment",
    }
)
"""Where nobody has a session yet. Every other door of staff asks for one."""
