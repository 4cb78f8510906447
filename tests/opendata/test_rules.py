"""What the public form leaves out, and what the measures of money come to."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.opendata.rules import (
    SHOPS_MIN,
    WALLETS_MIN,
    Cell,
    Circulation,
    Flows,
    Period,
    gini,
    measure,
    publish,
    publish_circulation,
)


def cell(
    wallets: int, name: str = "all", dimension: str = "total", *, moved: int | None = None
) -> Cell:
    """Return a cell of so many wallets, a thousand yen each; all of them moved by default."""
    return Cell(
        programme="coin",
        dimension=dimension,
        cell=name,
        wallets=wallets,
        moved_wallets=wallets if moved is None else moved,
        issued_yen=wallets * 1_000,
    )


def by_age(*wallets: int) -> list[Cell]:
    """Return a total and the ages it is made of."""
    ages = [cell(one, f"{n}0-{n}9", "age") for n, one in enumerate(wallets)]
    return [cell(sum(wallets)), *ages]


def suppressed(cells: list[Cell]) -> list[str]:
    """Return the names of the cells that say nothing."""
    return [one.cell for one in publish(cells) if one.suppressed]


def test_a_period_is_whole_days_in_japan() -> None:
    period = Period(date(2026, 4, 1), date(2026, 4, 2))
    assert period.to_us - period.from_us == 2 * 86_400_000_000
    assert period.days == 2


def test_large_cells_are_published_as_they_are() -> None:
    cells = by_age(10, 20, 30)
    assert publish(cells) == cells


def test_a_small_cell_takes_the_smallest_other_one_with_it() -> None:
    assert suppressed(by_age(9, 40, 30)) == ["00-09", "20-29"]


def test_two_small_cells_hide_each_other() -> None:
    assert suppressed(by_age(9, 8, 30)) == ["00-09", "10-19"]


def test_small_cells_that_are_few_together_take_another_one_with_them() -> None:
    assert suppressed(by_age(1, 2, 40, 30)) == ["00-09", "10-19", "30-39"]


def test_small_cells_that_are_all_there_is_take_the_total_with_them() -> None:
    assert suppressed(by_age(4, 5)) == ["all", "00-09", "10-19"]


def test_a_cell_of_many_is_small_when_few_of_them_did_anything() -> None:
    ages = [cell(40, "30-39", "age", moved=1), cell(60, "40-49", "age"), cell(50, "50-59", "age")]
    assert suppressed([cell(150, moved=111), *ages]) == ["30-39", "50-59"]
    quiet = [cell(40, "30-39", "age", moved=1), cell(60, "40-49", "age", moved=0)]
    assert suppressed([cell(100, moved=1), *quiet]) == ["all", "30-39", "40-49"]


def test_a_period_in_which_nothing_moved_says_nothing_of_anybody() -> None:
    cells = [cell(20, moved=0), cell(20, "30-39", "age", moved=0)]
    assert suppressed(cells) == []


def test_a_small_cell_that_is_all_there_is_takes_the_total_with_it() -> None:
    assert suppressed([cell(5), cell(5, "30-39", "age")]) == ["all", "30-39"]


def test_a_cell_of_nobody_says_nothing_of_anybody() -> None:
    cells = [cell(20), cell(20, "30-39", "age"), cell(0, "40-49", "age")]
    assert suppressed(cells) == []


def test_a_number_of_two_shops_is_not_published() -> None:
    large = Cell(programme="coin", dimension="shop_size", cell="large", wallets=90, shops=2)
    small = Cell(programme="coin", dimension="shop_size", cell="small", wallets=99, shops=50)
    assert suppressed([cell(100), large, small]) == ["large", "small"]
    alone = Cell(programme="coin", dimension="shop_size", cell="chain", wallets=80, shops=1)
    both = Cell(programme="coin", dimension="shop_size", cell="small", wallets=99, shops=1)
    assert suppressed([cell(100), alone, both]) == ["all", "chain", "small"]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_nothing_that_was_left_out_can_be_computed(wallets: list[int]) -> None:
    total, *ages = publish(by_age(*wallets))
    hidden = [n for n, one in enumerate(ages) if one.suppressed]
    for n, count in enumerate(wallets):
        if 0 < count < WALLETS_MIN:
            assert n in hidden
    if hidden and not total.suppressed:
        assert len(hidden) >= 2
        assert sum(wallets[n] for n in hidden) >= WALLETS_MIN
    if total.suppressed:  # Then no sum of what is shown says what it was.
        assert all(one.suppressed or not one.wallets for one in ages)
    assert all(one.issued_yen is None for one in ages if one.suppressed)


def measured(flows: Flows, *takings_yen: int, **changes: int) -> Circulation:
    """Return the measures of a year."""
    fields = {"shop_to_shop_yen": 0, "cash_out_yen": 0, "small_takings_yen": 0, **changes}
    return measure(flows, takings_yen=takings_yen, days=fields.pop("days", 365), **fields)


def test_money_that_turns_over_twice_a_year_has_a_velocity_of_two() -> None:
    flows = Flows(payments_yen=150, gifts_yen=30, outstanding_average_yen=100)
    assert measured(flows, 150, shop_to_shop_yen=20).velocity == 2.0
    assert measured(flows, 150, shop_to_shop_yen=20, days=73).velocity == 10.0


def test_what_shops_do_with_their_takings_is_measured_against_what_they_took() -> None:
    flows = Flows(payments_yen=120, payments_back_yen=20, visitors_yen=30)
    found = measured(flows, 60, 40, shop_to_shop_yen=25, cash_out_yen=50, small_takings_yen=60)
    assert (found.recirculation, found.leakage) == (0.25, 0.5)
    assert (found.small_shop_share, found.visitor_share) == (0.6, 0.3)
    assert found.shops == 2


def test_dormant_and_expired_money_is_measured_against_its_own() -> None:
    flows = Flows(outstanding_yen=200, dormant_yen=50, issued_yen=1_000, expired_yen=10)
    found = measured(flows)
    assert (found.dormancy, found.expiry_loss) == (0.25, 0.01)


def test_where_there_is_nothing_to_divide_by_there_is_no_number() -> None:
    found = measured(Flows())
    assert found == Circulation(
        velocity=None,
        recirculation=None,
        leakage=None,
        dormancy=None,
        gini=None,
        small_shop_share=None,
        visitor_share=None,
        transfers_per_issue=None,
        expiry_loss=None,
        shops=0,
    )


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [([], None), ([0, 0], None), ([7], 0.0), ([5, 5, 5], 0.0), ([0, 10], 0.5), ([1, 3], 0.25)],
)
def test_the_spread_is_gini_s(amounts: list[int], expected: float | None) -> None:
    assert gini(amounts) == expected


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_the_spread_lies_between_even_and_one_shop_alone(amounts: list[int]) -> None:
    found = gini(amounts)
    if found is not None:
        assert 0 <= found <= 1 - 1 / len(amounts) + 1e-4
        assert gini([one * 3 for one in amounts]) == found


def test_the_circulation_of_few_shops_is_not_published() -> None:
    few, many = measured(Flows(), 1, 1), measured(Flows(), *[1] * SHOPS_MIN)
    cells = publish([cell(50)])
    assert publish_circulation({"": few, "coin": many}, cells) == {"coin": many}
    assert publish_circulation({"coin": many}, publish(by_age(3))) == {}
