"""My Numbers are told from other numbers by their check digit, however they are written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.core.my_number import (
    contains_my_number,
    contains_twelve_digits,
    is_my_number,
    my_number_check_digit,
    refused_in,
)

# Well formed, and made up.
SPECIMEN = "123456789018"

PATTERN = refused_in("name").split("'")[1]
"""What the schema refuses in a column of text; PostgreSQL and Python read it alike."""


@pytest.mark.parametrize(
    ("first_eleven", "digit"),
    [
        # By hand: the sums are 212, 423, 0, 6 and 12; the remainders 3, 5, 0, 6 and 1.
        ("12345678901", 8),
        ("99999999999", 6),
        ("00000000000", 0),
        ("10000000000", 5),
        ("20000000000", 0),
    ],
)
def test_the_check_digit_is_the_ordinances(first_eleven: str, digit: int) -> None:
    assert my_number_check_digit(first_eleven) == digit


@given(st.integers(0, 10**11 - 1), st.integers(0, 9))
def test_one_last_digit_of_ten_makes_a_my_number(first: int, last: int) -> None:
    first_eleven = f"{first:011}"
    expected = my_number_check_digit(first_eleven) == last
    assert is_my_number(f"{first_eleven}{last}") is expected


@pytest.mark.parametrize(
    "text",
    [
        SPECIMEN,
        "1234 5678 9018",
        "1234-5678-9018",
        "番号は123456789018です",
        "１２３４５６７８９０１８",
        "a=1, b=123456789018, c=2",
    ],
)
def test_a_my_number_is_found_however_it_is_written(text: str) -> None:
    assert contains_my_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "123456789017",
        "1234567890123",
        "+123456789012",
        "A1234 5678 9012B",
        "１２３４５６ー７８９０１２",
    ],
)
def test_twelve_digits_are_found_whatever_stands_around_them(text: str) -> None:
    assert contains_twelve_digits(text)
    assert re.search(PATTERN, text)


@given(st.text("0123456789０９ 　ー−-+x", max_size=30))
def test_whatever_the_schema_refuses_is_found_before(text: str) -> None:
    if re.search(PATTERN, text):
        assert contains_twelve_digits(text)


@pytest.mark.parametrize(
    "text",
    ["", "123456789017", "1234567890180", "0123456789018", "+123456789018", "12345678901"],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert not contains_my_number(text)
