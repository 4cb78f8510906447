"""The measurement of grants: everything is granted and paid, and it leaves nothing behind."""

from pathlib import Path

from tests.bench.commands import measured_quickly


def test_everything_is_granted_and_every_payment_goes_through(data: Path) -> None:
    sentence, figures = measured_quickly(data, "grants")
    assert "wallets/s beside a till at half load" in sentence
    assert figures.keys() == {
        "grants",
        "grants_per_s",
        "grants_per_s_beside_the_till",
        "grants_beside_over_alone",
        "grant_cpu_ms",
        "roster_import_s",
        "till_payments_per_s",
        "till_half_load_per_s",
        "till_p99_ms",
        "till_p99_ms_beside_grants",
    }
    assert figures["grants"] == 40
