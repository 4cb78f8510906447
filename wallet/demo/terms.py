"""The demonstration's programmes: a programme file whose days count from the day of seeding."""

from datetime import date, timedelta
from typing import Final

from wallet.core.refusals import RefusedError
from wallet.programmes.read_drafts import drafts_of, parse_toml
from wallet.programmes.terms import ProgrammeDraft

USABLE_DAYS_MAX: Final = 3_660


def read_demo_drafts(toml: str, *, today: date) -> list[ProgrammeDraft]:
    """Return the programmes of a file that may say ``first_day = "today"`` and ``usable_days``.

    Raises :class:`RefusedError` ``programme_file_invalid``.
    """
    document = parse_toml(toml)
    tables = document.get("programme")
    if isinstance(tables, list):
        document["programme"] = [_dated(table, today) for table in tables]
    return drafts_of(document)


def _dated(table: object, today: date) -> object:
    """Put dates in the place of ``today`` and a number of days; leave anything else alone."""
    if not isinstance(table, dict):
        return table
    spending = table.get("spending")
    if not isinstance(spending, dict) or spending.get("first_day") != "today":
        return table
    rest = {name: value for name, value in spending.items() if name != "usable_days"}
    days = spending.get("usable_days")
    if type(days) is not int or not 1 <= days <= USABLE_DAYS_MAX:
        problem = f"spending.usable_days: use 1 to {USABLE_DAYS_MAX:,} days, today included."
        raise RefusedError("programme_file_invalid", problem=problem)
    dates = {"first_day": today, "last_day": today + timedelta(days=days - 1)}
    return {**table, "spending": {**rest, **dates}}
