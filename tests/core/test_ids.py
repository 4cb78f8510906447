"""Identifiers: the layout of RFC 9562, the order of time, and the form that leaves the house."""

import hashlib
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.moments import NOW_US
from wallet.core.ids import (
    keyed_hash,
    new_id,
    new_secret,
    parse_public_id,
    public_id,
)

MOMENTS = st.integers(0, 2**48 * 1000 - 1)
"""Every moment that 48 bits of milliseconds can name, up to the year 10889."""


@given(now_us=MOMENTS)
def test_an_id_has_the_layout_of_version_7(now_us: int) -> None:
    made = new_id(now_us=now_us)
    milliseconds, microseconds = divmod(now_us, 1000)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == milliseconds
    assert (made.int >> 64) & 0xFFF == microseconds * 4096 // 1000


@given(moments=st.lists(MOMENTS, min_size=2, max_size=20, unique=True))
def test_ids_sort_by_the_microsecond_they_were_made_at(moments: list[int]) -> None:
    made = [new_id(now_us=moment) for moment in sorted(moments)]
    assert made == sorted(made)
    assert [one.bytes for one in made] == sorted(one.bytes for one in made)


def test_ids_of_one_moment_are_all_different() -> None:
    made = {new_id(now_us=NOW_US) for _ in range(2_000)}
    assert len(made) == 2_000
    assert len({one.int >> 64 for one in made}) == 1


def test_an_id_is_equal_to_its_plain_form() -> None:
    made = new_id(now_us=NOW_US)
    plain = UUID(str(made))
    assert made == plain
    assert {made: 1}[plain] == 1


def test_a_public_id_is_read_back() -> None:
    made = new_id(now_us=NOW_US)
    text = public_id("pay", made)
    assert re.fullmatch(r"pay_[0-9a-f]{32}", text)
    assert parse_public_id("pay", text) == made


HEX = "0193" * 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pay",
        "pay_",
        HEX,
        f"_{HEX}",
        f"ter_{HEX}",
        f"pay-{HEX}",
        f"pay_{HEX[:-1]}",
        f"pay_{HEX}0",
        f"pay_{HEX[:-1]}g",
        f"pay_{HEX[:-4].upper()}ABCD",
        f"pay_{HEX[:-2]} 0",
        f"pay_{HEX[:-1]}\n",
        f"pay_ {HEX[2:]} ",
        f"pay_{'０' * 32}",
        f"pay_{HEX[:8]}-{HEX[8:31]}",
        f" pay_{HEX}",
        f"pay__{HEX[1:]}",
    ],
)
def test_anything_else_is_no_public_id(text: str) -> None:
    assert parse_public_id("pay", text) is None


@given(text=st.text() | st.from_regex(r"pay_[0-9a-fA-F \-]{30,34}", fullmatch=True))
def test_reading_a_public_id_never_raises_and_never_reads_two_ways(text: str) -> None:
    parsed = parse_public_id("pay", text)
    assert parsed is None or public_id("pay", parsed) == text


@pytest.mark.asvs("v5.0.0-11.5.1")
def test_a_secret_has_a_prefix_and_160_bits_that_nobody_repeats() -> None:
    made = {new_secret("code_") for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(r"code_[a-z2-7]{32}", one) for one in made)


@pytest.mark.asvs("v5.0.0-11.4.3")
def test_a_keyed_hash_is_blake2b_under_the_pepper() -> None:
    hashed = keyed_hash("code_abc", pepper=b"p" * 32)
    assert hashed == hashlib.blake2b(b"code_abc", key=b"p" * 32, digest_size=32).digest()
    assert len(hashed) == 32
    assert hashed != keyed_hash("code_abc", pepper=b"q" * 32)
    assert hashed != keyed_hash("code_abd", pepper=b"p" * 32)


def test_a_text_that_is_no_valid_unicode_can_be_hashed_and_matches_nothing_else() -> None:
    assert len(keyed_hash("\ud800", pepper=b"p" * 32)) == 32
