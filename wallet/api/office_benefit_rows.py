"""``/office/v1/benefits/…``: the rows of a run as files, letters, and single grants taken back."""

import csv
import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_benefits import PATH, Reading
from wallet.api.office_forms import In, Line, Out, PersonId, Reason, read_id
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission, check_reason
from wallet.benefits.claim import check_unknown
from wallet.benefits.claw_back import check_left
from wallet.benefits.queries import RowResult, find_run, list_rows, list_unclaimed
from wallet.benefits.rules import WRONG_WITH_A_ROW, is_ref
from wallet.benefits.secrets import beneficiary_hash
from wallet.benefits.write_letters import Letter, write_letters
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError
from wallet.people.persons import find_person

router = APIRouter(prefix=PATH, tags=["staff: benefits"], responses=REFUSALS)

Writing = Annotated[Acting, Depends(needs(Permission.BENEFIT_WRITE))]

ROWS_PER_READ: Final = 10_000
UNCLAIMED_MAX: Final = 500

Encoding = Literal["utf-8", "cp932"]
_BYTES_OF: Final = {"utf-8": "utf-8-sig", "cp932": "cp932"}

_STATES: Final = {
    "draft": "承認前",
    "offered": "受取待ち",
    "due": "付与の途中",
    "granted": "付与済み",
    "lapsed": "受取期限切れ",
    "elsewhere": "別の方法で給付",
    "withdrawn": "取り下げ",
    "clawed_back": "取り戻し済み",
    "refused": "取り込めず",
}
_HELD_UP: Final = {
    "wallet_frozen": "ウォレットが利用停止中",
    "outside_period": "使用期限を過ぎた制度",
    "budget_exhausted": "予算の残りが不足",
}
_CSV: Final[dict[int | str, dict[str, object]]] = {
    200: {"description": "A CSV file, with CRLF.", "content": {"text/csv": {}}}
}


class FileQuery(In):
    """How a file is written; CP932 for spreadsheets of old."""

    encoding: Encoding = "utf-8"


class LettersIn(In):
    """Which rows get a letter, the first and the last; ``at_counter``: one who stands there."""

    first_row: Annotated[int, Field(ge=2, le=1_000_000)]
    last_row: Annotated[int, Field(ge=2, le=1_000_000)]
    at_counter: bool = False
    reason: Reason


class AfterQuery(In):
    """Where a list goes on: after the row with this number."""

    after_row: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class UnclaimedOut(Out):
    """A grant that nobody has claimed. ``protected``: no letter, only in person."""

    id: str
    row: int
    amount: int
    state: Literal["offered", "lapsed"]
    protected: bool
    was_written_to: bool
    code_is_dead: bool


class UnclaimedListOut(Out):
    """Who has not claimed, by row; ``next_after_row`` leads to the next of them."""

    data: list[UnclaimedOut]
    next_after_row: int | None


class ClawBackIn(In):
    """How many yen were granted by mistake, which mistake it was, and the case it is known by."""

    amount: Annotated[int, Field(ge=1, le=1_000_000)]
    because: Literal["overpaid", "not_entitled", "duplicate", "deceased", "moved"]
    reason: Reason


class KnowIn(In):
    """Whose reference it is, and which document was seen; never its number."""

    beneficiary_ref: Annotated[Line, Field(min_length=1, max_length=64)]
    person_id: PersonId
    document: Literal[
        "my_number_card", "drivers_licence", "passport", "residence_card", "two_other_documents"
    ]
    reason: Reason


@router.get("/{run_id}/rows.csv", summary="Get the result of every row", responses=_CSV)
async def rows(acting: Reading, run_id: str, query: Annotated[FileQuery, Query()]) -> Response:
    """Return a file with a line for every row of the roster: what became of it, and why."""
    parsed = _run_id(run_id)

    async def work(connection: AsyncConnection) -> list[RowResult]:
        await find_run(connection, parsed)
        found: list[RowResult] = []
        while page := await list_rows(
            connection, parsed, after=found[-1].row_number if found else 0, limit=ROWS_PER_READ
        ):
            found += page
        return found

    subject = public_id("bnf", parsed)
    found = await acting.act(
        "benefit.export", work, subject=subject, tell=lambda found: {"rows": len(found)}
    )
    lines = (_line(one) for one in found)
    heading = ("row", "state", "state_name", "amount", "returned", "owed", "granted_at", "reason")
    return _file("benefit_rows.csv", query.encoding, heading, lines)


@router.post("/{run_id}/letters", summary="Write letters with codes", responses=_CSV)
async def letters(
    acting: Writing, run_id: str, body: LettersIn, query: Annotated[FileQuery, Query()]
) -> Response:
    """Return a file with a new code for everybody in these rows who has to claim.

    The codes are told this once, and end those of earlier letters. Who is protected gets none but
    at the counter.
    """
    parsed = _run_id(run_id)

    async def work(connection: AsyncConnection) -> list[Letter]:
        check_reason(body.reason)
        return await write_letters(
            connection,
            run_id=parsed,
            first_row=body.first_row,
            last_row=body.last_row,
            at_counter=body.at_counter,
            pepper=acting.office.pepper,
        )

    written = await acting.act(
        "benefit.letters",
        work,
        subject=public_id("bnf", parsed),
        reason=body.reason,
        tell=lambda written: {"letters": len(written), "at_counter": int(body.at_counter)},
    )
    lines = ((one.row_number, one.amount_yen, one.code) for one in written)
    return _file("benefit_letters.csv", query.encoding, ("row", "amount", "code"), lines)


@router.get("/{run_id}/unclaimed", summary="List who has not claimed")
async def unclaimed(
    acting: Reading, run_id: str, query: Annotated[AfterQuery, Query()]
) -> UnclaimedListOut:
    """List the grants that wait to be claimed, or did until it was too late, by row."""
    parsed = _run_id(run_id)

    async def work(connection: AsyncConnection) -> list[UnclaimedOut]:
        await find_run(connection, parsed)
        found = await list_unclaimed(
            connection, parsed, after=query.after_row, limit=UNCLAIMED_MAX + 1
        )
        return [
            UnclaimedOut(
                id=public_id("grt", one.id),
                row=one.row_number,
                amount=one.amount_yen,
                state=one.state,
                protected=one.protected,
                was_written_to=one.was_written_to,
                code_is_dead=one.code_is_dead,
            )
            for one in found
        ]

    found = await acting.run("benefit.unclaimed", work, subject=public_id("bnf", parsed))
    shown = found[:UNCLAIMED_MAX]
    has_more = len(found) > len(shown)
    return UnclaimedListOut(data=shown, next_after_row=shown[-1].row if has_more else None)


@router.post("/grants/{grant_id}/claw-back", status_code=202, summary="Ask to take a grant back")
async def ask_to_claw_back(acting: Writing, grant_id: str, body: ClawBackIn) -> ApprovalOut:
    """Ask a colleague to agree that a grant was a mistake; only what is unspent is taken."""
    parsed = read_id("grt", grant_id, "benefit_grant_unknown")
    subject = public_id("grt", parsed)

    async def look(connection: AsyncConnection) -> None:
        await check_left(connection, grant_id=parsed, amount_yen=body.amount)

    await acting.run("benefit.look", look, subject=subject)
    payload = {"amount_yen": body.amount, "because": body.because}
    return await ask(acting, Draft(Action.BENEFIT_CLAW_BACK, subject, payload, body.reason))


@router.post("/beneficiaries", status_code=202, summary="Ask to keep who a reference is")
async def ask_to_know(acting: Writing, body: KnowIn) -> ApprovalOut:
    """Ask a colleague to agree which resident a reference is, whose document was seen.

    Once that is carried out, what is for them goes to their wallet, and they may claim without a
    code.
    """
    person_id = read_id("per", body.person_id, "person_unknown")
    hashed = beneficiary_hash(body.beneficiary_ref, pepper=acting.office.pepper)

    async def look(connection: AsyncConnection) -> None:
        if not is_ref(body.beneficiary_ref):
            raise RefusedError("beneficiary_ref_invalid")
        await acting.check_own_affair(connection, body.person_id)
        if await find_person(connection, person_id=person_id) is None:
            raise RefusedError("person_unknown")
        await check_unknown(connection, beneficiary_hash=hashed)

    await acting.run("benefit.look", look, subject=body.person_id)
    # A request is read by many: it has the reference as rows have it, as a hash.
    payload = {"beneficiary": b64encode(hashed).decode(), "document": body.document}
    return await ask(acting, Draft(Action.BENEFIT_KNOW, body.person_id, payload, body.reason))


def _run_id(run_id: str) -> UUID:
    return read_id("bnf", run_id, "benefit_run_unknown")


def _line(one: RowResult) -> tuple[object, ...]:
    granted_at = None if one.granted_at is None else rfc3339(to_microseconds(one.granted_at))
    return (
        one.row_number,
        one.state,
        _STATES[one.state],
        one.amount_yen,
        one.returned_yen,
        one.owed_yen,
        granted_at,
        _reason_of(one),
    )


def _reason_of(one: RowResult) -> str:
    """Return in words why a row was left out or waits; columns are named as in the roster."""
    if one.because is not None and one.state == "due":
        return _HELD_UP.get(one.because, one.because)
    faults = (fault.split(":") for fault in (one.errors or "").split())
    return " / ".join(f"{column}: {WRONG_WITH_A_ROW[code]}" for column, code in faults)


def _file(
    name: str, encoding: Encoding, heading: Sequence[str], lines: Iterable[Sequence[object]]
) -> Response:
    """Return a CSV as spreadsheets open it: a heading, CRLF, plain digits, and a mark of UTF-8."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(heading)
    writer.writerows(lines)
    return Response(
        written.getvalue().encode(_BYTES_OF[encoding], "replace"),
        media_type=f"text/csv; charset={'Shift_JIS' if encoding == 'cp932' else 'utf-8'}",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )
