"""``wallet numbers``: what became of the city's money, as a report, JSON or CSV."""

import json
import sys
from datetime import date, datetime
from itertools import groupby
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from wallet.cli.shell import JsonOption, console, with_engine
from wallet.core.clock import japanese_day, system_clock
from wallet.core.csv_files import write_csv
from wallet.opendata.numbers import COLUMNS, MEASURES, Numbers, count
from wallet.opendata.rules import Cell, Circulation

DayOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day in Japan, included")
]

_FIELDS: Final = (
    "sold_sets",
    "issued_yen",
    "redeemed_yen",
    "expired_yen",
    "refunded_yen",
    "outstanding_yen",
)
_HEADINGS: Final = ("sets", "issued", "redeemed", "expired", "refunded", "outstanding")
_WIDTH_MAX: Final = 500


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
    """Print the numbers for people: a table of cells for each programme, then one of measures."""
    period = f"{numbers.period.since} – {numbers.period.until}"
    for programme, cells in groupby(numbers.cells, key=lambda one: one.programme):
        table = _table(f"{programme}, {period}, yen", "", "wallets", *_HEADINGS)
        for one in cells:
            table.add_row(f"{one.dimension} {one.cell}", *_amounts(one))
        _print(table)
    circulation = numbers.circulation
    table = _table(f"Circulation, {period}", "", *(code or "all" for code in circulation))
    for name in Circulation.__struct_fields__:
        row = (_number(getattr(measured, name)) for measured in circulation.values())
        table.add_row(name.replace("_", " "), *row)
    _print(table)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def _print(table: Table) -> None:
    """Print a table as wide as it is: half a number is worse than a line that wraps."""
    needed = Measurement.get(console, console.options.update(max_width=_WIDTH_MAX), table).maximum
    Console(width=max(console.width, needed)).print(table, "")


def _amounts(one: Cell) -> list[str]:
    if one.suppressed:
        return ["–"] * (len(_FIELDS) + 1)
    return [_number(one.wallets), *(_number(getattr(one, field)) for field in _FIELDS)]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
