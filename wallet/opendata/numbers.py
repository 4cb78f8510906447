"""Numbers for people who decide: programme by programme, and how the money goes round."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import japanese_day
from wallet.core.refusals import RefusedError
from wallet.ledger.findings import snapshot
from wallet.opendata import storage
from wallet.opendata.rules import (
    Cell,
    Circulation,
    Flows,
    Period,
    age_order,
    as_dict,
    measure,
    publish,
    publish_circulation,
)

COLUMNS: Final = (
    "programme",
    "dimension",
    "cell",
    "wallets",
    "shops",
    "sold_sets",
    "sold_yen",
    "issued_yen",
    "redeemed_yen",
    "expired_yen",
    "refunded_yen",
    "outstanding_yen",
    "suppressed",
)
"""The head row of the numbers as CSV; a cell that says nothing is empty."""

MEASURES: Final = ("programme", *Circulation.__struct_fields__)
"""The head row of the circulation as CSV; the city as a whole has no programme."""

DAYS_MIN: Final = date(2000, 1, 1)
DAYS_MAX: Final = date(2999, 12, 31)
"""Days that can be asked for; the calendar has an end, and no city's money was older."""

_DIMENSIONS: Final = ("total", "age", "area", "shop_size")


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a period; the city's circulation stands under no programme's name."""

    period: Period
    public: bool
    cells: list[Cell]
    circulation: dict[str, Circulation]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON, each programme with its cells by dimension."""
        programmes: dict[str, dict[str, Any]] = {}
        for one in self.cells:
            cell = as_dict(one)
            del cell["moved_wallets"]  # It decides what is published, and is no number of its own.
            programme, dimension = cell.pop("programme"), cell.pop("dimension")
            shown = programmes.setdefault(
                programme, {"programme": programme, **{name: [] for name in _DIMENSIONS}}
            )
            shown[dimension].append(cell)
        for name, shown in programmes.items():
            shown["total"] = shown["total"][0]
            measured = self.circulation.get(name)
            shown["circulation"] = None if measured is None else as_dict(measured)
        city = self.circulation.get("")
        return {
            "since": self.period.since.isoformat(),
            "until": self.period.until.isoformat(),
            "public": self.public,
            "programmes": list(programmes.values()),
            "circulation": None if city is None else as_dict(city),
        }

    def rows(self) -> Iterator[Sequence[str | int | None]]:
        """Yield the cells as rows of :data:`COLUMNS`."""
        for one in self.cells:
            *values, suppressed = (getattr(one, name) for name in COLUMNS)
            yield [*values, int(suppressed)]

    def measures(self) -> Iterator[Sequence[str | float | None]]:
        """Yield the circulation as rows of :data:`MEASURES`."""
        for name, one in self.circulation.items():
            yield [name, *(getattr(one, field) for field in Circulation.__struct_fields__)]


async def count(
    engine: AsyncEngine,
    *,
    until: date,
    since: date | None = None,
    programme: str | None = None,
    public: bool = False,
) -> Numbers:
    """Return the numbers of the days ``since`` to ``until``, from one snapshot of the ledger.

    Without ``since`` from the first day on which money moved. ``public`` leaves small cells out;
    two such forms whose periods differ by a day still tell what was done on that day, so what is
    published is one row of periods that follow each other. Raises :class:`RefusedError`
    ``period_invalid`` and ``programme_unknown``.
    """
    async with snapshot(engine) as connection:
        period = await _period(connection, since, until)
        cells = await _cells(connection, period)
        if programme is not None and programme not in {one.programme for one in cells}:
            raise RefusedError("programme_unknown")  # What was typed is not kept.
        circulation = await _circulation(connection, period)
    if public:
        cells = publish(cells)
        circulation = publish_circulation(circulation, cells)
    if programme is not None:
        cells = [one for one in cells if one.programme == programme]
        circulation = {name: one for name, one in circulation.items() if name == programme}
    return Numbers(period=period, public=public, cells=cells, circulation=circulation)


async def _period(connection: AsyncConnection, since: date | None, until: date) -> Period:
    if since is None:
        first_us = await storage.first_transfer_us(connection)
        since = until if first_us is None else min(japanese_day(first_us), until)
    if not DAYS_MIN <= since <= until <= DAYS_MAX:
        raise RefusedError("period_invalid")
    return Period(since, until)


async def _cells(connection: AsyncConnection, period: Period) -> list[Cell]:
    """Return all cells: by programme, then total, ages, areas and sizes of shops."""
    cells = await storage.read_holders(connection, period)
    order = {one.programme: n for n, one in enumerate(cells) if one.dimension == "total"}
    takings, payers = await storage.read_takings(connection, period)
    sizes: dict[tuple[str, str], list[int]] = {}
    for programme, size, taken_yen in takings:
        sizes.setdefault((programme, size), []).append(taken_yen)
    cells += [
        Cell(
            programme=programme,
            dimension="shop_size",
            cell=size,
            wallets=payers[programme, size],
            moved_wallets=payers[programme, size],
            shops=len(taken),
            redeemed_yen=sum(taken),
        )
        for (programme, size), taken in sizes.items()
    ]
    return sorted(
        cells,
        key=lambda one: (
            order[one.programme],
            _DIMENSIONS.index(one.dimension),
            age_order(one.cell),
        ),
    )


async def _circulation(connection: AsyncConnection, period: Period) -> dict[str, Circulation]:
    """Return the measures of the city, and of each programme that has moved."""
    flows = {"": Flows(), **await storage.read_flows(connection, period)}
    takings, _ = await storage.read_takings(connection, period)
    shop_to_shop_yen, cash_out_yen = await storage.read_takings_left(connection, period)
    measured = {}
    for name, flow in sorted(flows.items()):
        own = [(size, yen) for programme, size, yen in takings if name in {"", programme}]
        measured[name] = measure(
            flow,
            takings_yen=[yen for _, yen in own if yen > 0],
            small_takings_yen=sum(yen for size, yen in own if size == "small"),
            shop_to_shop_yen=None if name else shop_to_shop_yen,
            cash_out_yen=None if name else cash_out_yen,
            days=period.days,
        )
    return measured
