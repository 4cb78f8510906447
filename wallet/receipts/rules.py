"""The pure part of receipts: ways to pay, their times and numbers, and what money is for.

Amounts are yen, moments are microseconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.clock import MICROSECONDS

SHARES_MAX: Final = 7
"""Programmes that one order may be for: their transfers are the receipt's id + 1 to + 7."""

SUSPENDED_NUMBER: Final = 8
"""What matches nothing is booked under the receipt's id + 8."""

SETTLED_NUMBER: Final = 9
"""What becomes of it, from the receipt's id + 9 on: so the ledger itself books it only once."""

REFERENCE_DIGITS: Final = 18
"""Digits of a reference, the check digit at the end among them."""


class Purpose(StrEnum):
    """What is paid for; the room above that asked fulfils it."""

    VOUCHER = "voucher"
    CHARGE = "charge"


class Method(StrEnum):
    """How somebody pays, and so which provider reports it."""

    CONVENIENCE = "convenience"
    CARD = "card"
    BANK = "bank"


RECEIPTS_ACCOUNT_IDS: Final[Mapping[str, UUID]] = MappingProxyType(
    {
        Method.CONVENIENCE: UUID("00000000-0000-7000-8000-000000000121"),
        Method.CARD: UUID("00000000-0000-7000-8000-000000000122"),
        Method.BANK: UUID("00000000-0000-7000-8000-000000000123"),
    }
)
"""What each provider has taken in: one account each, to hold against the provider's own list."""

SUSPENSE_ACCOUNT_ID: Final = UUID("00000000-0000-7000-8000-000000000130")

_PAYABLE_S: Final[Mapping[str, int]] = MappingProxyType({Method.CARD: 30 * 60})
_GRACE_S: Final[Mapping[str, int]] = MappingProxyType(
    {Method.CONVENIENCE: 2 * 3_600, Method.CARD: 15 * 60, Method.BANK: 24 * 3_600}
)
"""How long after the end of an order money that was paid in time may still be reported."""

SHORTEST_GRACE_US: Final = min(_GRACE_S.values()) * MICROSECONDS
"""What is left of the time to pay by when even the quickest provider can no longer report."""


def last_payable(method: Method, *, ends_us: int) -> int:
    """Return until when one may pay so that all money has been reported before ``ends_us``."""
    return ends_us - _GRACE_S[method] * MICROSECONDS


def times_of(method: Method, *, now_us: int, deadline_us: int) -> tuple[int, int]:
    """Return until when an order may be paid, and when it is closed if it was not.

    A card is asked for while somebody looks at the page; the others have until the deadline.
    """
    payable_s = _PAYABLE_S.get(method)
    expires_us = deadline_us
    if payable_s is not None:
        expires_us = min(expires_us, now_us + payable_s * MICROSECONDS)
    return expires_us, expires_us + _GRACE_S[method] * MICROSECONDS


def check_digit(digits: str) -> str:
    """Return the check digit of the Luhn algorithm (ISO/IEC 7812-1, Annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * 2 if place % 2 == 0 else int(digit)
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004 - the sum of two digits
    return str(-total % 10)


def reference_of(number: int) -> str:
    """Return the reference that ``number`` makes: :data:`REFERENCE_DIGITS` with a check digit.

    People copy it from a screen to a machine, and one wrong digit must not be another's order.
    """
    digits = f"{number % 10 ** (REFERENCE_DIGITS - 1):0{REFERENCE_DIGITS - 1}d}"
    return digits + check_digit(digits)


def is_reference(text: str) -> bool:
    """Whether ``text`` could be a reference of ours."""
    fits = len(text) == REFERENCE_DIGITS and text.isascii() and text.isdecimal()
    return fits and check_digit(text[:-1]) == text[-1]


class Share(msgspec.Struct, frozen=True, gc=False):
    """The part of an order's amount that is for one programme."""

    programme_id: UUID
    amount_yen: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody was asked to pay, as far as a receipt looks at it."""

    id: UUID
    purpose: str
    reference_id: UUID
    amount_yen: int
    shares: tuple[Share, ...]
    method: str
    state: str


class Arrival(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Money that a provider reports: how much, and whether its card's holder was asked."""

    provider: str
    amount_yen: int
    authenticated: bool


class Match(msgspec.Struct, frozen=True, gc=False):
    """How much of a receipt pays its order, and how much matches nothing, and why."""

    matched_yen: int
    suspended_yen: int
    because: str | None


def match(order: Order | None, arrival: Arrival) -> Match:
    """Return what an arrival is for.

    An order is paid by exactly its amount: what is beyond it is the payer's, and what falls short
    of it pays nothing. A payment by card without 3-D Secure can be taken back by the card's holder
    at any time, so nothing is given for it before somebody has looked at it. Money for an order
    that still waits is taken even after its time, as whatever it is for is still kept.
    """
    because = _refuse(order, arrival)
    if order is None or because is not None:
        return Match(0, arrival.amount_yen, because)
    surplus_yen = arrival.amount_yen - order.amount_yen
    return Match(order.amount_yen, surplus_yen, "over" if surplus_yen else None)


def _refuse(order: Order | None, arrival: Arrival) -> str | None:
    if order is None or order.method != arrival.provider:
        return "unknown"
    if order.state == "paid":
        return "paid_before"
    if order.state != "waiting":
        return "order_over"
    if not arrival.authenticated and order.method == Method.CARD:
        return "unauthenticated"
    return "under" if arrival.amount_yen < order.amount_yen else None


def fill(amounts_yen: Sequence[int], shares: Sequence[Share]) -> list[list[Share]]:
    """Return for each amount, in order, which shares it fills, and by how much.

    Amounts and shares must have the same sum; an amount begins where the one before it ended.
    """
    filled: list[list[Share]] = []
    left = [share.amount_yen for share in shares]
    place = 0
    for amount_yen in amounts_yen:
        pieces = []
        missing = amount_yen
        while missing:
            piece = min(missing, left[place])
            pieces.append(Share(shares[place].programme_id, piece))
            missing -= piece
            left[place] -= piece
            if left[place] == 0:
                place += 1
        filled.append(pieces)
    return filled
