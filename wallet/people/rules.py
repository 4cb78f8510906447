"""The pure part of people: default ceilings, and the number that is printed on a card."""

from typing import Final

PAYMENT_LIMIT_YEN: Final = 100_000
DAILY_LIMIT_YEN: Final = 300_000
"""Ceilings of a new wallet; its holder may lower them."""

CARD_PAYMENT_LIMIT_YEN: Final = 3_000
CARD_DAILY_LIMIT_YEN: Final = 30_000
"""Ceilings of a new card: whoever finds it needs no PIN, so what they can take is small."""

PRINTED_DIGITS: Final = 12

_WEIGHTS: Final = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)


def my_number_check_digit(first_eleven: str) -> int:
    """Return the check digit that would make ``first_eleven`` digits a My Number.

    Source: Ministry of Internal Affairs ordinance 85 of 2014, article 5: weights 2 to 7 and then
    2 to 6 from the right; 0 when the remainder by 11 is 0 or 1, else 11 minus the remainder.
    """
    total = sum(int(digit) * weight for digit, weight in zip(first_eleven, _WEIGHTS, strict=True))
    remainder = total % 11
    return 0 if remainder <= 1 else 11 - remainder


def printed_number(random_number: int) -> str:
    """Return the 12 digits to print for a random number below 10^11.

    The last digit is five off the My Number check digit: a slip of the pen is still found, and no
    card can ever be mistaken for a My Number, by people or by a scrubber of logs.
    """
    first_eleven = f"{random_number:011}"
    return f"{first_eleven}{(my_number_check_digit(first_eleven) + 5) % 10}"


def is_printed_number(text: str) -> bool:
    """Whether ``text``, spaces and hyphens aside, is a number that a card can bear."""
    digits = text.replace(" ", "").replace("-", "")
    return (
        len(digits) == PRINTED_DIGITS
        and digits.isascii()
        and digits.isdigit()
        and printed_number(int(digits[:-1])) == digits
    )


def grouped(number: str) -> str:
    """Return ``1234 5678 9012``: three groups of four, as people read them out."""
    return " ".join(number[start : start + 4] for start in range(0, PRINTED_DIGITS, 4))
