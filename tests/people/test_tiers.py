"""The tiers are data: whole, readable, and never less for who is known better."""

import re

import pytest

from wallet.auth.enrol_device import COOLING_S
from wallet.people.rules import Tier
from wallet.people.tiers import PATH, TiersError, limits_of, read_tiers, tiers

TOML = PATH.read_text(encoding="utf-8")


def test_every_tier_has_its_limits() -> None:
    assert [limits_of(tier).payment_yen for tier in Tier] == [10_000, 30_000, 100_000, 100_000]
    assert limits_of("T0").gift_day_yen == 0


def test_a_change_of_sign_in_leaves_little_for_twelve_hours() -> None:
    assert tiers().cooling_off.payment_yen == 5_000
    assert COOLING_S == 12 * 3_600


@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        (r"payment_yen = 10_000", "payment_yen = 40_000", "T1 allows less than T0"),
        (r"day_yen = 50_000", "day_yen = 20_000", "one payment of T1 may exceed its day"),
        (r"cooling_off_h = 24", "cooling_off_h = 1", "waits 12 hours or more"),
        (r"day_yen = 30_000\ncool", "day_yen = 1\ncool", "of a proxy may exceed"),
        (r"\[T3\]", "[T4]", "cannot be read"),
        (r"balance_yen = 10_000", "balance_yen = -1", "cannot be read"),
        (r"balance_yen = 10_000\n", "", "cannot be read"),
        (r"\[T0\]", "[T0", "cannot be read"),
    ],
)
def test_a_policy_that_is_not_whole_is_refused(
    pattern: str, replacement: str, problem: str
) -> None:
    changed, count = re.subn(pattern, replacement, TOML, count=1)
    assert count == 1
    with pytest.raises(TiersError, match=problem):
        read_tiers(changed)
