"""My Numbers, which the city may not keep: how they are told from other numbers.

The Act on the Use of Numbers to Identify a Specific Individual (番号利用法, article 20) forbids
whoever has no purpose named in it to collect them, and nothing here has one.
"""

import re
import unicodedata
from typing import Final

_WEIGHTS: Final = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)

TWELVE_DIGITS: Final = r"(?<![0-9+])(?=((?:[0-9][ -]?){11}[0-9])(?![0-9]))"
"""Twelve digits by themselves, or in groups as people write them; a telephone number with its
country's code is no such thing. What is found stands in the first group."""

_DASHES: Final = str.maketrans(dict.fromkeys("ー−‐‑‒–—", "-"))

_FORM: Final = re.compile(TWELVE_DIGITS)
_TWELVE_OR_MORE: Final = re.compile(r"([0-9][ -]?){11}[0-9]")


def my_number_check_digit(first_eleven: str) -> int:
    """Return the check digit that would make ``first_eleven`` digits a My Number.

    Source: Ministry of Internal Affairs ordinance 85 of 2014, article 5: weights 2 to 7 and then
    2 to 6 from the right; 0 when the remainder by 11 is 0 or 1, else 11 minus the remainder.
    """
    total = sum(int(digit) * weight for digit, weight in zip(first_eleven, _WEIGHTS, strict=True))
    remainder = total % 11
    return 0 if remainder <= 1 else 11 - remainder


def is_my_number(written: str) -> bool:
    """Whether twelve digits, with spaces and hyphens between them or without, could be one."""
    digits = written.replace(" ", "").replace("-", "")
    return my_number_check_digit(digits[:11]) == int(digits[11])


def contains_my_number(text: str) -> bool:
    """Whether twelve digits in ``text`` could be somebody's My Number, by their check digit."""
    return any(is_my_number(found[1]) for found in _FORM.finditer(_plain(text)))


def contains_twelve_digits(text: str) -> bool:
    """Whether there are twelve digits in ``text``, whatever they say and however many more follow.

    What this lets through, the condition of :func:`refused_in` does too.
    """
    return _TWELVE_OR_MORE.search(_plain(text)) is not None


def refused_in(column: str) -> str:
    """Return the SQL condition that a column of text holds no twelve digits at all.

    The schema knows no check digit; what people call a thing has no need of so many digits.
    """
    digit, gap = "[0-9０-９]", "[ 　ー−-]?"
    return f"{column} !~ '({digit}{gap}){{11}}{digit}'"


def _plain(text: str) -> str:
    """Return ``text`` with digits, spaces and dashes of any width as the plain ones."""
    return unicodedata.normalize("NFKC", text).translate(_DASHES)
