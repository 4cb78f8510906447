"""The measurement of bonuses: every payment goes through, and every point is found again."""

from pathlib import Path

from tests.bench.commands import measured_quickly


def test_every_payment_of_the_measurement_brings_its_points(data: Path) -> None:
    sentence, figures = measured_quickly(data, "bonus")
    assert sentence.startswith("with a bonus on every payment the till takes ")
    assert {"bonus_over_plain", "capped_bonus_over_plain"} <= figures.keys()
    assert figures["points_given"] > 0
