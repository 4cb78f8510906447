"""Codes: what this city has made says what it said, and what anybody else makes up says nothing."""

from datetime import date
from uuid import uuid4

import pytest

from tests.factories.moments import PEPPER
from wallet.points.codes import (
    EVENT_PREFIX,
    EventCode,
    gift_code_hash,
    gift_code_of,
    new_event_code,
    read_event_code,
)

DAY = date(2026, 11, 25)


def test_a_code_says_its_event_and_day_and_each_is_another_one() -> None:
    event_id = uuid4()
    codes = [new_event_code(event_id, day=DAY, pepper=PEPPER) for _ in range(20)]
    said = [read_event_code(code, pepper=PEPPER) for code in codes]
    assert all(isinstance(one, EventCode) for one in said)
    assert {(one.event_id, one.day) for one in said if one is not None} == {(event_id, DAY)}
    assert len({one.nonce for one in said if one is not None}) == 20


def test_how_a_code_was_typed_does_not_matter() -> None:
    code = new_event_code(uuid4(), day=DAY, pepper=PEPPER)
    assert read_event_code(f" {code.upper()}\n", pepper=PEPPER) is not None


@pytest.mark.parametrize("place", [5, 30, 40, 60, 76])
def test_a_code_that_was_changed_anywhere_says_nothing(place: int) -> None:
    code = new_event_code(uuid4(), day=DAY, pepper=PEPPER)
    other = "b" if code[place] == "a" else "a"
    assert read_event_code(code[:place] + other + code[place + 1 :], pepper=PEPPER) is None


@pytest.mark.parametrize(
    "code",
    [
        "",
        EVENT_PREFIX,
        EVENT_PREFIX + "a",
        EVENT_PREFIX + "1" * 74,
        "gift_" + "a" * 74,
        EVENT_PREFIX + "あ" * 74,
        EVENT_PREFIX + "a" * 5_000,
    ],
)
def test_what_is_no_code_says_nothing(code: str) -> None:
    assert read_event_code(code, pepper=PEPPER) is None


def test_the_code_of_another_city_says_nothing() -> None:
    code = new_event_code(uuid4(), day=DAY, pepper=PEPPER)
    assert read_event_code(code, pepper=PEPPER + b"!") is None


def test_a_gifts_code_is_its_givers_and_its_keys() -> None:
    giver_id, key = uuid4(), "a key"
    code = gift_code_of(giver_id, idempotency_key=key, pepper=PEPPER)
    assert code == gift_code_of(giver_id, idempotency_key=key, pepper=PEPPER)
    others = {
        gift_code_of(uuid4(), idempotency_key=key, pepper=PEPPER),
        gift_code_of(giver_id, idempotency_key="another", pepper=PEPPER),
        gift_code_of(giver_id, idempotency_key=key, pepper=PEPPER + b"!"),
    }
    assert len(others | {code}) == 4
    assert gift_code_hash(f" {code.upper()}", pepper=PEPPER) == gift_code_hash(code, pepper=PEPPER)
