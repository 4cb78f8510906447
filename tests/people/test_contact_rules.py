"""Contacts are known however they are typed, and are nothing but contacts."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.moments import NOW
from tests.factories.residents import contact
from wallet.people.rules import (
    SET_UP_S,
    SUPPORT_ALPHABET,
    ContactKind,
    is_in_set_up,
    lives_here,
    masked,
    read_contact,
    read_support_code,
)

EMAIL, PHONE = ContactKind.EMAIL, ContactKind.PHONE


@pytest.mark.parametrize(
    ("typed", "value", "key"),
    [
        ("taro@example.jp", "taro@example.jp", "taro@example.jp"),
        (" Taro@Example.JP ", "Taro@example.jp", "taro@example.jp"),
        ("taro+kai@example.jp", "taro+kai@example.jp", "taro@example.jp"),
        ("ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ", "taro@example.jp", "taro@example.jp"),
        ("+tag@example.jp", "+tag@example.jp", "+tag@example.jp"),
    ],
)
def test_an_address_is_one_mailbox_however_it_is_spelt(typed: str, value: str, key: str) -> None:
    found = read_contact(EMAIL, typed)
    assert found is not None
    assert (found.value, found.key) == (value, key)


@pytest.mark.asvs("v5.0.0-1.3.11")
@pytest.mark.parametrize(
    "typed",
    [
        "", "@", "taro", "taro@", "@example.jp", "taro@localhost", "a b@example.jp",
        "taro@@example.jp", ".taro@example.jp", "taro..x@example.jp", "taro@-example.jp",
        "taro@example.j", "taro@exam_ple.jp", f"{'a' * 65}@example.jp", f"a@{'b' * 250}.jp",
        "taro\r\nBcc: all@example.jp", "123456789018@example.jp",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(typed: str) -> None:
    assert read_contact(EMAIL, typed) is None


@pytest.mark.parametrize(
    "typed",
    [
        "090-1234-5678",
        "09012345678",
        "０９０ー１２３４ー５６７８",
        "(090) 1234 5678",
        "+819012345678",
    ],
)
def test_a_number_is_one_telephone_however_it_is_written(typed: str) -> None:
    found = read_contact(PHONE, typed)
    assert found is not None
    assert found.value == found.key == "+819012345678"


@pytest.mark.parametrize(
    "typed",
    ["", "110", "123456789018", "1234 5678 9018", "00901234567", "+0123456789", "9012345678"],
)
def test_what_is_no_telephone_is_refused(typed: str) -> None:
    assert read_contact(PHONE, typed) is None


def test_the_owner_recognises_a_contact_and_nobody_else_can_use_it() -> None:
    assert masked(contact("taro@example.jp")) == "t•••@example.jp"
    assert masked(contact("090-1234-5678", PHONE)) == "•••5678"


@given(st.text(alphabet=SUPPORT_ALPHABET, min_size=8, max_size=8))
def test_a_support_code_is_understood_as_it_is_said(code: str) -> None:
    assert read_support_code(f" {code[:4].lower()}-{code[4:]} ") == code


@pytest.mark.parametrize("typed", ["", "K7M3", "K7M3-P2QX9", "K7M3-P2Q0", "K7M3P2QI"])
def test_what_is_no_support_code_is_refused(typed: str) -> None:
    assert read_support_code(typed) is None


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ({"region": "兵庫県", "locality": "姫路市"}, True),
        ({"region": "兵庫県", "locality": "姫路市安田四丁目"}, True),
        ({"formatted": "〒670-8501 兵庫県姫路市安田四丁目1番地"}, True),
        ({"formatted": "兵庫県 姫路市安田"}, True),
        ({"region": "兵庫県", "locality": "加古川市"}, False),
        ({"formatted": "東京都千代田区 姫路市会館 兵庫県姫路市"}, False),
        ({"region": "兵庫県"}, False),
        ({}, False),
    ],
)
def test_who_lives_here_is_told_by_prefecture_and_city(
    address: dict[str, str], *, here: bool
) -> None:
    assert lives_here(address, region="兵庫県", municipality="姫路市") is here


def test_a_new_account_is_set_up_on_its_first_phone_for_a_quarter_of_an_hour() -> None:
    later = NOW + timedelta(seconds=SET_UP_S - 1)
    assert is_in_set_up(opened_at=NOW, now=later, device_enrolled_at=NOW)
    assert not is_in_set_up(opened_at=NOW, now=later, device_enrolled_at=later)
    late = NOW + timedelta(seconds=SET_UP_S)
    assert not is_in_set_up(opened_at=NOW, now=late, device_enrolled_at=NOW)
