"""What a stop applies to: the whole table of scopes, without a database."""

from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.ops.rules import SCOPES_TOLD, ScopeKind, matches, scope_kind, target_of
from wallet.people.rules import printed_number

MERCHANT = UUID(int=0xABC)
FIRST, CARD, LAST = printed_number(100), printed_number(150), printed_number(200)

SCOPES = {
    ScopeKind.ALL: "all",
    ScopeKind.PAY: "pay",
    ScopeKind.ISSUE: "issue",
    ScopeKind.CHARGE: "charge",
    ScopeKind.GIFT: "gift",
    ScopeKind.CASH_OUT: "cash-out",
    ScopeKind.SALE: "sale",
    ScopeKind.SIGN_IN: "sign-in",
    ScopeKind.PROGRAMME: "programme:coin",
    ScopeKind.MERCHANT: f"merchant:{MERCHANT.hex}",
    ScopeKind.TIER: "tier:T0",
    ScopeKind.APP_VERSION: "app-version:2.4.1",
    ScopeKind.CARD_RANGE: f"card-range:{FIRST}-{LAST}",
}

FACTS: dict[ScopeKind, dict[str, Any]] = {
    ScopeKind.PROGRAMME: {"programme": "coin"},
    ScopeKind.MERCHANT: {"merchant_id": MERCHANT},
    ScopeKind.TIER: {"tier": "T0"},
    ScopeKind.APP_VERSION: {"app_version": "2.4.1"},
    ScopeKind.CARD_RANGE: {"card_number": CARD},
}


def test_every_kind_has_a_scope_and_is_told() -> None:
    assert SCOPES.keys() == set(ScopeKind)
    assert {scope_kind(scope) for scope in SCOPES.values()} == set(ScopeKind)
    assert all(kind in SCOPES_TOLD for kind in ScopeKind)


@pytest.mark.parametrize(("stopped", "asked"), list(product(ScopeKind, ScopeKind)))
def test_a_stop_holds_up_its_own_kind_and_a_stop_of_all_everything(
    stopped: ScopeKind, asked: ScopeKind
) -> None:
    kinds = [] if asked in FACTS else [asked]
    held_up = matches({SCOPES[stopped]}, *kinds, **FACTS.get(asked, {}))
    assert held_up is (stopped in (asked, ScopeKind.ALL))


@pytest.mark.parametrize(
    ("scope", "facts"),
    [
        ("programme:coin", {"programme": "coin-2"}),
        (f"merchant:{MERCHANT.hex}", {"merchant_id": UUID(int=0xABD)}),
        ("tier:T0", {"tier": "T1"}),
        ("app-version:2.4.1", {"app_version": "2.4.10"}),
        (f"card-range:{FIRST}-{LAST}", {"card_number": printed_number(99)}),
        (f"card-range:{FIRST}-{LAST}", {"card_number": printed_number(201)}),
        (f"card-range:{FIRST}-{LAST}", {}),
    ],
)
def test_a_stop_of_one_thing_lets_others_pass(scope: str, facts: dict[str, Any]) -> None:
    assert not matches({scope, "issue"}, ScopeKind.PAY, **facts)


@pytest.mark.parametrize("card", [FIRST, CARD, LAST])
def test_a_range_of_cards_includes_both_its_ends(card: str) -> None:
    assert matches({f"card-range:{FIRST}-{LAST}"}, card_number=card)


@given(st.integers(0, 10**11 - 1), st.integers(0, 10**11 - 1), st.integers(0, 10**11 - 1))
def test_a_range_of_cards_is_an_interval_of_numbers(one: int, other: int, card: int) -> None:
    first, last = sorted((one, other))
    scope = f"card-range:{printed_number(first)}-{printed_number(last)}"
    assert scope_kind(scope) is ScopeKind.CARD_RANGE
    assert matches({scope}, card_number=printed_number(card)) is (first <= card <= last)


def test_nothing_is_held_up_while_nothing_is_stopped() -> None:
    assert not matches(
        frozenset(),
        *ScopeKind,
        programme="coin",
        merchant_id=MERCHANT,
        tier="T0",
        app_version="1",
        card_number=CARD,
    )


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "everything",
        "Pay",
        "cash_out",
        "tier:T4",
        "tier:",
        "tier",
        "programme",
        "app-version:",
        "app-version:-1",
        "app-version:" + "1" * 33,
        "card-range:1-2",
        f"card-range:{LAST}-{FIRST}",
        f"card-range:{FIRST}",
        "card-range:000000000000-999999999999",  # A My Number by its check digit.
        "sign-in\n",
        "all,pay",
    ],
)
def test_what_is_no_scope_has_no_kind(scope: str) -> None:
    assert scope_kind(scope) is None


def test_a_scope_tells_its_target() -> None:
    assert target_of("programme:coin") == "coin"
    assert target_of("pay") is None
