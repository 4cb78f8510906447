"""``wallet campaign``: where campaigns stand, and what anybody may check."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.cli.shell import Shell
from tests.factories.campaigns import (
    RESULTS_ON,
    close_applications,
    make_applicant,
    make_fair,
    open_applications,
)
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.servers import ROOT
from wallet.core.clock import TestClock
from wallet.vouchers.campaigns_rules import end_of


async def hold_a_draw(database_url: str) -> None:
    """Have two apply for the one set of a campaign, and draw it."""
    clock = TestClock(NOW_US)
    async with open_rooms(database_url, clock=clock) as (engine, teller):
        fair = await open_applications(await make_fair(engine, teller, clock, sets_total=1))
        for _ in range(2):
            await fair.apply(await make_applicant(engine, now_us=clock()))
        await close_applications(fair)
        await fair.draw()
        fair.go_to(end_of(RESULTS_ON))
        await fair.work()


def test_a_draw_is_published_as_files_that_verify(shell: Shell, tmp_path: Path) -> None:
    asyncio.run(hold_a_draw(shell.database_url))
    (listed,) = shell.json("campaign", "list")["campaigns"]
    assert (listed["code"], listed["state"]) == ("voucher", "purchasing")
    told = shell.json("campaign", "show", "voucher")
    assert [(one["state"], one["units"]) for one in told["applications"]] == [
        ("lost", 1),
        ("won", 1),
    ]
    assert "voucher: purchasing" in shell.run("campaign", "show", "voucher").stdout
    files = shell.json("campaign", "publish", "voucher", str(tmp_path / "draw"))["files"]
    assert [Path(one).name for one in files] == ["draw.json", "list.csv", "result.csv"]
    checked = subprocess.run(
        (sys.executable, str(ROOT / "scripts" / "verify_draw.py"), str(tmp_path / "draw")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.startswith("The draw is as it must be")


def test_what_is_not_there_is_told(shell: Shell, tmp_path: Path) -> None:
    assert shell.run("campaign", "show", "none").returncode == 1
    second = shell.run("campaign", "publish", "voucher", str(tmp_path), "--round", "2")
    assert second.returncode == 1
    assert list(tmp_path.iterdir()) == []
