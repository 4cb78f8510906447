"""The report: what is said to be reached, what is said not to be trusted, and the books."""

import json
from typing import Any

import pytest

from bench.__main__ import report
from bench.books import Books
from bench.report import TARGETS, flaws_of
from bench.run import Measured
from bench.till import Ledgered

GOOD = {
    "late_share": 0.0,
    "generator_cpu_share": 0.5,
    "errors": 0,
    "ledger_verified": True,
    "everything_told_is_there": True,
}


def books(*, told: Ledgered | None = None, **changes: Any) -> Books:  # noqa: ANN401 - fields
    """Return books that add up, with ``changes``."""
    fields: dict[str, Any] = {
        "transfers_told": 5, "transfers": 5, "payments": 3, "amount_yen": 900, "verified": True,
    }  # fmt: skip
    told = told or Ledgered(payments=3, amount_yen=900)
    return Books(told=told, **{**fields, **changes})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("ledger_64_over_pgbench", 6.0, "reached, and the aim"),
        ("ledger_64_over_pgbench", 5.99, "reached"),
        ("ledger_64_over_pgbench", 3.99, "NOT reached"),
        ("till_cpu_ms_per_payment", 0.4, "reached, and the aim"),
        ("till_cpu_ms_per_payment", 0.41, "reached"),
        ("till_cpu_ms_per_payment", 0.61, "NOT reached"),
        ("till_rss_mb", 200.0, "reached"),
        ("till_rss_mb", 200.1, "NOT reached"),
    ],
)
def test_what_was_reached_is_said_in_words(key: str, value: float, words: str) -> None:
    (target,) = [target for target in TARGETS if target.key == key]
    assert target.reached_in_words(value) == words


def test_good_figures_have_no_flaw() -> None:
    assert flaws_of(GOOD) == []


@pytest.mark.parametrize(
    "flaw",
    [
        {"late_share": 0.0011},
        {"generator_cpu_share": 0.91},
        {"errors": 1},
        {"ledger_verified": False},
        {"everything_told_is_there": False},
    ],
)
def test_a_flaw_of_the_figures_is_told(flaw: dict[str, Any]) -> None:
    assert len(flaws_of({**GOOD, **flaw})) == 1


def test_books_that_add_up_are_complete() -> None:
    assert books().complete
    assert books().ok


@pytest.mark.parametrize(
    "changes",
    [
        {"payments": 2},
        {"payments": 4},
        {"amount_yen": 899},
        {"transfers": 4},
        {"transfers": 6},
    ],
)
def test_books_that_miss_what_was_told_are_not_complete(changes: dict[str, Any]) -> None:
    assert not books(**changes).complete
    assert not books(**changes).ok


def test_a_payment_whose_answer_was_lost_may_be_there_or_not() -> None:
    told = Ledgered(payments=2, amount_yen=600, unanswered=1)
    assert books(told=told, payments=3).complete
    assert books(told=told, payments=2, amount_yen=600).complete
    assert not books(told=told, payments=4).complete
    assert not books(told=told, payments=3).ok


@pytest.mark.parametrize(
    ("closed", "status"),
    [
        (books(), 0),
        (books(verified=False), 1),
        (books(amount_yen=899), 1),
        (books(told=Ledgered(payments=3, amount_yen=900, refused=1)), 1),
    ],
)
def test_the_exit_status_tells_whether_the_money_adds_up(
    capsys: pytest.CaptureFixture[str], closed: Books, status: int
) -> None:
    measured = Measured(fdatasync_us=100.0, tps_beside_ledger=[900.0, 1_100.0], books=closed)
    assert report(measured, quick=True) == status
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["pgbench_tps"] == 1_000
    assert bool(figures["flaws"]) == (status == 1)
