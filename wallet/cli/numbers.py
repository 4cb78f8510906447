"""``wallet numbers``: what became of the city's money, as a report, JSON or CSV."""

import json
import sys
from datetime import date, datetime
from typing import Annotated

import typer
from rich.table import Table

from wallet.cli.shell import JsonOption, console, with_engine
from wallet.core.clock import japanese_day, system_clock
from wallet.core.csv_files import write_csv
from wallet.opendata.numbers import COLUMNS, MEASURES, Numbers, count
from wallet.opendata.rules import Cell, Circulation

DayOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day in Japan, included")
]

_FIELDS = (
    "sold_sets",
    "sold_yen",
    "issued_yen",
    "redeemed_yen",
    "expired_yen",
    "refunded_yen",
    "outstanding_yen",
)


def numbers_command(
    *,
    programme: Annotated[str | None, typer.Option(help="Code of one programme")] = None,
    since: DayOption = None,
    until: DayOption = None,
    public: Annotated[bool, typer.Option("--public", help="Leave small cells out")] = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The cells as a CSV file")] = False,
    circulation: Annotated[
        bool, typer.Option("--circulation", help="With --csv: how the money goes round instead")
    ] = False,
) -> None:
    """Add up every programme by age, area and size of shops, and how its money goes round."""
    until_day = _day(until) or japanese_day(system_clock())
    numbers = with_engine(
        lambda engine, _: count(
            engine, since=_day(since), until=until_day, programme=programme, public=public
        )
    )
    if as_csv:
        table = (
            write_csv(MEASURES, numbers.measures())
            if circulation
            else write_csv(COLUMNS, numbers.rows())
        )
        sys.stdout.write(table.decode("utf-8"))
    elif as_json:
        sys.stdout.write(json.dumps(numbers.as_dict(), ensure_ascii=False) + "\n")
    else:
        _show(numbers)


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _show(numbers: Numbers) -> None:
    """Print the numbers for people: a table of cells, then one of measures."""
    period = f"{numbers.period.since} – {numbers.period.until}"
    cells = Table(title=f"Yen by programme, {period}", title_justify="left")
    for name in ("programme", "cell", "wallets", *(field.split("_")[0] for field in _FIELDS)):
        cells.add_column(name, justify="left" if name in {"programme", "cell"} else "right")
    for one in numbers.cells:
        cells.add_row(one.programme, f"{one.dimension} {one.cell}", *_amounts(one))
    console.print(cells)
    measures = Table(title=f"Circulation, {period}", title_justify="left")
    names = Circulation.__struct_fields__
    for name in ("programme", *names):
        measures.add_column(name.replace("_", " "), justify="right")
    for programme, measured in numbers.circulation.items():
        row = (_number(getattr(measured, name)) for name in names)
        measures.add_row(programme or "all", *row)
    console.print(measures)


def _amounts(one: Cell) -> list[str]:
    if one.suppressed:
        return ["–"] * (len(_FIELDS) + 1)
    return [_number(one.wallets), *(_number(getattr(one, field)) for field in _FIELDS)]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
