"""The pure part of the numbers: cells, what the public form leaves out, and measures of money."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

import msgspec

from wallet.core.clock import JST, to_microseconds

WALLETS_MIN: Final = 10
"""A cell with fewer holders behind it, or with fewer of them whose money moved, is not published:
starting value of the open-data page."""

SHOPS_MIN: Final = 3
"""With fewer shops behind a number, each of them could work out the takings of the others."""

DORMANT_DAYS: Final = 90
YEAR_DAYS: Final = 365

UNKNOWN: Final = "unknown"
"""The cell of whoever has told nothing, and of cards and paper without a name."""


class Period(msgspec.Struct, frozen=True):
    """Japanese calendar days, both included."""

    since: date
    until: date

    @property
    def from_us(self) -> int:
        """The first moment of the period."""
        return _midnight_us(self.since)

    @property
    def to_us(self) -> int:
        """The first moment after the period."""
        return _midnight_us(self.until + timedelta(days=1))

    @property
    def days(self) -> int:
        """How long the period is."""
        return (self.until - self.since).days + 1


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What the holders of one kind did in a period, in yen; what they hold is of its last day.

    ``dimension`` is ``total``, ``age``, ``area`` or ``shop_size``; of a size of shops there is only
    what was redeemed there. Of the ``wallets`` that hold or held money, ``moved_wallets`` are those
    of which anything moved in the period. A cell that is ``suppressed`` says nothing.
    """

    programme: str
    dimension: str
    cell: str
    wallets: int | None
    moved_wallets: int | None = None
    shops: int | None = None
    sold_sets: int | None = None
    sold_yen: int | None = None
    issued_yen: int | None = None
    redeemed_yen: int | None = None
    expired_yen: int | None = None
    refunded_yen: int | None = None
    outstanding_yen: int | None = None
    suppressed: bool = False


class Flows(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, in yen; ``outstanding_average_yen`` is over the time of the period."""

    payments_yen: int = 0
    payments_back_yen: int = 0
    gifts_yen: int = 0
    issued_yen: int = 0
    expired_yen: int = 0
    visitors_yen: int = 0
    outstanding_yen: int = 0
    outstanding_average_yen: int = 0
    dormant_yen: int = 0

    @property
    def receipts_yen(self) -> int:
        """What shops took and kept."""
        return self.payments_yen - self.payments_back_yen


class Circulation(msgspec.Struct, frozen=True, kw_only=True):
    """How the money went round; None where there is nothing to divide by.

    ``velocity``: payments, payments between shops and gifts, over what was outstanding on average,
    a year. ``recirculation``: what shops paid to shops, over what they took. ``leakage``: what they
    had paid out, over what they took. ``dormancy``: the part of the money outstanding in wallets
    that nothing has left for :data:`DORMANT_DAYS` days. ``gini``: how unevenly the takings are
    spread over the shops that took any; 0 is even. ``transfers_per_issue``: how many times a yen
    moved for each that was issued. ``expiry_loss``: what expired, over what was issued.
    """

    velocity: float | None
    recirculation: float | None
    leakage: float | None
    dormancy: float | None
    gini: float | None
    small_shop_share: float | None
    visitor_share: float | None
    transfers_per_issue: float | None
    expiry_loss: float | None
    shops: int


def measure(
    flows: Flows,
    *,
    takings_yen: Sequence[int],
    small_takings_yen: int,
    shop_to_shop_yen: int | None,
    cash_out_yen: int | None,
    days: int,
) -> Circulation:
    """Return the measures of a period.

    ``takings_yen`` are each shop's. Between shops and out of the city money is no programme's any
    more: there ``shop_to_shop_yen`` and ``cash_out_yen`` are None.
    """
    moved_yen = flows.payments_yen + flows.gifts_yen + (shop_to_shop_yen or 0)
    receipts_yen = flows.receipts_yen
    turned = _ratio(moved_yen, flows.outstanding_average_yen)
    return Circulation(
        velocity=None if turned is None else round(turned * YEAR_DAYS / days, 4),
        recirculation=_ratio(shop_to_shop_yen, receipts_yen),
        leakage=_ratio(cash_out_yen, receipts_yen),
        dormancy=_ratio(flows.dormant_yen, flows.outstanding_yen),
        gini=gini(takings_yen),
        small_shop_share=_ratio(small_takings_yen, receipts_yen),
        visitor_share=_ratio(flows.visitors_yen, receipts_yen),
        transfers_per_issue=_ratio(moved_yen, flows.issued_yen),
        expiry_loss=_ratio(flows.expired_yen, flows.issued_yen),
        shops=len(takings_yen),
    )


def gini(amounts: Iterable[int]) -> float | None:
    """Return the Gini coefficient of amounts that are not negative; None for nothing at all."""
    ordered = sorted(amounts)
    total, count = sum(ordered), len(ordered)
    if total <= 0:
        return None
    weighted = sum((2 * rank - count - 1) * one for rank, one in enumerate(ordered, 1))
    return round(weighted / (count * total), 4)


def publish(cells: Sequence[Cell]) -> list[Cell]:
    """Return the public form: small cells say nothing, nor do those that would give them away.

    Cells of one programme and dimension add up to its total, so what is missing of them can be
    computed as a sum. The smallest of the others go with it until few are behind it no more; where
    there are not enough others, the total goes too.
    """
    hidden: set[int] = {number for number, one in enumerate(cells) if _are_few([one])}
    groups: dict[tuple[str, str], list[int]] = {}
    totals: dict[str, int] = {}
    for number, one in enumerate(cells):
        if one.dimension == "total":
            totals[one.programme] = number
        else:
            groups.setdefault((one.programme, one.dimension), []).append(number)
    for (programme, _), group in groups.items():
        left_out = [n for n in group if n in hidden]
        others = [n for n in group if n not in hidden and cells[n].wallets]
        others.sort(key=lambda n: (not cells[n].moved_wallets, cells[n].wallets))
        while others and left_out and _give_away([cells[n] for n in left_out]):
            left_out.append(others.pop(0))
        hidden.update(left_out)
        if left_out and _give_away([cells[n] for n in left_out]):
            hidden.add(totals[programme])
    # A total that is hidden must not be the sum of cells that are shown.
    for (programme, _), group in groups.items():
        if totals[programme] in hidden:
            hidden.update(n for n in group if cells[n].wallets)
    return [_blank(one) if number in hidden else one for number, one in enumerate(cells)]


def publish_circulation(
    measured: Mapping[str, Circulation], cells: Sequence[Cell]
) -> dict[str, Circulation]:
    """Return the measures of programmes whose totals are published, and with any, of the city."""
    shown = {one.programme for one in cells if one.dimension == "total" and not one.suppressed}
    return {
        name: one
        for name, one in measured.items()
        if (name in shown or (shown and not name)) and one.shops >= SHOPS_MIN
    }


def age_order(cell: str) -> tuple[bool, int, str]:
    """Return a key by which ages, then areas, then what is unknown come in order."""
    head = cell.rstrip("+").partition("-")[0]
    return cell == UNKNOWN, int(head) if head.isdigit() else 0, cell


def _are_few(cells: Sequence[Cell]) -> bool:
    """Whether so few are behind cells that they could be told apart; nobody is nobody."""
    return (
        0 < sum(one.wallets or 0 for one in cells) < WALLETS_MIN
        or 0 < sum(one.moved_wallets or 0 for one in cells) < WALLETS_MIN
        or 0 < sum(one.shops or 0 for one in cells) < SHOPS_MIN
    )


def _give_away(left_out: Sequence[Cell]) -> bool:
    """Whether the sum of cells that are left out says of one of them, or of few, what they did."""
    return len(left_out) == 1 or _are_few(left_out)


def _blank(one: Cell) -> Cell:
    return Cell(
        programme=one.programme,
        dimension=one.dimension,
        cell=one.cell,
        wallets=None,
        suppressed=True,
    )


def _ratio(part: int | None, whole: int) -> float | None:
    return None if part is None or whole <= 0 else round(part / whole, 4)


def _midnight_us(day: date) -> int:
    return to_microseconds(datetime.combine(day, time.min, JST))


def as_dict(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the structs above
    """Return a struct as plain JSON."""
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain
