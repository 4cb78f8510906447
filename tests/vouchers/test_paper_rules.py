"""What stands on a sheet names that sheet and no other, and only the city can write it."""

from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.factories.moments import PEPPER
from tests.factories.programmes import frame, free_draft, voucher_draft
from wallet.core.my_number import contains_twelve_digits
from wallet.core.refusals import Refusal
from wallet.programmes.rules import Part
from wallet.vouchers.paper_rules import (
    BY_HAND,
    STEPS,
    SerialState,
    SheetCode,
    check_clearing,
    print_code,
    read_code,
    sheet_yen_of,
)

CODES = st.builds(SheetCode, st.integers(1, 99_999), st.integers(1, 999_999), st.integers(0, 99))


@given(CODES)
def test_what_is_printed_is_read_again(code: SheetCode) -> None:
    printed = print_code(code, pepper=PEPPER)
    for typed in (printed, printed.lower(), f" {printed} ", printed.translate(WIDE)):
        assert read_code(typed, pepper=PEPPER) == code


@given(CODES)
def test_no_code_looks_like_a_number_of_a_person(code: SheetCode) -> None:
    assert not contains_twelve_digits(print_code(code, pepper=PEPPER))


@given(CODES, st.data())
def test_one_slip_of_the_pen_names_nothing(code: SheetCode, data: st.DataObject) -> None:
    printed = print_code(code, pepper=PEPPER)
    place = data.draw(st.integers(0, len(printed) - 1))
    letter = data.draw(st.sampled_from("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"))
    slip = printed[:place] + letter + printed[place + 1 :]
    assume(slip != printed)
    # Four letters leave one slip in a million; hypothesis does not find it by trying.
    assert read_code(slip, pepper=PEPPER) is None


def test_under_another_key_nothing_is_read() -> None:
    printed = print_code(SheetCode(12, 345, 7), pepper=PEPPER)
    assert printed.startswith("0012-000345/07-")
    assert read_code(printed, pepper=PEPPER + b"!") is None


@pytest.mark.parametrize(
    "text", ["", "0012-000345/07", "0012-000345/07-", "12-345/7-K7M2", "0012-000345/07-K7M2\x00"]
)
def test_what_is_no_code_is_none(text: str) -> None:
    assert read_code(text, pepper=PEPPER) is None


def test_sheets_share_the_face_value_evenly_or_there_are_none() -> None:
    terms = voucher_draft().terms
    assert sheet_yen_of(terms, sheets=10) == 625
    assert sheet_yen_of(terms, sheets=1) == 6_250
    uneven = sheet_yen_of(terms, sheets=12)
    assert uneven == Refusal("paper_sheets_uneven", {"face_yen": 6_250, "sheets": 12})


def test_money_of_several_classes_is_not_on_paper() -> None:
    parts = (Part(programme="a", paid_yen=5_000), Part(programme="b", paid_yen=0, premium_yen=1))
    draft = voucher_draft(frame_=frame()).terms
    assert draft.frame is not None
    mixed = type(draft.frame)(
        price_yen=5_000, face_yen=5_001, sets_total=1, sets_per_person=1, parts=parts
    )
    assert sheet_yen_of(voucher_draft(frame_=mixed).terms, sheets=1) == Refusal(
        "paper_without_frame"
    )
    assert sheet_yen_of(free_draft().terms, sheets=1) == Refusal("paper_without_frame")


def test_clearing_lasts_as_long_as_use_or_longer() -> None:
    terms = voucher_draft().terms
    assert check_clearing(terms, clearing_until=date(2027, 3, 31)) is None
    assert check_clearing(terms, clearing_until=date(2027, 3, 30)) == Refusal(
        "paper_clearing_too_short", {"last_day": date(2027, 3, 31)}
    )


def test_every_state_has_its_steps_and_three_are_the_end() -> None:
    assert STEPS.keys() == set(SerialState)
    ends = {state for state, steps in STEPS.items() if not steps}
    assert ends == {SerialState.USED, SerialState.CANCELLED, SerialState.LOST}


def test_nothing_is_sold_or_used_by_hand() -> None:
    assert BY_HAND.isdisjoint({SerialState.SOLD, SerialState.USED, SerialState.PRINTED})


WIDE = {ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}
