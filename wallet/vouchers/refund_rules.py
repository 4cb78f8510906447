"""Why and how far buyers get their money back: pure rules of the refund to a programme's buyers.

What the city sells is exempt from the law on prepaid money, and so is what ends within six months;
the city decides by itself. What is not exempt may only be refunded in the cases of the cabinet
office's ordinance to Art. 20(5) of the Payment Services Act: up to a share of the half-year before,
or because the holder cannot use it any more (L-8), or as the programme is wound up (L-9).
"""

from datetime import date, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from wallet.core.refusals import Refusal
from wallet.programmes.legal import Regime


class Reason(StrEnum):
    """Why a buyer gets money back."""

    MOVING_AWAY = "moving_away"
    LEAVING_JAPAN = "leaving_japan"
    DEFECT = "defect"
    CLOSURE = "closure"


LIMITED: Final = frozenset({Reason.DEFECT})
"""Reasons that the law knows no exception for, so that their sum is limited."""


class Room(msgspec.Struct, frozen=True, gc=False):
    """What the law lets be refunded in the half-year that began on ``since``."""

    since: date
    allowed_yen: int


def check_ratio(
    regime: Regime, reason: Reason, *, paid_yen: int, refunded_yen: int, room: Room
) -> Refusal | None:
    """Return why ``paid_yen`` more would be beyond what may be refunded; ``refunded_yen`` was."""
    if regime is not Regime.REGULATED or reason not in LIMITED:
        return None
    left_yen = max(0, room.allowed_yen - refunded_yen)
    if paid_yen <= left_yen:
        return None
    return Refusal("buyer_refund_ratio", {"left_yen": left_yen, "rule": "L-8"})


def period_after(base_date: date) -> date:
    """Return the first day of the half-year after a base date."""
    return base_date + timedelta(days=1)
