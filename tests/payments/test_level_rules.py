"""The pure rules of levels and of phones: what a code carries, and what is asked of an amount."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories.moments import NOW, NOW_US
from tests.payments.test_rules import pay_request, payment_for
from wallet.auth.rules import (
    INCLUDED,
    Acr,
    Band,
    FactorClass,
    Method,
    Risk,
    Shown,
    merge,
    reached,
    satisfies,
    show,
    strongest,
)
from wallet.core.clock import MICROSECONDS, to_microseconds
from wallet.core.refusals import Refusal
from wallet.payments.rules import (
    APP,
    Level,
    Waiting,
    check_cooling_off,
    differences,
    level_of,
)
from wallet.payments.step_up import Ladder, refuse_outright

AGE_S: Final = 300
CLASSES: Final = (FactorClass.KNOWLEDGE, FactorClass.POSSESSION)


def shown(*methods: tuple[Method, int]) -> tuple[Shown, ...]:
    """Return what was shown by each method, so many seconds ago."""
    found: tuple[Shown, ...] = ()
    for method, seconds_ago in methods:
        found = merge(found, show(method, at_us=NOW_US - seconds_ago * MICROSECONDS))
    return found


@pytest.mark.parametrize(
    ("methods", "acr", "seconds_ago"),
    [
        ([(Method.DEVICE_KEY, 0)], Acr.DEV, 0),
        ([(Method.DEVICE_KEY, 0), (Method.PIN, 120)], Acr.PIN, 120),
        ([(Method.DEVICE_KEY, 90), (Method.PIN, 120)], Acr.PIN, 120),
        ([(Method.DEVICE_KEY, 0), (Method.PIN, 300)], Acr.PIN, 300),
        ([(Method.DEVICE_KEY, 0), (Method.PIN, 301)], Acr.DEV, 0),
        ([(Method.DEVICE_KEY, 301), (Method.PIN, 301)], None, None),
        ([(Method.DEVICE_KEY, 0), (Method.VERIFIED_KEY, 30)], Acr.PIN, 30),
        ([(Method.DEVICE_KEY, 0), (Method.PASSKEY, 60), (Method.PIN, 10)], Acr.PHR, 60),
        ([], None, None),
    ],
)
def test_a_level_is_as_old_as_the_oldest_of_what_it_takes(
    methods: Sequence[tuple[Method, int]], acr: Acr | None, seconds_ago: int | None
) -> None:
    level = level_of(shown(*methods), now_us=NOW_US, max_age_s=AGE_S)
    if acr is None:
        assert level is None
        return
    assert level is not None
    assert (level.acr, NOW - level.at) == (acr, timedelta(seconds=seconds_ago or 0))


@given(
    methods=st.lists(st.tuples(st.sampled_from(list(Method)), st.integers(0, 600)), max_size=6),
    age_s=st.integers(1, 600),
)
def test_a_level_never_says_more_than_was_shown_or_that_it_is_fresher(
    methods: list[tuple[Method, int]], age_s: int
) -> None:
    all_shown = shown(*methods)
    levels = reached(all_shown, now_us=NOW_US, max_age_s=age_s)
    level = level_of(all_shown, now_us=NOW_US, max_age_s=age_s)
    if level is None:
        assert strongest(levels) is None
        return
    assert level.acr is strongest(levels)
    # Nothing older than the level's moment was needed for it, and nothing newer was enough.
    at_us = to_microseconds(level.at)
    enough = [one for one in all_shown if one.at_us >= at_us]
    too_little = [one for one in all_shown if one.at_us > at_us]
    assert level.acr in reached(enough, now_us=NOW_US, max_age_s=age_s)
    assert level.acr not in reached(too_little, now_us=NOW_US, max_age_s=age_s)
    assert set(level.classes) == {one.factor_class for one in enough}


def test_a_level_stands_in_for_lower_ones_while_it_is_fresh() -> None:
    level = Level(Acr.PHR, CLASSES, NOW)
    last = NOW + timedelta(seconds=AGE_S)
    assert level.carries(now=last, max_age_s=AGE_S) == INCLUDED[Acr.PHR]
    late = last + timedelta(microseconds=1)
    assert level.carries(now=late, max_age_s=AGE_S) == frozenset()


def test_whoever_cools_off_pays_little_until_the_moment_has_come() -> None:
    refusal = Refusal("limit_cooling_off", {"limit_yen": 3_000})
    moment = timedelta(microseconds=1)
    for until, expected in (
        ([], None),
        ([None, None], None),
        ([NOW], None),
        ([NOW - moment], None),
        ([NOW + moment], refusal),
        ([None, NOW + moment], refusal),
        ([NOW + moment, NOW], refusal),
    ):
        assert check_cooling_off(until, now=NOW, limit_yen=3_000) == expected


@pytest.mark.parametrize(
    ("bands", "pin_from_yen", "counter_from_yen"),
    [
        ((), 5_001, 40_001),
        ((Band.A,), 15_001, 40_001),
        ((Band.A, Band.B), 40_001, 40_001),
        ((Band.A, Band.B, Band.C), 40_001, 80_001),
    ],
)
def test_open_bands_move_the_amounts_from_which_more_is_asked(
    bands: tuple[Band, ...], pin_from_yen: int, counter_from_yen: int
) -> None:
    ladder = Ladder(bands)
    for yen in (1, pin_from_yen - 1):
        assert ladder.beyond_instrument(yen, Risk.LOW) is None
    for yen in {pin_from_yen, counter_from_yen - 1} & set(range(pin_from_yen, counter_from_yen)):
        asked = ladder.beyond_instrument(yen, Risk.LOW)
        assert asked is not None
        assert satisfies(INCLUDED[Acr.PIN], asked.require)
        assert not satisfies(INCLUDED[Acr.DEV], asked.require)
        assert refuse_outright(asked) is None
    for yen in (counter_from_yen, 1_000_000):
        asked = ladder.beyond_instrument(yen, Risk.LOW)
        assert asked is not None
        assert refuse_outright(asked) == Refusal("counter_only")


def test_an_extreme_risk_is_refused_whatever_the_amount() -> None:
    for yen in (1, 5_000, 40_000):
        asked = Ladder(frozenset(Band)).beyond_instrument(yen, Risk.EXTREME)
        assert asked is not None
        assert refuse_outright(asked) is not None


def test_a_phone_names_a_shop_by_any_of_its_terminals() -> None:
    request = replace(pay_request(), instrument=APP, asked_by=uuid4())
    payment = payment_for(request)
    elsewhere = replace(request, terminal_id=uuid4(), instrument_hash=b"2" * 32)
    assert differences(elsewhere, payment, shop_id=payment.shop_id) == []
    assert differences(request, payment, shop_id=uuid4()) == ["/terminal_id"]
    assert differences(request, payment, shop_id=None) == ["/terminal_id"]


def test_a_phone_that_names_no_wallet_means_the_one_it_has_paid_out_of() -> None:
    request = replace(pay_request(), instrument=APP, asked_by=uuid4())
    payment = payment_for(request)
    named = replace(request, wallet_id=payment.wallet_id, amount_yen=1_201)
    shop_id = payment.shop_id
    assert differences(named, payment, shop_id=shop_id) == ["/amount/amount"]
    other = replace(request, wallet_id=uuid4())
    assert differences(other, payment, shop_id=shop_id) == ["/wallet_id"]


def test_whose_a_key_is_follows_from_who_asks() -> None:
    request = pay_request()
    assert request.owner_id == request.merchant_id
    asker = uuid4()
    assert replace(request, asked_by=asker).owner_id == asker


def test_a_payment_that_waits_has_neither_succeeded_nor_been_declined() -> None:
    waits = replace(payment_for(pay_request()), waiting=Waiting(NOW, "07"))
    assert waits.state == "requires_step_up"
