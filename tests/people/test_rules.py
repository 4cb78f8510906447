"""The number printed on a card is nobody's My Number, and a slip of the pen is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.core.my_number import my_number_check_digit
from wallet.people.rules import grouped, printed_number, read_printed_number

random_numbers = st.integers(0, 10**11 - 1)


@given(random_numbers)
def test_a_printed_number_is_twelve_digits_and_never_a_my_number(random_number: int) -> None:
    number = printed_number(random_number)
    assert len(number) == 12
    assert number.isdigit()
    assert int(number[11]) != my_number_check_digit(number[:11])
    assert read_printed_number(number) == number


@given(random_numbers, st.integers(0, 11))
def test_of_nine_ways_to_miswrite_a_digit_at_least_eight_are_found(
    random_number: int, place: int
) -> None:
    number = printed_number(random_number)
    slips = [
        f"{number[:place]}{(int(number[place]) + n) % 10}{number[place + 1 :]}"
        for n in range(1, 10)
    ]
    assert sum(bool(read_printed_number(slip)) for slip in slips) <= 1


@given(random_numbers)
def test_a_number_is_known_as_it_is_printed_and_read_out(random_number: int) -> None:
    number = printed_number(random_number)
    assert grouped(number) == f"{number[:4]} {number[4:8]} {number[8:]}"
    assert read_printed_number(grouped(number)) == number
    assert read_printed_number(grouped(number).replace(" ", "-")) == number


@pytest.mark.parametrize(
    "text", ["", "12", "1234567890123", "abcdefghijkl", "１２３４５６７８９０１２", "²³4567890123"]
)
def test_what_is_no_number_is_not_taken_for_one(text: str) -> None:
    assert not read_printed_number(text)
