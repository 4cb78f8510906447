"""The pure part of issuing: what a set is made of, and who may still have how many."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.refusals import Refusal
from wallet.ledger.rules import Transfer
from wallet.programmes.rules import SCHEDULED, Funding, Part, Programme
from wallet.programmes.terms import expires_on_of

PORTIONS_MAX: Final = 14
"""Portions of one issue: its transfers' ids are the issue's id + 1 and so on.

A frame of one programme makes two of them; one of seven parts, two of each.
"""


class IssueRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Value to issue to a wallet: sets of a programme with a frame, free yen of one without.

    ``issue_id`` is the caller's, made by :func:`align_id`; it makes a repeat a repeat.
    """

    issue_id: UUID
    wallet_id: UUID
    programme: str
    sets: int = 0
    amount_yen: int = 0

    def __post_init__(self) -> None:
        """Refuse an id whose transfers would have no room."""
        if self.issue_id.bytes[15] & 0x0F:
            message = f"make the id {self.issue_id} with align_id"
            raise ValueError(message)


class Source(StrEnum):
    """Which account of the programme a portion comes from."""

    CLEARING = "clearing"
    BUDGET = "budget"


class Portion(msgspec.Struct, frozen=True):
    """The part of an issue that goes into one purse, as money of one programme."""

    programme: Programme
    funding: Funding
    source: Source
    amount_yen: int


def portions_of(
    request: IssueRequest,
    programme: Programme,
    companions: Mapping[str, Programme] = MappingProxyType({}),
) -> list[Portion] | Refusal:
    """Return what goes where, or why this programme is not issued like that.

    ``companions`` are the programmes of the frame's parts, by their codes. What is paid for in
    the programme itself comes first: its sets are counted by that.
    """
    frame = programme.frame
    if frame is None:
        if request.sets or request.amount_yen < 1:
            return Refusal("issue_amount_expected", {"programme": programme.code})
        return [Portion(programme, Funding.FREE, Source.BUDGET, request.amount_yen)]
    if request.amount_yen or request.sets < 1:
        return Refusal("issue_sets_expected", {"programme": programme.code})
    portions = []
    for part in parts_of(programme):
        of = programme if part.programme == programme.code else companions.get(part.programme)
        if of is None:
            return Refusal("programme_unknown", {"programme": part.programme})
        paid = Portion(of, Funding.PAID, Source.CLEARING, part.paid_yen * request.sets)
        premium = Portion(of, Funding.PREMIUM, Source.BUDGET, part.premium_yen * request.sets)
        portions += [portion for portion in (paid, premium) if portion.amount_yen]
    return portions


def parts_of(programme: Programme) -> list[Part]:
    """Return what a set of the programme's frame is made of, its own part first.

    A frame without parts is one part; raises ValueError for a programme without a frame, and for
    one whose frame has no paid part of its own, by which its sets could be counted.
    """
    frame = programme.frame
    if frame is None:
        message = f"programme {programme.code} has no frame"
        raise ValueError(message)
    if not frame.parts:
        premium_yen = frame.face_yen - frame.price_yen
        return [Part(programme=programme.code, paid_yen=frame.price_yen, premium_yen=premium_yen)]
    own = [part for part in frame.parts if part.programme == programme.code and part.paid_yen]
    if not own:
        message = f"the frame of {programme.code} has no paid part of its own"
        raise ValueError(message)
    return own + [part for part in frame.parts if part.programme != programme.code]


def check_period(programme: Programme, *, day: date) -> Refusal | None:
    """Refuse to issue what can no longer be spent; before the first day is early, not late.

    What is scheduled is not there yet, whatever its days say.
    """
    if programme.state == SCHEDULED:
        return Refusal("programme_not_live", {"programme": programme.code})
    last_day = expires_on_of(programme.terms, day)
    return Refusal("outside_period", {"last_day": last_day}) if day > last_day else None


def check_quotas(
    programme: Programme, *, sets: int, wallet_sets: int, programme_sets: int
) -> Refusal | None:
    """Refuse more sets than one person may have, or than there are.

    ``wallet_sets`` and ``programme_sets`` have been issued already.
    """
    frame = programme.frame
    if frame is None:
        return None
    left_sets = max(0, frame.sets_per_person - wallet_sets)
    if sets > left_sets:
        facts = {"sets_per_person": frame.sets_per_person, "left_sets": left_sets}
        return Refusal("sets_per_person_exceeded", facts)
    left_sets = max(0, frame.sets_total - programme_sets)
    return Refusal("sets_sold_out", {"left_sets": left_sets}) if sets > left_sets else None


def is_repeat(request: IssueRequest, booked: Transfer, programme: Programme) -> bool:
    """Whether the first transfer booked under the request's id came of the same request."""
    return (
        booked.user_data_128 == request.wallet_id
        and booked.user_data_32 == programme.number
        and booked.user_data_64 == request.sets
        and (request.sets > 0 or booked.amount == request.amount_yen)
    )
