"""The measure of the hash gate counts everybody who came."""

import pytest

from bench.hash_gate import measure_gate, percentile


async def test_whoever_came_was_served_or_refused() -> None:
    gated = await measure_gate(offered_per_s=300, seconds=0.5, workers=1)
    assert len(gated.done_ms) + len(gated.refused_ms) == 150
    assert gated.refused_ms
    assert gated.done_per_s > 0


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 99, 0.0), ([3.0], 99, 3.0), ([2.0, 1.0, 4.0, 3.0], 50, 2.0), ([1.0, 2.0], 99, 2.0)],
)
def test_a_percentile_is_a_value_that_was_measured(
    values: list[float], percent: int, expected: float
) -> None:
    assert percentile(values, percent) == expected
