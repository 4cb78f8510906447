"""The summary: when a replay is good, and how long it took."""

import pytest

from wallet.replay.replay import latencies, summarise
from wallet.replay.send import Outcome

PAID = Outcome("a", 100, 10.0, 1, paid=True, payment_id="pay_1")
SHORT = Outcome("b", 100, 20.0, 0, payment_id="pay_2", refusal="balance_insufficient")
STOPPED = Outcome("c", 100, 30.0, 0, refusal="service_stopped")
BUSY = Outcome("d", 100, 40.0, 7, refusal="overloaded")
UNANSWERED = Outcome("e", 100, 50.0, 7)


def is_ok(*outcomes: Outcome, problems: tuple[str, ...] = (), verified: bool = True) -> bool:
    """Whether a replay with these outcomes is good."""
    return summarise(
        outcomes,
        seconds=1.0,
        zero_rows=0,
        problems=list(problems),
        verified=verified,
        verify_report={},
    ).ok


def test_a_replay_is_good_when_all_were_answered_as_expected_and_all_is_proved() -> None:
    assert is_ok(PAID, SHORT, STOPPED)


def test_one_flaw_of_any_kind_makes_it_bad() -> None:
    assert not is_ok(PAID, BUSY)
    assert not is_ok(PAID, UNANSWERED)
    assert not is_ok(PAID, problems=("a was recorded twice",))
    assert not is_ok(PAID, verified=False)


def test_the_numbers_are_those_of_the_answers() -> None:
    outcomes = [PAID, SHORT, SHORT, STOPPED, UNANSWERED]
    summary = summarise(
        outcomes,
        seconds=2.0,
        zero_rows=3,
        problems=["p"],
        verified=True,
        verify_report={"ok": True},
    ).as_dict()
    assert summary == {
        "ok": False,
        "payments": 5,
        "paid": 1,
        "unanswered": 1,
        "retries": 8,
        "zero_rows": 3,
        "seconds": 2.0,
        "payments_per_s": 2.0,
        "latency_ms": {"p50": 20.0, "p95": 50.0, "p99": 50.0, "max": 50.0},
        "refusals": {"balance_insufficient": 2, "service_stopped": 1},
        "problems": ["p"],
        "verify": {"ok": True},
    }


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, [0, 0, 0, 0]),
        (1, [1, 1, 1, 1]),
        (2, [1, 2, 2, 2]),
        (100, [50, 95, 99, 100]),
        (1_000, [500, 950, 990, 1_000]),
    ],
)
def test_a_percentile_is_the_nearest_rank(count: int, expected: list[int]) -> None:
    values_ms = [float(n) for n in range(count, 0, -1)]
    assert list(latencies(values_ms).values()) == expected
