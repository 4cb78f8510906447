"""A whole campaign, small: it ends to the yen, and says so only when it does."""

import json

import msgspec
import pytest
from rich.progress import Progress
from sqlalchemy import text

from tests.factories.moments import NOW_US
from tests.servers import Database
from wallet.core.database import make_engine, read
from wallet.demo.campaign.play import Outcome, play
from wallet.demo.campaign.stage import Step
from wallet.proof.programmes import ProgrammeTotals

APPLICANTS = 120
FRAMES = {"shirasagi-general", "shirasagi-silver", "shirasagi-child"}


async def test_a_campaign_is_played_from_the_draft_to_the_last_yen(database: Database) -> None:
    told: list[Step] = []
    outcome = await play(
        database.application_url,
        now_us=NOW_US,
        progress=Progress(disable=True),
        tell=told.append,
        applicants=APPLICANTS,
        shops=30,
    )
    assert outcome.ok, outcome.as_dict()
    assert told == outcome.steps
    assert [one.at for one in told] == sorted(one.at for one in told)
    assert {one.code for one in outcome.frames} == FRAMES
    for one in outcome.frames:
        assert one.issued_yen == one.redeemed_yen + one.expired_yen
        assert one.redeemed_yen > 0
        assert one.expired_yen > 0
    facts = {name: value for step in told for name, value in step.facts.items()}
    assert facts["applications"] == APPLICANTS
    assert 0 < int(facts["lapsed"]) < APPLICANTS / 10
    assert await campaign_of(database) == "archived"
    json.dumps(outcome.as_dict())


async def campaign_of(database: Database) -> str:
    """Return the state of the only campaign."""
    engine = make_engine(database.application_url, pool_size=1, application_name="tests")
    try:
        async with read(engine) as connection:
            return str((await connection.execute(text("SELECT state FROM campaign"))).scalar_one())
    finally:
        await engine.dispose()


TOTALS = ProgrammeTotals("frame", 1, 1_000, 0, 900, 100, 0)
GOOD = Outcome(steps=[], frames=[TOTALS], draw_agrees=True, verified=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"draw_agrees": False},
        {"verified": False},
        {"frames": []},
        {"frames": [msgspec.structs.replace(TOTALS, redeemed_yen=899)]},
        {"frames": [msgspec.structs.replace(TOTALS, circulating_yen=100, expired_yen=0)]},
        {"frames": [msgspec.structs.replace(TOTALS, issued_yen=0, redeemed_yen=0, expired_yen=0)]},
    ],
)
def test_what_does_not_end_to_the_yen_is_not_called_good(changes: dict[str, object]) -> None:
    assert GOOD.ok
    assert not msgspec.structs.replace(GOOD, **changes).ok
