"""``wallet benefit``: rosters are checked before they are handed in, and grants given."""

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from tests.factories.benefits import BENEFIT, YEN, csv_of, make_office, row, wallet_row
from tests.factories.city import open_rooms
from tests.factories.moments import PEPPER
from tests.factories.people import make_wallet
from tests.servers import Database
from wallet.cli import application
from wallet.core.clock import system_clock
from wallet.core.ids import public_id
from wallet.settings import read_settings

FAR = date(2099, 3, 31)
"""The shell has no other clock than the machine's."""


@pytest.fixture
def environment(module_database: Database, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a shell."""
    return {
        "DATABASE_URL": module_database.application_url,
        "DATABASE_OWNER_URL": module_database.owner_url,
        "WALLET_PEPPER": PEPPER.decode(),
        "WALLET_DATA": str(tmp_path),
    }


def run(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run a command and return its exit status and what it said."""
    read_settings.cache_clear()
    done = CliRunner().invoke(application, ["benefit", *arguments], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def told(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Return the one object that a command tells."""
    _, words = run(environment, *arguments, "--json")
    one: dict[str, Any] = json.loads(words)
    return one


def test_a_good_roster_is_said_to_be_good(environment: dict[str, str], tmp_path: Path) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_bytes(csv_of([row(), row()]))
    status, words = run(environment, "check", str(roster))
    assert (status, words) == (0, "2 of 2 rows can be accepted, 20,000 yen in all.\n")


def test_what_is_wrong_is_said_by_row(environment: dict[str, str], tmp_path: Path) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_bytes(csv_of([row(), row(amount="x"), row(programme_id="other")]))
    status, words = run(environment, "check", str(roster), "--programme", BENEFIT)
    assert status == 1
    assert "row 3, amount: 金額は円の整数で" in words
    found = told(environment, "check", str(roster), "--programme", BENEFIT)
    assert (found["rows"], found["accepted"], found["amount_yen"]) == (3, 1, YEN)
    assert found["errors"][1] == {"row": 4, "column": "programme_id", "code": "programme_other"}


async def approve_one(database_url: str) -> tuple[UUID, UUID]:
    """Approve a run of two grants; return it, and the wallet that one of them names."""
    async with open_rooms(database_url) as (engine, teller):
        office = await make_office(engine, teller, database_url, claim_until=FAR, last_day=FAR)
        wallet_id = await make_wallet(engine)
        return await office.approved(wallet_row(wallet_id), row()), wallet_id


def test_a_run_is_given_and_shown(environment: dict[str, str]) -> None:
    now_us = system_clock()
    run_id, _ = asyncio.run(approve_one(environment["DATABASE_URL"]))
    shown = told(environment, "show", public_id("bnf", run_id))
    assert (shown["state"], shown["states"], shown["amount_yen"]) == (
        "approved",
        {"draft": 2},
        2 * YEN,
    )
    given = told(environment, "grant")
    assert (given["granted"], given["held_up"]) == (1, 0)
    assert told(environment, "grant")["granted"] == 0
    status, words = run(environment, "show", public_id("bnf", run_id))
    assert (status, words.endswith("is approved: 1 granted, 1 offered.\n")) == (0, True)
    assert system_clock() > now_us
