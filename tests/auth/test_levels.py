"""Which level follows from what was shown: every combination of methods, and their ages."""

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.auth.rules import (
    CLASSES_OF,
    INCLUDED,
    Acr,
    FactorClass,
    Method,
    Shown,
    merge,
    reached,
    satisfies,
    show,
    strongest,
)
from wallet.core.clock import MICROSECONDS

NOW_US = 1_764_000_000 * MICROSECONDS
MAX_AGE_S = 300

# The smallest sets that reach a level; whatever is shown besides takes nothing away.
SMALLEST = {
    frozenset({Method.DEVICE_KEY}): Acr.DEV,
    frozenset({Method.DEVICE_KEY, Method.PIN}): Acr.PIN,
    frozenset({Method.DEVICE_KEY, Method.VERIFIED_KEY}): Acr.PIN,
    frozenset({Method.DEVICE_KEY, Method.PASSWORD}): Acr.PIN,
    frozenset({Method.TOTP, Method.PIN}): Acr.OTP,
    frozenset({Method.TOTP, Method.VERIFIED_KEY}): Acr.OTP,
    frozenset({Method.TOTP, Method.PASSWORD}): Acr.OTP,
    frozenset({Method.PASSKEY}): Acr.PHR,
    frozenset({Method.IDENTITY_APP}): Acr.JPKI,
    frozenset({Method.COUNTER}): Acr.JPKI,
}
STANDS_IN_FOR = {
    Acr.DEV: "dev",
    Acr.PIN: "dev pin",
    Acr.OTP: "dev otp",
    Acr.PHR: "dev pin otp phr",
    Acr.JPKI: "dev pin otp phr jpki",
}
COMBINATIONS = list(
    chain.from_iterable(combinations(Method, size) for size in range(len(Method) + 1))
)


def levels(*methods: Method, age_s: float = 0) -> frozenset[Acr]:
    """Return what the methods reach when all were shown ``age_s`` ago."""
    at_us = NOW_US - int(age_s * MICROSECONDS)
    return reached(show(*methods, at_us=at_us), now_us=NOW_US, max_age_s=MAX_AGE_S)


@pytest.mark.attack(11)
@pytest.mark.asvs("v5.0.0-6.3.3")
def test_every_combination_of_methods_reaches_what_its_smallest_sets_reach() -> None:
    assert len(COMBINATIONS) == 512
    for methods in COMBINATIONS:
        expected = {
            Acr(level)
            for smallest, acr in SMALLEST.items()
            if smallest <= set(methods)
            for level in STANDS_IN_FOR[acr].split()
        }
        assert levels(*methods) == expected, methods


@pytest.mark.attack(10)
@pytest.mark.parametrize("method", Method)
def test_the_same_method_twice_is_one(method: Method) -> None:
    assert levels(method, method) == levels(method)


@pytest.mark.attack(10)
@pytest.mark.parametrize(
    "methods",
    [
        (Method.DEVICE_KEY, Method.TOTP),
        (Method.DEVICE_KEY, Method.RECOVERY_CODE),
        (Method.TOTP, Method.RECOVERY_CODE),
        (Method.PIN, Method.PASSWORD),
    ],
)
def test_two_methods_of_one_class_are_one_factor(methods: tuple[Method, ...]) -> None:
    classes = {factor_class for method in methods for factor_class in CLASSES_OF[method]}
    assert len(classes) == 1
    assert levels(*methods) <= {Acr.DEV}


@pytest.mark.parametrize("methods", [c for c in COMBINATIONS if Method.RECOVERY_CODE not in c][:64])
def test_a_recovery_code_raises_nothing(methods: tuple[Method, ...]) -> None:
    assert levels(*methods, Method.RECOVERY_CODE) == levels(*methods)


@pytest.mark.asvs("v5.0.0-6.5.7")
@pytest.mark.parametrize("method", [Method.PIN, Method.PASSWORD, Method.TOTP, Method.VERIFIED_KEY])
def test_one_class_beside_no_key_of_the_phone_is_no_level(method: Method) -> None:
    assert levels(method) == frozenset()


@pytest.mark.attack(11)
@pytest.mark.parametrize("method", [Method.PASSKEY, Method.IDENTITY_APP])
def test_whoever_has_no_password_is_not_stuck_at_the_bottom(method: Method) -> None:
    assert satisfies(levels(method), [Acr.PHR])


@pytest.mark.parametrize(("age_s", "good"), [(0, True), (300, True), (300.000001, False)])
def test_what_was_shown_too_long_ago_reaches_nothing(age_s: float, *, good: bool) -> None:
    assert (Acr.PIN in levels(Method.DEVICE_KEY, Method.PIN, age_s=age_s)) is good


def test_an_old_pin_beside_a_fresh_proof_is_no_more_than_the_proof() -> None:
    old, fresh = NOW_US - 301 * MICROSECONDS, NOW_US
    shown = (*show(Method.PIN, at_us=old), *show(Method.DEVICE_KEY, at_us=fresh))
    assert reached(shown, now_us=NOW_US, max_age_s=MAX_AGE_S) == {Acr.DEV}


def test_a_level_stands_in_for_itself_and_those_below_and_equals_do_not() -> None:
    for acr, others in STANDS_IN_FOR.items():
        assert {str(level) for level in INCLUDED[acr]} == set(others.split())
    assert not satisfies(INCLUDED[Acr.OTP], [Acr.PIN])
    assert not satisfies(INCLUDED[Acr.PIN], [Acr.OTP])


@pytest.mark.asvs("v5.0.0-16.5.3")
def test_nothing_satisfies_a_requirement_that_names_nothing() -> None:
    assert not satisfies(frozenset(Acr), [])


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ((), None),
        ((Method.PASSWORD,), None),
        ((Method.DEVICE_KEY,), Acr.DEV),
        ((Method.DEVICE_KEY, Method.PIN, Method.TOTP), Acr.PIN),
        ((Method.PASSWORD, Method.TOTP), Acr.OTP),
        ((Method.PASSKEY, Method.TOTP, Method.PIN), Acr.PHR),
        ((Method.COUNTER, Method.PASSKEY), Acr.JPKI),
    ],
)
def test_the_strongest_level_is_the_one_that_is_told(
    methods: tuple[Method, ...], expected: Acr | None
) -> None:
    assert strongest(levels(*methods)) is expected


shown_lists = st.lists(
    st.builds(Shown, st.sampled_from(FactorClass), st.sampled_from(Method), st.integers(0, 50)),
    max_size=12,
)


@given(shown_lists, shown_lists)
def test_merging_keeps_each_method_once_as_it_was_shown_last(
    earlier: list[Shown], later: list[Shown]
) -> None:
    merged = merge(earlier, later)
    names = [(one.factor_class, one.method) for one in merged]
    assert len(names) == len(set(names))
    for one in merged:
        same = [
            o for o in (*earlier, *later) if (o.factor_class, o.method) == names[merged.index(one)]
        ]
        assert one.at_us == max(o.at_us for o in same)
    assert {(o.factor_class, o.method) for o in (*earlier, *later)} == set(names)
