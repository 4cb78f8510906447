"""The measurement of approvals: everything it sends goes through, and it leaves nothing behind."""

from pathlib import Path

from tests.bench.commands import measured_quickly


def test_every_payment_of_the_measurement_goes_through(data: Path) -> None:
    sentence, figures = measured_quickly(data, "step_up")
    assert sentence.startswith("an approved payment costs ")
    assert figures.keys() == {
        "step_up_over_plain",
        "step_up_over_code",
        "step_up_cpu_ms_per_payment",
        "by_phone_cpu_ms_per_payment",
        "by_code_cpu_ms_per_payment",
    }
