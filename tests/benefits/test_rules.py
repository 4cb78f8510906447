"""What a row of a roster must say, and what of a grant is left, without a database."""

from datetime import date
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.benefits import BENEFIT, BORN, YEN, row
from wallet.benefits.rules import (
    CODE_ALPHABET,
    PER_HEAD_MAX_YEN,
    WRONG_WITH_A_ROW,
    Granted,
    RosterRow,
    read_claim_code,
    read_row,
    unspent_yen,
    written_code,
)
from wallet.benefits.secrets import new_claim_code
from wallet.core.my_number import my_number_check_digit

TODAY = date(2026, 11, 25)
DIGITS = "12345678901"
MY_NUMBER = f"{DIGITS}{my_number_check_digit(DIGITS)}"


def read(**changes: object) -> RosterRow | dict[str, str]:
    """Return what a row says, or its faults by column."""
    found = read_row(7, row(**changes), programme=BENEFIT, day=TODAY)
    if isinstance(found, RosterRow):
        return found
    assert {fault.row_number for fault in found} == {7}
    return {fault.field: fault.code for fault in found}


def test_a_good_row_says_whom_how_much_and_how() -> None:
    assert read(beneficiary_ref="hash-1", guardian_ref="hash-2", delivery="paper") == RosterRow(
        7, "hash-1", BORN, YEN, "birth", "hash-2", "paper", protected=False
    )


def test_full_width_and_other_ways_to_write_are_what_they_look_like() -> None:
    changes = {
        "beneficiary_ref": "ｒｅｆ－１",
        "amount": "１００００",
        "birthdate": "２０１９/０４/０１",
    }
    read_ = read(**changes, name_kana="ｼﾗｻｷﾞ ﾊﾅｺ", delivery="")
    assert read_ == RosterRow(7, "ref-1", BORN, YEN, "birth", None, "wallet", protected=False)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"beneficiary_ref": ""}, "missing"),
        ({"beneficiary_ref": "abc"}, "ref_invalid"),
        ({"beneficiary_ref": "山田 花子"}, "ref_invalid"),
        ({"beneficiary_ref": MY_NUMBER}, "my_number"),
        (
            {"beneficiary_ref": "-".join((MY_NUMBER[:4], MY_NUMBER[4:8], MY_NUMBER[8:]))},
            "my_number",
        ),
        ({"guardian_ref": MY_NUMBER}, "my_number"),
        ({"birthdate": ""}, "missing"),
        ({"birthdate": "2019-02-29"}, "date_invalid"),
        ({"birthdate": "2026-11-26"}, "date_invalid"),
        ({"birthdate": "1779-01-01"}, "date_invalid"),
        ({"birthdate": "平成31年4月1日"}, "date_invalid"),
        ({"amount": ""}, "missing"),
        ({"amount": "10,000"}, "amount_invalid"),
        ({"amount": "-1"}, "amount_invalid"),
        ({"amount": "1e4"}, "amount_invalid"),
        ({"amount": 0}, "amount_out_of_bounds"),
        ({"amount": PER_HEAD_MAX_YEN + 1}, "amount_out_of_bounds"),
        ({"reason_code": "出産"}, "reason_invalid"),
        ({"name_kana": "白鷺花子"}, "kana_invalid"),
        ({"programme_id": "other"}, "programme_other"),
        ({"delivery": "post"}, "delivery_unknown"),
        ({"contact_flag": "vip"}, "contact_flag_unknown"),
        ({"contact_flag": "deceased"}, "beneficiary_gone"),
        ({"contact_flag": "moved"}, "beneficiary_gone"),
    ],
)
def test_a_bad_cell_is_named_and_explained(changes: dict[str, object], code: str) -> None:
    (column,) = changes
    assert read(**changes) == {column: code}
    assert code in WRONG_WITH_A_ROW


def test_everything_that_is_wrong_with_a_row_is_said_at_once() -> None:
    assert read(beneficiary_ref="", amount="x", birthdate="x") == {
        "beneficiary_ref": "missing",
        "amount": "amount_invalid",
        "birthdate": "date_invalid",
    }


def test_a_hash_with_twelve_digits_in_it_is_no_my_number() -> None:
    assert isinstance(read(beneficiary_ref=f"a{MY_NUMBER}bc"), RosterRow)


def test_who_must_not_be_written_to_is_marked() -> None:
    marked = read(contact_flag="protected")
    assert isinstance(marked, RosterRow)
    assert marked.protected


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_stands_in_a_row_it_is_accepted_or_explained(ref: str, cell: str) -> None:
    for column in ("birthdate", "amount", "reason_code", "name_kana", "delivery", "contact_flag"):
        found = read(beneficiary_ref=ref, **{column: cell})
        assert isinstance(found, RosterRow) or found.keys() <= {"beneficiary_ref", column}


@given(st.text(alphabet=CODE_ALPHABET, min_size=12, max_size=12))
def test_a_code_is_read_as_it_was_written_however_it_is_typed(code: str) -> None:
    for typed in (code, written_code(code), code.lower(), f" {written_code(code)} "):
        assert read_claim_code(typed) == code


@pytest.mark.parametrize("typed", ["", "K7M2", "K7M2-3PQR-9XY1", "K7M2-3PQR-9XYZ-A", "あ" * 12])
def test_what_no_letter_has_is_no_code(typed: str) -> None:
    assert read_claim_code(typed) is None


def test_no_two_letters_have_the_same_code() -> None:
    codes = {new_claim_code() for _ in range(1_000)}
    assert len(codes) == 1_000
    assert all(read_claim_code(written_code(code)) == code for code in codes)


GRANTS = st.lists(
    st.integers(1, 1_000).flatmap(
        lambda yen: st.integers(0, yen).map(lambda back: Granted(uuid4(), yen, back))
    ),
    min_size=1,
    max_size=6,
)


@given(GRANTS, st.data())
def test_what_is_left_in_a_purse_is_shared_out_among_its_grants_exactly(
    grants: list[Granted], data: st.DataObject
) -> None:
    available_yen = data.draw(st.integers(0, sum(one.left_yen for one in grants)))
    shares = [unspent_yen(grants, one.id, available_yen=available_yen) for one in grants]
    assert sum(shares) == available_yen
    assert all(0 <= yen <= one.left_yen for yen, one in zip(shares, grants, strict=True))
    # Spent in the order they came: what is older has something left only if all newer is whole.
    for place, yen in enumerate(shares):
        if yen:
            newer = zip(shares[place + 1 :], grants[place + 1 :], strict=True)
            assert all(left == one.left_yen for left, one in newer)


def test_of_a_grant_that_went_elsewhere_nothing_is_left_here() -> None:
    assert unspent_yen([Granted(uuid4(), 100, 0)], UUID(int=1), available_yen=100) == 0
