"""The measurement of expiry: every purse ends, every payment goes through, nothing is left."""

from pathlib import Path

from bench.expiry import PROGRAMMES, QUICK
from tests.bench.commands import measured_quickly


def test_every_purse_of_the_measurement_ends_while_people_pay(data: Path) -> None:
    sentence, figures = measured_quickly(data, "expiry")
    assert sentence.startswith(f"{QUICK.holders * PROGRAMMES} purses ended in ")
    assert figures["expired_purses"] == QUICK.holders * PROGRAMMES
    assert figures.keys() == {
        "expired_purses",
        "expiry_s",
        "expired_per_s",
        "payments_per_s_beside",
        "p99_ms_before",
        "p99_ms_beside",
        "p99_beside_over_before",
    }
