"""What the doors of programmes show: lines of a list, drafts with their check, versions."""

from datetime import date, datetime
from typing import Any

import msgspec

from wallet.api.office_forms import Out
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.ids import public_id
from wallet.programmes.draft_queries import Draft, Line, Version


class FindingOut(Out):
    """What a rule of the law has found. ``open`` keeps the draft from being approved."""

    rule: str
    source: str
    severity: str
    message: str
    where: str
    setting: str | None
    open: bool


class PurchaseLimitOut(Out):
    """How many sets somebody of a tier may have at once."""

    tier: str
    sets: int
    price_yen: int
    face_yen: int


class DraftOut(Out):
    """A revision; its ``sha256`` is what an approval is for."""

    id: str
    code: str
    revision: int
    state: str
    sha256: str
    written_by: str
    written_at: str
    decided_at: str | None
    live_on: date | None
    applied_at: str | None
    refusal: dict[str, Any] | None
    terms: dict[str, Any]


class CheckedOut(Out):
    """A revision and everything that stands against it."""

    draft: DraftOut
    problems: list[str]
    findings: list[FindingOut]
    purchase_limits: list[PurchaseLimitOut]


class VersionOut(Out):
    """Terms a programme had from a moment on."""

    version: int
    state: str
    created_at: str
    terms: dict[str, Any]


class LineOut(Out):
    """A programme or a draft of one, as a list shows it."""

    code: str
    name: str
    state: str | None
    version: int | None
    live_on: date | None
    suspended: bool
    revision: int | None
    draft_state: str | None


class ProgrammeListOut(Out):
    """One page, in the order of the codes."""

    data: list[LineOut]
    has_more: bool
    next_cursor: str | None


class ProgrammeOut(LineOut):
    """A programme with its versions and the revisions of its drafts, the newest first."""

    suspended_at: str | None
    suspended_because: str | None
    resuming: bool
    versions: list[VersionOut]
    drafts: list[DraftOut]


class BaseDateOut(Out):
    """What an issuer owes the law on a base date, in yen."""

    base_date: date
    unused_yen: int
    deposit_yen: int
    alarm: bool
    refunded_yen: int
    refund_room_yen: int
    refunds_exceeded: bool
    programmes: list[dict[str, Any]]


def line_fields(line: Line) -> dict[str, Any]:
    """Return the fields of a line of a list."""
    programme = line.programme
    return {
        "code": line.code,
        "name": line.name,
        "state": None if programme is None else str(programme.state),
        "version": None if programme is None else programme.version,
        "live_on": None if programme is None else programme.live_on,
        "suspended": programme is not None and programme.suspended_at is not None,
        "revision": line.revision,
        "draft_state": None if line.draft_state is None else str(line.draft_state),
    }


def draft_out(draft: Draft) -> DraftOut:
    """Return a revision as a door shows it."""
    return DraftOut(
        id=public_id("prg", draft.id),
        code=draft.code,
        revision=draft.revision,
        state=str(draft.state),
        sha256=draft.sha256,
        written_by=draft.written_by,
        written_at=rfc3339(to_microseconds(draft.written_at)),
        decided_at=moment_out(draft.decided_at),
        live_on=draft.live_on,
        applied_at=moment_out(draft.applied_at),
        refusal=draft.refusal,
        terms=msgspec.to_builtins(draft.draft, order="deterministic"),
    )


def version_out(version: Version) -> VersionOut:
    """Return a version as a door shows it."""
    return VersionOut(
        version=version.version,
        state=str(version.state),
        created_at=rfc3339(to_microseconds(version.created_at)),
        terms=msgspec.to_builtins(version.terms, order="deterministic"),
    )


def moment_out(moment: datetime | None) -> str | None:
    """Return a moment, or none."""
    return None if moment is None else rfc3339(to_microseconds(moment))
