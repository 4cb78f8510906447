"""The measurement of a first-come sale: everybody is served, and the last unit is sold once."""

from dataclasses import dataclass
from pathlib import Path

from bench.first_come import QUICK, FirstCome, Rate, measure_first_come
from bench.stage import Stage
from tests.factories.moments import PEPPER
from tests.servers import Database


@dataclass(frozen=True, kw_only=True)
class Borrowed(Stage):
    """A stage on a database of the tests' own server."""

    url: str

    @property
    def application_url(self) -> str:
        """The database."""
        return self.url


def test_the_ratio_is_of_the_two_rates() -> None:
    found = FirstCome(payments=Rate(1_000, 2.0), reservations=Rate(900, 1.5))
    assert found.figures()["first_come_over_payments"] == 1.2


async def test_a_crowd_pays_and_buys_and_the_last_units_are_all_sold(
    database: Database, tmp_path: Path
) -> None:
    stage = Borrowed(
        cluster=None,  # type: ignore[arg-type] # a smoke test needs none
        pepper=PEPPER.decode(),
        directory=tmp_path,
        url=database.application_url,
    )
    found = await measure_first_come(stage, QUICK)
    assert found.figures()["last_units_sold"] == QUICK.last_units
    assert found.payments.answered > 0
    assert found.reservations.answered > 0
