"""``/office/v1/audit``: the trail as auditors read it, check it and take it along.

Reading the trail stands in the trail as well.
"""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from wallet.api.office_forms import In, Out, WhyIn
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_rules import Permission
from wallet.ops.audit import INTEGER_MAX
from wallet.ops.verify_audit import StoredEntry, read_entries, verify_audit

router = APIRouter(prefix="/office/v1/audit", tags=["staff: audit"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.AUDIT_READ))]
Exporting = Annotated[Acting, Depends(needs(Permission.AUDIT_EXPORT))]

ENTRIES_MAX: Final = 100
EXPORTED_MAX: Final = 10_000
"""Of one answer, about ten megabytes; the next one goes on after its last entry."""

_encode = msgspec.json.Encoder().encode

Seq = Annotated[int, Field(ge=0, le=INTEGER_MAX)]


class EntriesPage(In):
    """Which entries: those after a number, in order."""

    after: Seq = 0
    limit: Annotated[int, Field(ge=1, le=ENTRIES_MAX)] = 20


class EntriesOut(Out):
    """Entries in their order, each with the hash that covers the one before it."""

    data: list[dict[str, Any]]
    has_more: bool


class BrokenOut(Out):
    """The first entry that does not fit, and what is wrong with it."""

    seq: int
    what: str


class VerificationOut(Out):
    """Whether the chain holds. Compare the head with one that was published elsewhere."""

    ok: bool
    entries: int
    head_seq: int
    head_hash: str
    broken: BrokenOut | None


class ExportIn(WhyIn):
    """Which entries to take along: those after a number, up to one or to the end."""

    after: Seq = 0
    to: Seq | None = None


@router.get("/entries", summary="Read the trail")
async def entries(acting: Reading, page: Annotated[EntriesPage, Query()]) -> EntriesOut:
    """Return a page of the trail."""
    found = await _collect(acting, after=page.after, to=None, most=page.limit + 1)
    shown = found[: page.limit]
    await acting.note("audit.view", details=_range(page.after, shown))
    return EntriesOut(data=[one.as_dict() for one in shown], has_more=len(found) > len(shown))


@router.get("/verification", summary="Verify the trail")
async def verification(acting: Reading) -> VerificationOut:
    """Recompute the whole chain and say where it breaks, if it does."""
    report = await verify_audit(acting.office.engine)
    details = {"ok": int(report.ok), "entries": report.entries}
    await acting.note("audit.verify", details=details)
    broken = report.broken
    return VerificationOut(
        ok=report.ok,
        entries=report.entries,
        head_seq=report.head_seq,
        head_hash=report.head_hash.hex(),
        broken=None if broken is None else BrokenOut(seq=broken.seq, what=broken.what),
    )


@router.post(
    "/export",
    summary="Export the trail",
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "An entry a line"}},
)
async def export(acting: Exporting, body: ExportIn) -> Response:
    """Return entries as lines of JSON, enough for anybody to recompute the chain."""
    found = await _collect(acting, after=body.after, to=body.to, most=EXPORTED_MAX)
    await acting.note("audit.export", reason=body.reason, details=_range(body.after, found))
    lines = b"".join(_encode(one.as_dict()) + b"\n" for one in found)
    headers = {"cache-control": "no-store"}
    return Response(lines, media_type="application/x-ndjson", headers=headers)


async def _collect(acting: Acting, *, after: int, to: int | None, most: int) -> list[StoredEntry]:
    last = after + most if to is None else min(to, after + most)
    return [one async for one in read_entries(acting.office.engine, after=after, to=last)]


def _range(after: int, shown: list[StoredEntry]) -> dict[str, int | str]:
    return {"after": after, "entries": len(shown)}
