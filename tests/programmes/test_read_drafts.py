"""A programme file: what a clerk writes, and what they are told when it is wrong."""

from datetime import date

import pytest

from wallet.core.refusals import RefusedError
from wallet.programmes.read_drafts import read_drafts
from wallet.programmes.rules import Frame

FILE = """
[[programme]]
code = "spring"
name = "春の商品券"

[programme.frame]
price_yen = 5_000
face_yen = 6_250
sets_total = 1_000
sets_per_person = 10

[programme.spending]
first_day = 2026-10-01
last_day = 2027-01-31
shops = "small"
excluded_categories = ["tobacco"]

[[programme]]
code = "coin"
name = "地域コイン"
budget_yen = 1_000_000
spending = { first_day = 2026-10-01, last_day = 2027-03-31 }
"""


def problem_of(toml: str) -> str:
    """Return what the clerk is told."""
    with pytest.raises(RefusedError) as refused:
        read_drafts(toml)
    assert refused.value.refusal.code == "programme_file_invalid"
    return str(refused.value.refusal.facts["problem"])


def test_a_file_gives_its_programmes_in_order() -> None:
    spring, coin = read_drafts(FILE)
    frame = Frame(price_yen=5_000, face_yen=6_250, sets_total=1_000, sets_per_person=10)
    assert (spring.code, spring.frame, spring.funded_yen) == ("spring", frame, 1_250_000)
    assert spring.spending.last_day == date(2027, 1, 31)
    assert spring.spending.excluded_categories == {"tobacco"}
    assert (coin.code, coin.frame, coin.funded_yen) == ("coin", None, 1_000_000)


@pytest.mark.parametrize(
    ("written", "instead", "problem"),
    [
        ("= 5_000", '= "5000"', "frame.price_yen: Expected a whole number, got text."),
        ("= 5_000", "= 5e3", "frame.price_yen: Expected a whole number, got a decimal number."),
        ("price_yen", "price", "frame: contains unknown field price."),
        ('name = "春の商品券"\n', "", "missing required field name."),
        ("2027-01-31", '"today"', "spending.last_day: This is not a date like 2026-04-01."),
        (
            "= 2027-01-31",
            "= 2027-01-31T23:59:59",
            "spending.last_day: Expected a date like 2026-04-01, got a date with a time.",
        ),
        ('["tobacco"]', '"tobacco"', "spending.excluded_categories: Expected a list, got text."),
        ('"small"', '"tiny"', "spending.shops: Invalid enum value 'tiny'."),
    ],
)
def test_a_mistake_is_named_by_programme_and_field(
    written: str, instead: str, problem: str
) -> None:
    assert problem_of(FILE.replace(written, instead, 1)) == f"programme 1 (spring): {problem}"


def test_a_programme_without_a_code_is_named_by_its_number() -> None:
    toml = FILE.replace('code = "coin"\n', "")
    assert problem_of(toml) == "programme 2: missing required field code."


@pytest.mark.parametrize("toml", ["", 'name = "x"', "programme = 1", f"{FILE}\n[other]"])
def test_a_file_of_something_else_says_what_to_write(toml: str) -> None:
    assert problem_of(toml).startswith("Write one [[programme]] table for each programme")


def test_what_is_no_toml_says_where() -> None:
    assert problem_of("[[programme]]\ncode = ").startswith("This is not TOML: Invalid value (at ")
