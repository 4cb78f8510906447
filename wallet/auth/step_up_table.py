"""The step-up table: read from ``step_up.toml`` once, checked, and asked by every door.

The file is the policy. What is checked here is that it is whole and that it never asks for less
when more is at stake.
"""

import tomllib
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from wallet.auth.rules import (
    INCLUDED,
    Band,
    Operation,
    Outcome,
    Requirement,
    Risk,
    Row,
    find_requirement,
)

PATH: Final = Path(__file__).with_name("step_up.toml")

MAX_AGE_S_MAX: Final = 900
"""Nothing shown longer ago says who holds the phone now."""

HOLD_H_MAX: Final = 96


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    row: tuple[Row, ...]


class StepUpTableError(ValueError):
    """The table cannot be used; the message says which row and why. No process starts on it."""


def requirement(
    *, operation: Operation, amount_yen: int, risk: Risk, bands_open: Collection[Band]
) -> Requirement:
    """Return what is asked of an operation of this amount (yen, 0 where there is none)."""
    return find_requirement(
        table(), operation=operation, amount_yen=amount_yen, risk=risk, bands_open=bands_open
    )


@cache
def table() -> tuple[Row, ...]:
    """Return the rows; reads the file on the first call only."""
    return read_table(PATH.read_text(encoding="utf-8"))


def read_table(toml: str) -> tuple[Row, ...]:
    """Return the rows of a TOML document.

    Raises :class:`StepUpTableError` when a name or a type is wrong, an operation or its last row
    is missing, rows do not rise, or a cell asks for less than the one to its left or above it.
    """
    try:
        rows = msgspec.convert(tomllib.loads(toml), _Document).row
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"the step-up table cannot be read: {error}"
        raise StepUpTableError(message) from None
    problems = list(_problems(rows))
    if problems:
        raise StepUpTableError("; ".join(problems))
    return rows


def _problems(rows: Sequence[Row]) -> Iterator[str]:
    for operation in Operation:
        own = [row for row in rows if row.operation is operation]
        limits = [row.up_to_yen for row in own]
        if not own or limits[-1] is not None:
            yield f"{operation} has no last row without up_to_yen"
        elif None in limits[:-1] or any(a >= b for a, b in pairwise(filter(None, limits))):
            yield f"the amounts of {operation} do not rise"
        elif own[-1].band is not None:
            yield f"the last row of {operation} has a band and nothing below it"
        else:
            yield from _problems_of_cells(own)


def _problems_of_cells(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        where = f"{row.operation} up to {row.up_to_yen}"
        cells = [row.cell(risk) for risk in Risk]
        for risk, cell in zip(Risk, cells, strict=True):
            if not _is_one_thing(cell):
                yield f"{where}, {risk}: not one of require with max_age_s, hold_h, counter, deny"
        if any(severity(left) > severity(right) for left, right in pairwise(cells)):
            yield f"{where}: a higher risk asks for less"
    for upper, lower in pairwise(rows):
        if any(severity(upper.cell(risk)) > severity(lower.cell(risk)) for risk in Risk):
            yield f"{lower.operation} up to {lower.up_to_yen}: a higher amount asks for less"


def _is_one_thing(cell: Requirement) -> bool:
    asks_or_holds = bool(cell.require) or cell.hold_h > 0
    has_age = 0 < cell.max_age_s <= MAX_AGE_S_MAX if cell.require else cell.max_age_s == 0
    return (
        asks_or_holds + cell.counter + cell.deny == 1 and has_age and 0 <= cell.hold_h <= HOLD_H_MAX
    )


def severity(cell: Requirement) -> tuple[int, int, int]:
    """Return how strict a cell is, for comparison: its outcome, its level, its hours."""
    weakest = min((len(INCLUDED[level]) for level in cell.require), default=0)
    return list(Outcome).index(cell.outcome), weakest, cell.hold_h
