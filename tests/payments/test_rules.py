"""The pure rules of paying: what is drawn, what is refused, and under which names."""

from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories.moments import NOW, NOW_US
from tests.factories.programmes import programme, purse
from wallet.auth.rules import Risk
from wallet.core.ids import align_id, new_id, numbered_id
from wallet.core.refusals import Refusal
from wallet.payments.rules import (
    LEGS_MAX,
    Holder,
    Payment,
    PayRequest,
    check_limits,
    differences,
    plan,
    weigh_risk,
)
from wallet.programmes.rules import (
    Draw,
    Funding,
    Programme,
    Purse,
    Shop,
    in_spending_order,
    refusal_of,
)

DAY = date(2026, 11, 25)
GROCER = Shop(uuid4(), "groceries", small=True)

Money = tuple[Programme, Purse, int]


def money(of: Programme, yen: int, *, expires_on: date | None = None) -> Money:
    """Return a purse of the programme with ``yen`` in it."""
    return of, purse(of, expires_on=expires_on), yen


def plan_of(
    *moneys: Money, amount_yen: int, day: date = DAY, stops: frozenset[str] = frozenset()
) -> list[Draw] | Refusal:
    """Plan a payment to the grocer out of what a wallet holds."""
    return plan(
        [(each, yen) for _, each, yen in moneys],
        {one.id: one for one, _, _ in moneys},
        shop=GROCER,
        day=day,
        amount_yen=amount_yen,
        stops=stops,
    )


def pay_request() -> PayRequest:
    """Return a request."""
    return PayRequest(
        payment_id=align_id(new_id(now_us=NOW_US)),
        merchant_id=uuid4(),
        idempotency_key="key",
        merchant_payment_id="receipt-1",
        terminal_id=uuid4(),
        amount_yen=1_200,
        instrument="cpm_code",
        instrument_hash=bytes(32),
        description="野菜",
    )


def payment_for(request: PayRequest) -> Payment:
    """Return the payment that a request has led to."""
    return Payment(
        id=request.payment_id,
        merchant_id=request.merchant_id,
        merchant_payment_id=request.merchant_payment_id,
        shop_id=uuid4(),
        terminal_id=request.terminal_id,
        amount_yen=request.amount_yen,
        instrument=request.instrument,
        instrument_hash=request.instrument_hash,
        description=request.description,
        refusal=None,
        wallet_id=uuid4(),
        created_at=NOW,
    )


def test_a_purse_that_suffices_pays_alone() -> None:
    soon = money(programme(1), 500, expires_on=DAY)
    later = money(programme(2), 500)
    assert plan_of(later, soon, amount_yen=500) == [Draw(soon[1], 500)]


def test_several_purses_are_drawn_in_spending_order() -> None:
    everywhere = money(programme(1), 1_000)
    small = money(programme(2, shops="small"), 300)
    for_food = money(programme(3, categories=frozenset({"groceries"})), 200)
    assert plan_of(everywhere, small, for_food, amount_yen=700) == [
        Draw(for_food[1], 200),
        Draw(small[1], 300),
        Draw(everywhere[1], 200),
    ]


def test_money_is_good_on_its_last_day_and_no_longer() -> None:
    last = money(programme(), 500, expires_on=DAY)
    assert plan_of(last, amount_yen=500) == [Draw(last[1], 500)]
    refused = plan_of(last, amount_yen=500, day=DAY + timedelta(days=1))
    assert refused == Refusal("balance_insufficient", {"available_yen": 0, "missing_yen": 500})


def test_an_empty_wallet_lacks_the_whole_amount() -> None:
    refused = plan_of(amount_yen=1_200)
    assert refused == Refusal("balance_insufficient", {"available_yen": 0, "missing_yen": 1_200})


def test_a_shortage_says_what_is_there_and_what_is_missing() -> None:
    refused = plan_of(money(programme(), 800), amount_yen=1_200)
    assert refused == Refusal("balance_insufficient", {"available_yen": 800, "missing_yen": 400})


BOOKS = programme(2, categories=frozenset({"books"}))
DECEMBER = programme(3, first_day=date(2026, 12, 1))
STOPPED = programme(4)


@pytest.mark.parametrize(
    ("kept_out", "code"),
    [
        (BOOKS, "merchant_not_eligible"),
        (DECEMBER, "outside_period"),
        (STOPPED, "service_stopped"),
    ],
)
def test_a_shortage_names_the_rule_that_kept_the_money_out(kept_out: Programme, code: str) -> None:
    stops = frozenset({f"programme:{STOPPED.code}"})
    moneys = (money(programme(1), 800), money(kept_out, 400))
    refused = plan_of(*moneys, amount_yen=1_200, stops=stops)
    assert refused == Refusal(code, {"available_yen": 800})


def test_a_rule_that_kept_too_little_out_is_not_blamed() -> None:
    refused = plan_of(money(programme(1), 800), money(BOOKS, 399), amount_yen=1_200)
    assert refused == Refusal("balance_insufficient", {"available_yen": 800, "missing_yen": 400})


def test_a_stop_is_named_before_any_other_rule() -> None:
    stops = frozenset({f"programme:{STOPPED.code}"})
    moneys = (money(DECEMBER, 1_200), money(BOOKS, 1_200), money(STOPPED, 1_200))
    refused = plan_of(*moneys, amount_yen=1_200, stops=stops)
    assert refused == Refusal("service_stopped", {"available_yen": 0})


def test_money_that_was_kept_out_and_has_expired_is_not_blamed() -> None:
    past = money(BOOKS, 1_200, expires_on=DAY - timedelta(days=1))
    refused = plan_of(past, amount_yen=1_200)
    assert refused == Refusal("balance_insufficient", {"available_yen": 0, "missing_yen": 1_200})


def test_a_stop_of_one_programme_leaves_the_others_alone() -> None:
    coin, stopped = money(programme(1), 500), money(STOPPED, 500)
    drawn = plan_of(
        coin, stopped, amount_yen=500, stops=frozenset({f"programme:{STOPPED.code}", "issue"})
    )
    assert drawn == [Draw(coin[1], 500)]


def test_a_payment_draws_on_no_more_purses_than_it_has_ids_for() -> None:
    one = programme()
    moneys = [money(one, 10, expires_on=DAY + timedelta(days=n)) for n in range(LEGS_MAX + 1)]
    drawn = plan_of(*moneys, amount_yen=10 * LEGS_MAX)
    assert drawn == [Draw(each, 10) for _, each, _ in moneys[:LEGS_MAX]]
    assert plan_of(*moneys, amount_yen=10 * LEGS_MAX + 1) == Refusal(
        "balance_insufficient", {"available_yen": 10 * LEGS_MAX, "missing_yen": 1}
    )


@st.composite
def wallets(draw_: st.DrawFn) -> list[Money]:
    """Draw purses of usable, restricted, early, late and stopped programmes, some expired."""
    programmes = draw_(
        st.lists(st.sampled_from([programme(1), BOOKS, DECEMBER, STOPPED]), min_size=1, max_size=6)
    )
    return [
        (
            one,
            purse(
                one,
                funding=draw_(st.sampled_from([str(each) for each in Funding])),
                expires_on=DAY + timedelta(days=draw_(st.integers(-2, 2))),
            ),
            draw_(st.integers(-100, 2_000)),
        )
        for one in programmes
    ]


@given(moneys=wallets(), amount_yen=st.integers(1, 5_000), stopped=st.booleans())
def test_a_plan_is_exact_and_takes_only_what_may_be_taken(
    moneys: list[Money], amount_yen: int, *, stopped: bool
) -> None:
    stops = frozenset({f"programme:{STOPPED.code}"}) if stopped else frozenset[str]()
    usable = {
        each: yen
        for one, each, yen in moneys
        if yen > 0
        and each.expires_on >= DAY
        and refusal_of(one, shop=GROCER, day=DAY) is None
        and not (stopped and one is STOPPED)
    }
    planned = plan_of(*moneys, amount_yen=amount_yen, stops=stops)
    if isinstance(planned, Refusal):
        assert sum(usable.values()) < amount_yen
        assert planned.facts["available_yen"] == sum(usable.values())
        return
    assert sum(one.amount_yen for one in planned) == amount_yen
    assert all(0 < one.amount_yen <= usable[one.purse] for one in planned)
    order = in_spending_order(usable, {one.id: one for one, _, _ in moneys})
    assert [one.purse for one in planned] == order[: len(planned)]


@given(moneys=wallets(), amount_yen=st.integers(1, 5_000))
def test_a_shortage_never_promises_more_than_a_second_try_can_take(
    moneys: list[Money], amount_yen: int
) -> None:
    refused = plan_of(*moneys, amount_yen=amount_yen)
    if isinstance(refused, Refusal) and (available_yen := refused.facts["available_yen"]):
        planned = plan_of(*moneys, amount_yen=available_yen)
        assert isinstance(planned, list)
        assert sum(one.amount_yen for one in planned) == available_yen


def holder(*, payment_limit_yen: int = 10_000, daily_limit_yen: int = 30_000) -> Holder:
    """Return a wallet or a card with its ceilings."""
    return Holder(uuid4(), "active", payment_limit_yen, daily_limit_yen)


@pytest.mark.parametrize(
    ("amount_yen", "refusal"),
    [
        (10_000, None),
        (10_001, Refusal("limit_payment", {"limit_yen": 10_000})),
    ],
)
def test_the_limit_of_a_payment_may_be_reached_but_not_passed(
    amount_yen: int, refusal: Refusal | None
) -> None:
    wallet = holder()
    assert check_limits([wallet], {wallet.id: 0}, amount_yen=amount_yen) == refusal


@pytest.mark.parametrize(
    ("spent_yen", "left_yen"),
    [(25_001, 4_999), (30_000, 0), (30_001, 0)],
)
def test_the_limit_of_a_day_counts_what_was_spent_before(spent_yen: int, left_yen: int) -> None:
    wallet = holder()
    refusal = check_limits([wallet], {wallet.id: spent_yen}, amount_yen=5_000)
    assert refusal == Refusal("limit_daily", {"limit_yen": 30_000, "left_yen": left_yen})
    assert check_limits([wallet], {wallet.id: 25_000}, amount_yen=5_000) is None


def test_a_card_obeys_its_own_ceilings_and_its_wallets() -> None:
    wallet, card = holder(payment_limit_yen=5_000), holder(payment_limit_yen=3_000)
    spent_yen = {wallet.id: 0, card.id: 0}
    assert check_limits([wallet, card], spent_yen, amount_yen=3_000) is None
    assert check_limits([wallet, card], spent_yen, amount_yen=3_001) == Refusal(
        "limit_payment", {"limit_yen": 3_000}
    )
    assert check_limits([wallet, card], spent_yen, amount_yen=5_001) == Refusal(
        "limit_payment", {"limit_yen": 5_000}
    )


@given(
    limit_yen=st.integers(0, 10**9),
    spent_yen=st.integers(0, 10**9),
    amount_yen=st.integers(1, 10**9),
)
def test_what_the_limits_allow_never_passes_them(
    limit_yen: int, spent_yen: int, amount_yen: int
) -> None:
    wallet = holder(payment_limit_yen=10**9, daily_limit_yen=limit_yen)
    refusal = check_limits([wallet], {wallet.id: spent_yen}, amount_yen=amount_yen)
    assert (refusal is None) == (spent_yen + amount_yen <= limit_yen)
    if refusal is not None and (left_yen := refusal.facts["left_yen"]):
        assert check_limits([wallet], {wallet.id: spent_yen}, amount_yen=left_yen) is None


def test_no_payment_needs_more_than_its_instruments_own_proof() -> None:
    assert weigh_risk(pay_request()) is Risk.LOW


@given(st.uuids())
def test_a_payments_transfers_have_ids_of_their_own_beside_it(identifier: UUID) -> None:
    payment_id = align_id(identifier)
    made = [numbered_id(payment_id, leg) for leg in range(1, LEGS_MAX + 1)]
    assert [one.int - payment_id.int for one in made] == list(range(1, LEGS_MAX + 1))
    assert payment_id.int == identifier.int - identifier.int % 16
    assert align_id(payment_id) == payment_id


def test_an_aligned_id_is_still_of_its_moment() -> None:
    identifier = new_id(now_us=NOW_US)
    assert align_id(identifier).version == identifier.version == 7
    assert align_id(identifier).int >> 80 == identifier.int >> 80


def test_a_repeat_differs_in_nothing() -> None:
    request = pay_request()
    assert differences(request, payment_for(request)) == []


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("merchant_payment_id", "receipt-2", "/merchant_payment_id"),
        ("terminal_id", uuid4(), "/terminal_id"),
        ("amount_yen", 1_201, "/amount/amount"),
        ("instrument", "card", "/instrument/type"),
        ("instrument_hash", b"1" * 32, "/instrument/value"),
        ("description", None, "/order_description"),
        ("description", "果物", "/order_description"),
    ],
)
def test_a_difference_is_named_by_its_pointer(field: str, value: object, pointer: str) -> None:
    request = pay_request()
    changed = replace(request, **{field: value})
    assert differences(changed, payment_for(request)) == [pointer]


@pytest.mark.parametrize(
    ("refusal", "state"), [(None, "succeeded"), (Refusal("code_used"), "declined")]
)
def test_a_payment_with_a_refusal_is_declined(refusal: Refusal | None, state: str) -> None:
    assert replace(payment_for(pay_request()), refusal=refusal).state == state
