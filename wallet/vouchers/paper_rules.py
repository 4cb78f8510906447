"""The pure part of paper vouchers: what is printed on a sheet, and what may become of a booklet.

A code such as ``0012-000345/07-K7M2`` names the batch, the booklet in it and the sheet, and ends in
four letters that only the city can make: whoever copies a sheet, or misreads one, does not hit
another sheet's. Sheet 00 is the cover, by which a booklet is sold.
"""

import hmac
import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import msgspec

from wallet.core.refusals import Refusal
from wallet.core.sealing import derived_key
from wallet.people.rules import SUPPORT_ALPHABET
from wallet.programmes.terms import Terms

BOOKLETS_PER_BATCH_MAX: Final = 10_000
SHEETS_MAX: Final = 99
COVER: Final = 0

_LETTERS: Final = 4
# Eleven digits at most, and then a slash: nobody takes them for a My Number, which has twelve.
_CODE: Final = re.compile(
    rf"([0-9]{{4,5}})-([0-9]{{6}})/([0-9]{{2}})-([{SUPPORT_ALPHABET}]{{{_LETTERS}}})"
)


class SerialState(StrEnum):
    """Where a booklet is on its way."""

    PRINTED = "printed"
    SHIPPED = "shipped"
    SOLD = "sold"
    USED = "used"
    RETURNED = "returned"
    CANCELLED = "cancelled"
    LOST = "lost"


STEPS: Final[Mapping[SerialState, frozenset[SerialState]]] = MappingProxyType(
    {
        SerialState.PRINTED: frozenset({SerialState.SHIPPED, SerialState.CANCELLED}),
        SerialState.SHIPPED: frozenset(
            {SerialState.SOLD, SerialState.RETURNED, SerialState.CANCELLED, SerialState.LOST}
        ),
        SerialState.RETURNED: frozenset({SerialState.SHIPPED, SerialState.CANCELLED}),
        # What was sold and is lost pays no shop any more; the money falls to the city in the end.
        SerialState.SOLD: frozenset({SerialState.USED, SerialState.LOST}),
        SerialState.USED: frozenset(),
        SerialState.CANCELLED: frozenset(),
        SerialState.LOST: frozenset(),
    }
)
"""What a booklet may become next. It is sold by a sale and used by its sheets, not by hand."""

BY_HAND: Final = frozenset(
    {SerialState.SHIPPED, SerialState.RETURNED, SerialState.CANCELLED, SerialState.LOST}
)


class SheetCode(msgspec.Struct, frozen=True, gc=False):
    """What is printed on a sheet, the letters aside."""

    batch: int
    number: int
    sheet: int


def print_code(code: SheetCode, *, pepper: bytes) -> str:
    """Return the code as it is printed."""
    named = f"{code.batch:04}-{code.number:06}/{code.sheet:02}"
    return f"{named}-{_letters(named, pepper)}"


def read_code(text: str, *, pepper: bytes) -> SheetCode | None:
    """Return the code that was typed or scanned, None when the city has printed no such one."""
    plain = unicodedata.normalize("NFKC", text).strip().upper()
    found = _CODE.fullmatch(plain)
    if found is None:
        return None
    code = SheetCode(*map(int, found.groups()[:-1]))
    printed = print_code(code, pepper=pepper)
    return code if hmac.compare_digest(printed, plain) else None


def sheet_yen_of(terms: Terms, *, sheets: int) -> int | Refusal:
    """Return what one of a booklet's sheets is worth, in yen; all are worth the same.

    Refuses with ``paper_without_frame`` a programme that has no sets, or sets of several classes,
    and with ``paper_sheets_uneven`` when the face value does not divide.
    """
    frame = terms.frame
    if frame is None or frame.parts:
        return Refusal("paper_without_frame")
    if frame.face_yen % sheets:
        return Refusal("paper_sheets_uneven", {"face_yen": frame.face_yen, "sheets": sheets})
    return frame.face_yen // sheets


def check_clearing(terms: Terms, *, clearing_until: date) -> Refusal | None:
    """Refuse a clearing that ends before the last day on which a shop may take a sheet."""
    last_day = terms.spending.last_day
    if clearing_until < last_day:
        return Refusal("paper_clearing_too_short", {"last_day": last_day})
    return None


def _letters(named: str, pepper: bytes) -> str:
    key = derived_key(purpose="paper sheet", pepper=pepper)
    digest = blake2b(named.encode("ascii"), key=key, digest_size=_LETTERS).digest()
    return "".join(SUPPORT_ALPHABET[byte % len(SUPPORT_ALPHABET)] for byte in digest)
