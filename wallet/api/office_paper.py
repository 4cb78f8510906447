"""``/office/v1/paper…``: paper vouchers from the printer to the clearing centre.

Printing takes two. Desks sell by the covers they read, the clearing centre takes used sheets in;
neither moves money here: the worker does, within seconds, and an envelope says what came of it.
"""

import asyncio
from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_cards import Destination
from wallet.api.office_cards_executions import PAPER_BATCH, OrderPaper, payload_of
from wallet.api.office_files import CSV, csv_answer
from wallet.api.office_forms import In, Line, Out, Page, WhyIn, read_id
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission, check_reason
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import new_id, public_id
from wallet.vouchers import paper_entries, paper_sales
from wallet.vouchers.paper_batches import (
    PaperBatch,
    PaperOrder,
    check_paper_order,
    find_paper,
    list_paper,
    move_booklets,
    sheets_to_print,
)
from wallet.vouchers.paper_entries import Entered, EnteredSheet, UsedSheet, enter_sheets, list_entry
from wallet.vouchers.paper_rules import (
    BOOKLETS_PER_BATCH_MAX,
    SHEETS_MAX,
    SerialState,
    SheetCode,
    print_code,
)
from wallet.vouchers.paper_sales import RowError, Sale, sell_booklets

router = APIRouter(prefix="/office/v1", tags=["staff: paper"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.CARD_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.CARD_WRITE))]

SERIAL = "pap"
ENTRY = "ent"

Code = Annotated[Line, Field(max_length=40, description="As it is printed, letters and all.")]
ProgrammeCode = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
_Booklet = Annotated[int, Field(ge=1, le=BOOKLETS_PER_BATCH_MAX)]


class OrderIn(WhyIn):
    """Booklets of a programme, each one set in ``sheets`` of the same worth.

    ``clearing_until`` is the last day on which used sheets are taken in.
    """

    programme: ProgrammeCode
    booklets: _Booklet
    sheets: Annotated[int, Field(ge=1, le=SHEETS_MAX)]
    clearing_until: date
    destination: Destination = ""


class BatchOut(Out):
    """An order of booklets, and how many of them are where."""

    id: str
    number: int
    programme: str
    booklets: int
    sheets: int
    sheet_yen: int
    clearing_until: date
    destination: str
    made_at: str
    states: dict[str, int]


class BatchListOut(Out):
    """One page of orders, newest first."""

    data: list[BatchOut]
    has_more: bool
    next_cursor: str | None


class MoveIn(WhyIn):
    """Which booklets of the batch, by their numbers, and where they are now."""

    first: _Booklet
    last: _Booklet
    to: Literal["shipped", "returned", "cancelled", "lost"]


class MovedOut(Out):
    """How many booklets it was."""

    booklets: int


class SellIn(In):
    """The covers that a desk has read."""

    covers: Annotated[list[Code], Field(min_length=1, max_length=paper_sales.ROWS_MAX)]


class RowErrorOut(Out):
    """A row that was not taken, counted from 1, and what is wrong with it."""

    row: int
    code: str


class SoldOut(Out):
    """The booklets that were sold; the other rows are told."""

    serials: list[str]
    errors: list[RowErrorOut]


class SheetIn(In):
    """A used sheet; ``torn``: its code cannot be read, or less than four fifths of it are there."""

    code: Code = ""
    torn: bool = False


class EntryIn(In):
    """An envelope of one shop's; ``used_on`` is the latest day of use in it, in Japan."""

    shop_id: Annotated[str, Field(pattern=r"^shp_[0-9a-f]{32}$")]
    used_on: date
    sheets: Annotated[list[SheetIn], Field(min_length=1, max_length=paper_entries.ROWS_MAX)]


class EnteredOut(Out):
    """How many sheets were taken in; the other rows are told. ``id`` None: not one."""

    id: str | None
    accepted: int
    errors: list[RowErrorOut]


class EntrySheetOut(Out):
    """A sheet that was taken in, and what came of it."""

    code: str
    payment_id: str
    amount_yen: int
    used_on: date
    state: Literal["waits", "paid", "refused"]
    refused_because: str | None


class EntryOut(Out):
    """An envelope."""

    id: str
    data: list[EntrySheetOut]


@router.get("/paper-batches", summary="List orders of paper vouchers")
async def list_(acting: Reading, page: Annotated[Page, Query()]) -> BatchListOut:
    """List orders of booklets, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_paper(connection, before=page.after(PAPER_BATCH), limit=page.limit + 1)
    shown = [_batch(one) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return BatchListOut(
        data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None
    )


@router.post("/paper-batches", status_code=202, summary="Ask to have paper vouchers printed")
async def order(acting: Writing, body: OrderIn) -> ApprovalOut:
    """Ask a colleague to agree that booklets are printed; carrying it out numbers them."""
    asked = PaperOrder(
        programme=body.programme,
        booklets=body.booklets,
        sheets=body.sheets,
        clearing_until=body.clearing_until,
        destination=body.destination,
    )

    async def work(connection: AsyncConnection) -> None:
        await check_paper_order(connection, order=asked)

    await acting.run("paper_batch.check", work)
    subject = public_id(PAPER_BATCH, new_id(now_us=acting.now_us))
    draft = Draft(Action.CARD_BATCH, subject, payload_of(OrderPaper(asked)), body.reason)
    return await ask(acting, draft)


@router.get("/paper-batches/{batch_id}", summary="Get an order of paper vouchers")
async def get(acting: Reading, batch_id: str) -> BatchOut:
    """Return an order of booklets."""
    return _batch(await _find(acting, batch_id))


@router.post(
    "/paper-batches/{batch_id}/print-file",
    summary="Take the print file",
    response_class=Response,
    responses=CSV,
)
async def print_file(acting: Writing, batch_id: str, body: WhyIn) -> Response:
    """Return the codes of every cover and sheet, for the printer."""
    parsed = read_id(PAPER_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> PaperBatch:
        check_reason(body.reason)
        return await find_paper(connection, batch_id=parsed)

    batch = await acting.act(
        "paper_batch.print",
        work,
        subject=batch_id,
        reason=body.reason,
        tell=lambda batch: {"booklets": batch.booklets},
    )
    sheets = sheets_to_print(batch, pepper=acting.office.pepper)
    rows = ((one.booklet, one.sheet, one.code, one.face_yen) for one in sheets)
    header = ("冊", "枚", "券番号", "額面")
    japanese = f"商品券印刷_{batch_id}"
    # A hundred thousand codes take a second, in which others would wait.
    return await asyncio.to_thread(csv_answer, f"paper_{batch_id}", header, rows, japanese=japanese)


@router.post("/paper-batches/{batch_id}/serials", summary="Note where booklets are")
async def move(acting: Writing, batch_id: str, body: MoveIn) -> MovedOut:
    """Note that booklets were shipped, came back, are void or are lost; all of them or none."""
    parsed = read_id(PAPER_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> int:
        check_reason(body.reason)
        return await move_booklets(
            connection,
            batch_id=parsed,
            first=body.first,
            last=body.last,
            to=SerialState(body.to),
            now_us=acting.now_us,
        )

    booklets = await acting.act(
        f"paper.{body.to}",
        work,
        subject=batch_id,
        reason=body.reason,
        tell=lambda count: {"first": body.first, "booklets": count},
    )
    return MovedOut(booklets=booklets)


@router.post("/paper/sales", summary="Sell paper vouchers")
async def sell(acting: Writing, body: SellIn) -> SoldOut:
    """Sell the booklets whose covers were read; rows that are no good are told."""

    async def work(connection: AsyncConnection) -> Sale:
        return await sell_booklets(
            connection, covers=body.covers, pepper=acting.office.pepper, now_us=acting.now_us
        )

    sale = await acting.act(
        "paper.sell",
        work,
        tell=lambda sale: {"sold": len(sale.serial_ids), "errors": len(sale.errors)},
    )
    return SoldOut(
        serials=[public_id(SERIAL, one) for one in sale.serial_ids], errors=_errors(sale.errors)
    )


@router.post("/paper/entries", summary="Take in used paper vouchers")
async def enter(acting: Writing, body: EntryIn) -> EnteredOut:
    """Take in the sheets of an envelope; each is paid once, and rows that are no good are told."""
    shop_id = read_id("shp", body.shop_id, "paper_shop_unknown")

    async def work(connection: AsyncConnection) -> Entered:
        return await enter_sheets(
            connection,
            shop_id=shop_id,
            used_on=body.used_on,
            sheets=[UsedSheet(one.code, one.torn) for one in body.sheets],
            entered_by=acting.member.id,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )

    entered = await acting.act(
        "paper.enter",
        work,
        subject=body.shop_id,
        tell=lambda entered: {"accepted": entered.accepted, "errors": len(entered.errors)},
    )
    return EnteredOut(
        id=public_id(ENTRY, entered.entry_id) if entered.accepted else None,
        accepted=entered.accepted,
        errors=_errors(entered.errors),
    )


@router.get("/paper/entries/{entry_id}", summary="Get an envelope of paper vouchers")
async def get_entry(acting: Reading, entry_id: str) -> EntryOut:
    """Return what was taken in of an envelope, and what came of each sheet."""
    parsed = read_id(ENTRY, entry_id, "paper_entry_unknown")

    async def work(connection: AsyncConnection) -> list[EnteredSheet]:
        return await list_entry(connection, entry_id=parsed)

    sheets = await acting.run("paper.view", work, subject=entry_id)
    return EntryOut(id=entry_id, data=[_sheet(one, acting.office.pepper) for one in sheets])


async def _find(acting: Acting, batch_id: str) -> PaperBatch:
    parsed: UUID = read_id(PAPER_BATCH, batch_id, "batch_unknown")

    async def work(connection: AsyncConnection) -> PaperBatch:
        return await find_paper(connection, batch_id=parsed)

    return await acting.run("paper_batch.view", work, subject=batch_id)


def _errors(errors: list[RowError]) -> list[RowErrorOut]:
    return [RowErrorOut(row=one.row, code=one.code) for one in errors]


def _batch(batch: PaperBatch) -> BatchOut:
    return BatchOut(
        id=public_id(PAPER_BATCH, batch.id),
        number=batch.number,
        programme=batch.programme,
        booklets=batch.booklets,
        sheets=batch.sheets,
        sheet_yen=batch.sheet_yen,
        clearing_until=batch.clearing_until,
        destination=batch.destination,
        made_at=rfc3339(to_microseconds(batch.made_at)),
        states=batch.states,
    )


def _sheet(one: EnteredSheet, pepper: bytes) -> EntrySheetOut:
    state: Literal["waits", "paid", "refused"] = "waits"
    if one.settled_at is not None:
        state = "paid" if one.refused_because is None else "refused"
    return EntrySheetOut(
        code=print_code(SheetCode(one.batch, one.number, one.sheet), pepper=pepper),
        payment_id=public_id("pay", one.payment_id),
        amount_yen=one.amount_yen,
        used_on=one.used_on,
        state=state,
        refused_because=one.refused_because,
    )
