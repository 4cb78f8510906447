"""``GET /office/v1/numbers``: what became of the city's money, for people who decide.

What staff see is every cell; ``public`` is the form that may leave the house, for one row of
periods that follow each other: two that overlap tell by their difference what few people did.
"""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from wallet.api.office_files import CSV, csv_answer
from wallet.api.office_forms import In, Out
from wallet.api.office_guard import Acting, Details, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_rules import Permission
from wallet.core.clock import japanese_day
from wallet.opendata.numbers import COLUMNS, MEASURES, Numbers, count

router = APIRouter(prefix="/office/v1", tags=["staff: numbers"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.NUMBERS_READ))]


class Asked(In):
    """Which days in Japan, both included, and of which programme; left out, all there is."""

    since: date | None = None
    until: date | None = None
    programme: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    public: bool = False


class AskedFile(Asked):
    """Which table: the cells, or how the money goes round."""

    table: Literal["cells", "circulation"] = "cells"


class NumbersOut(Out):
    """The numbers of a period; a cell that is ``suppressed`` says nothing."""

    since: date
    until: date
    public: bool
    programmes: list[dict[str, Any]]
    circulation: dict[str, Any] | None


@router.get("/numbers", summary="Get the numbers")
async def get(acting: Reading, asked: Annotated[Asked, Query()]) -> NumbersOut:
    """Return each programme by age, area and size of shops, and the circulation."""
    return NumbersOut(**(await _count(acting, asked)).as_dict())


@router.get("/numbers.csv", summary="Take the numbers", response_class=Response, responses=CSV)
async def get_csv(acting: Reading, asked: Annotated[AskedFile, Query()]) -> Response:
    """Return one table of the numbers as a file."""
    numbers = await _count(acting, asked)
    until = numbers.period.until
    if asked.table == "circulation":
        rows = numbers.measures()
        return csv_answer(f"circulation_{until}", MEASURES, rows, japanese=f"循環_{until}")
    return csv_answer(f"numbers_{until}", COLUMNS, numbers.rows(), japanese=f"集計_{until}")


async def _count(acting: Acting, asked: Asked) -> Numbers:
    """Count, and leave in the trail that it was asked for and of what."""

    async def work() -> Numbers:
        return await count(
            acting.office.engine,
            since=asked.since,
            until=asked.until or japanese_day(acting.now_us),
            programme=asked.programme,
            public=asked.public,
        )

    numbers = await acting.noting("numbers.view", work)
    details: Details = {"until": numbers.period.until.isoformat(), "public": int(asked.public)}
    await acting.note("numbers.view", details=details)
    return numbers
