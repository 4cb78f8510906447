"""``wallet benefit``: check a roster before it is handed in, see how far a run is, give now."""

import json
import sys
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.benefits.queries import add_up, find_run
from wallet.benefits.read_roster import Roster, read_roster
from wallet.benefits.rules import WRONG_WITH_A_ROW
from wallet.benefits.run_due import Worked, run_due
from wallet.cli.shell import JsonOption, emit, read_id, with_engine
from wallet.core.clock import japanese_day, system_clock
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.runtime import Runtime

group = typer.Typer(no_args_is_help=True, help="Benefits: rosters and grants.")

_TO_DO = text("""
SELECT count(*)::int FROM benefit_run AS r JOIN benefit_grant AS g ON g.run_id = r.id
WHERE r.state = 'approved' AND r.paused_at IS NULL
  AND (g.state = 'draft' OR g.state = 'due' AND g.because IS NULL)
""")


@group.command("check")
def check(
    roster: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    *,
    programme: Annotated[str, typer.Option(help="The code of the benefit's programme")] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what a roster comes to and what is wrong with which row; exit 1 if anything is."""
    found = read_roster(roster.read_bytes(), programme=programme, day=japanese_day(system_clock()))
    if as_json:
        sys.stdout.write(json.dumps(_checked(found), ensure_ascii=False) + "\n")
    else:
        for error in found.errors:
            words = WRONG_WITH_A_ROW[error.code]
            sys.stdout.write(f"row {error.row_number}, {error.field}: {words}\n")
        amount_yen = sum(row.amount_yen for row in found.rows)
        sys.stdout.write(
            f"{len(found.rows):,} of {found.rows_total:,} rows can be accepted,"
            f" {amount_yen:,} yen in all.\n"
        )
    raise typer.Exit(1 if found.errors else 0)


def _checked(found: Roster) -> dict[str, Any]:
    return {
        "file_hash": found.file_hash.hex(),
        "rows": found.rows_total,
        "accepted": len(found.rows),
        "amount_yen": sum(row.amount_yen for row in found.rows),
        "errors": [
            {"row": error.row_number, "column": error.field, "code": error.code}
            for error in found.errors
        ],
    }


@group.command("show")
def show(run: str, *, as_json: JsonOption = False) -> None:
    """Say how far a run is, by the states of its grants."""
    run_id = read_id("bnf", run)

    async def work(engine: AsyncEngine, _: Runtime) -> dict[str, Any]:
        async with read(engine) as connection:
            found = await find_run(connection, run_id)
            totals = await add_up(connection, found)
        states: dict[str, int] = {}
        for one in totals.groups:
            states[one.state] = states.get(one.state, 0) + one.count
        return {
            "id": public_id("bnf", found.id),
            "programme": found.programme,
            "state": found.state,
            "paused": found.paused_at is not None,
            "accepted": totals.accepted,
            "refused": totals.refused,
            "amount_yen": totals.amount_yen,
            "states": states,
        }

    told = with_engine(work)
    states = ", ".join(f"{count:,} {state}" for state, count in told["states"].items())
    held_up = ", held up" if told["paused"] else ""
    emit(told, f"{told['id']} is {told['state']}{held_up}: {states}.", as_json=as_json)


@group.command("grant")
def grant(*, as_json: JsonOption = False) -> None:
    """Give now what is due of all approved runs, as the worker does in its rounds."""
    started = monotonic()
    worked = with_engine(_give_all)
    seconds = monotonic() - started
    told = {
        "granted": worked.granted,
        "held_up": worked.held_up,
        "lapsed": worked.lapsed,
        "taken_back": worked.taken_back,
        "seconds": round(seconds, 3),
    }
    sentence = (
        f"Granted {worked.granted:,} in {seconds:.1f} s; {worked.held_up:,} could not be given,"
        f" {worked.lapsed:,} have lapsed, {worked.taken_back:,} went back."
    )
    emit(told, sentence, as_json=as_json)


async def _give_all(engine: AsyncEngine, runtime: Runtime) -> Worked:
    """Work in rounds until one finds nothing to do; show on standard error how far it is."""
    async with read(engine) as connection:
        to_do: int = (await connection.execute(_TO_DO)).scalar_one()
    total = Worked()
    columns = (TextColumn("granting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("granting", total=to_do)
        while True:
            worked = await run_due(
                engine,
                runtime.database_url,
                system_clock,
                on_granted=lambda more: progress.advance(task, more),
            )
            total.add(worked)
            if not (worked.granted or worked.held_up or worked.opened or worked.taken_back):
                return total
