"""Paper through the doors of staff: printed by two, sold at a desk, taken in when it was used."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.city import City, make_city
from tests.factories.offices import Counter, Desk, open_counter
from tests.factories.programmes import frame, free_draft, make_programme, voucher_draft
from tests.servers import Database
from wallet.core.ids import public_id
from wallet.payments.redeem_paper import run_due as run_redemptions
from wallet.vouchers.paper_due import run_due

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCHES = "/office/v1/paper-batches"
APPROVALS = "/office/v1/approvals"


@dataclass(frozen=True, kw_only=True)
class Hall:
    """A city and the doors of its staff."""

    city: City
    counter: Counter

    async def work(self) -> None:
        """Let the worker do its round."""
        await run_due(self.city.engine, self.city.database_url, self.city.clock)
        await run_redemptions(self.city.engine, self.city.database_url, self.city.clock)

    async def booklets(self, clerk: Desk, programme: str, booklets: int = 2) -> "Booklets":
        """Have booklets printed and shipped."""
        asked = await clerk.post(BATCHES, **order(programme, booklets=booklets))
        assert asked.status_code == 202, asked.text
        lead = await self.counter.seat("programme_lead")
        path = f"{APPROVALS}/{asked.json()['id']}"
        await lead.post(f"{path}/approve", {"payload_hash": asked.json()["payload_hash"]})
        done = await clerk.post(f"{path}/execute", {})
        assert done.status_code == 200, done.text
        batch_id = done.json()["result"]["batch_id"]
        printed = await clerk.post(f"{BATCHES}/{batch_id}/print-file")
        text = printed.content.decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        moved = await clerk.post(
            f"{BATCHES}/{batch_id}/serials", first=1, last=booklets, to="shipped"
        )
        assert moved.json() == {"booklets": booklets}
        return Booklets(path=f"{BATCHES}/{batch_id}", rows=rows)


@dataclass(frozen=True, kw_only=True)
class Booklets:
    """A batch and its print file."""

    path: str
    rows: list[dict[str, str]]

    def code(self, booklet: int, sheet: int = 0) -> str:
        """Return what is printed on a sheet, or on the cover."""
        (found,) = [
            row["券番号"]
            for row in self.rows
            if (row["冊"], row["枚"]) == (str(booklet), str(sheet))
        ]
        return found


def order(programme: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of many types
    """Return an order of two booklets of ten sheets."""
    fields = {"booklets": 2, "sheets": 10, "clearing_until": "2027-04-30"}
    return {"programme": programme, "destination": "本庁", **fields, **changes}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hall(module_database: Database) -> AsyncIterator[Hall]:
    """Yield a city with its staff."""
    url = module_database.application_url
    async with make_city(url) as city, open_counter(url) as counter:
        yield Hall(city=city, counter=counter)


def entry(hall: Hall, *sheets: dict[str, Any], **changes: str) -> dict[str, Any]:
    """Return an envelope of the city's shop."""
    shop_id = public_id("shp", hall.city.merchant.shop_id)
    return {"shop_id": shop_id, "used_on": "2026-11-25", "sheets": list(sheets), **changes}


async def post_entry(desk: Desk, body: dict[str, Any]) -> httpx.Response:
    """Take an envelope in."""
    return await desk.post("/office/v1/paper/entries", body)


async def test_paper_goes_from_the_printer_to_the_shop_s_account(hall: Hall) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    await make_programme(hall.city.teller, voucher_draft("whole"))
    booklets = await hall.booklets(clerk, "whole")
    assert len(booklets.rows) == 22
    sold = await clerk.post("/office/v1/paper/sales", {"covers": [booklets.code(1), "0"]})
    assert len(sold.json()["serials"]) == 1
    assert sold.json()["errors"] == [{"row": 2, "code": "paper_unreadable"}]
    sheets: list[dict[str, Any]] = [
        {"code": booklets.code(1, 1)},
        {"torn": True},
        {"code": booklets.code(2, 1)},
    ]
    entered = (await post_entry(clerk, entry(hall, *sheets))).json()
    assert entered["accepted"] == 1
    assert entered["errors"] == [
        {"row": 2, "code": "paper_torn"},
        {"row": 3, "code": "paper_not_sold"},
    ]
    path = f"/office/v1/paper/entries/{entered['id']}"
    (waiting,) = (await clerk.get(path)).json()["data"]
    assert waiting["state"] == "waits"
    await hall.work()
    (paid,) = (await clerk.get(path)).json()["data"]
    assert (paid["state"], paid["amount_yen"], paid["code"]) == ("paid", 625, booklets.code(1, 1))
    assert (await clerk.get(booklets.path)).json()["states"] == {"sold": 1, "shipped": 1}
    listed = (await clerk.get(BATCHES)).json()["data"]
    assert booklets.path.endswith(listed[0]["id"])


async def test_a_shop_that_may_not_take_it_is_told_why(hall: Hall) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    draft = voucher_draft("books", categories=frozenset({"books"}))
    await make_programme(hall.city.teller, draft)
    booklets = await hall.booklets(clerk, "books", 1)
    await clerk.post("/office/v1/paper/sales", {"covers": [booklets.code(1)]})
    entered = (await post_entry(clerk, entry(hall, {"code": booklets.code(1, 1)}))).json()
    await hall.work()
    path = f"/office/v1/paper/entries/{entered['id']}"
    (refused,) = (await clerk.get(path)).json()["data"]
    assert (refused["state"], refused["refused_because"]) == ("refused", "merchant_not_eligible")


async def test_booklets_move_through_the_doors_or_are_held(hall: Hall) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    await make_programme(hall.city.teller, voucher_draft("moves"))
    booklets = await hall.booklets(clerk, "moves")
    path = f"{booklets.path}/serials"
    assert (await clerk.post(path, first=1, last=1, to="lost")).json() == {"booklets": 1}
    body = problem_of(await clerk.post(path, first=1, last=2, to="returned"), "paper_state")
    assert body["numbers"] == [1]
    problem_of(await clerk.post(path, first=2, last=3, to="returned"), "paper_unknown")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"programme": "no-such"}, "programme_unknown"),
        ({"programme": "0901234567"}, "programme_unknown"),
        ({"programme": "free-money"}, "paper_without_frame"),
        ({"sheets": 11}, "paper_sheets_uneven"),
        ({"clearing_until": "2027-03-30"}, "paper_clearing_too_short"),
        ({"booklets": 6}, "paper_sold_out"),
    ],
)
async def test_an_order_that_cannot_be_is_not_asked_for(
    hall: Hall, changes: dict[str, Any], code: str
) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    await make_programme(hall.city.teller, free_draft("free-money"))
    few = frame(sets_total=5, sets_per_person=1)
    await make_programme(hall.city.teller, voucher_draft("orders", frame_=few))
    problem_of(await clerk.post(BATCHES, **{**order("orders"), **changes}), code)


async def test_what_is_not_there_is_unknown(hall: Hall) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    stranger = public_id("shp", uuid4())
    nowhere = await post_entry(clerk, entry(hall, {"code": "0"}, shop_id=stranger))
    problem_of(nowhere, "paper_shop_unknown")
    problem_of(await clerk.get(f"/office/v1/paper/entries/ent_{'0' * 32}"), "paper_entry_unknown")
    problem_of(await clerk.get(f"{BATCHES}/pbt_{'0' * 32}"), "batch_unknown")


async def test_an_envelope_of_nothing_good_leaves_no_entry(hall: Hall) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    entered = await post_entry(clerk, entry(hall, {"code": "0012-000345/07-K7M2"}))
    assert entered.json() == {
        "id": None,
        "accepted": 0,
        "errors": [{"row": 1, "code": "paper_unreadable"}],
    }
