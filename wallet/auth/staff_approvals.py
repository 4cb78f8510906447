"""Two people for what is dangerous: one asks, another one decides, and then it is done, once.

A request is data: an action, whom it is about, a payload, and a keyed hash of all of it. Whoever
decides says which hash they have seen, and whoever carries it out gets exactly what has that hash.
What an action does is not known here; the caller does it in the transaction that
:func:`take_approval` marks the request in, so that it is done once or not at all.
"""

import hmac
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.staff_policy import EXPIRES_H_MAX, policy
from wallet.auth.staff_queries import hold_members
from wallet.auth.staff_rules import (
    About,
    Action,
    Approval,
    check_reason,
    hash_approval,
    refuse_decision,
    refuse_execution,
    refuse_request,
)
from wallet.auth.staff_tables import approval as approval_table
from wallet.core.clock import to_datetime
from wallet.core.ids import new_id
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.sealing import derived_key

APPROVALS_SHOWN_MAX: Final = 100

OPEN_MAX: Final = 50
"""How many undecided requests one member may have: who is asked too often stops reading."""

FindAbout = Callable[[AsyncConnection, str], Awaitable[About]]
"""Returns whom a subject (a public id) is about; the rooms above know who stands by whom."""


class Draft(msgspec.Struct, frozen=True):
    """What somebody asks for; ``subject`` is the public id of whom it is about."""

    action: Action
    subject: str
    payload: dict[str, Any]
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """What somebody decides, on what they have seen; a no says why (``because``)."""

    decision: Literal["approved", "rejected"]
    seen_hash: bytes
    because: str | None = None


_COLUMNS: Final = """
SELECT id, action, subject, payload, payload_hash, requested_by, reason, requested_at, expires_at,
       decided_by, decision, decided_because, decided_at, executed_at
FROM approval
"""

_OPEN = text("""
SELECT count(*) FROM approval
WHERE requested_by = :id AND requested_at > :since AND decision IS NULL AND expires_at > :now
""")

_FIND = text(f"{_COLUMNS} WHERE id = :id")
_LOCK = text(f"{_COLUMNS} WHERE id = :id FOR UPDATE")

_LIST = text(f"""{_COLUMNS}
WHERE action = ANY(CAST(:actions AS text[])) AND id < CAST(:before AS uuid)
  AND (NOT :open OR executed_at IS NULL AND expires_at > :now
                    AND decision IS DISTINCT FROM 'rejected')
ORDER BY id DESC LIMIT :most
""")

_DECIDE = text("""
UPDATE approval
SET decided_by = :approver_id, decision = :decision, decided_because = :because, decided_at = :now
WHERE id = :id AND decision IS NULL AND expires_at > :now
""")

_TAKE = text("""
UPDATE approval SET executed_at = :now
WHERE id = :id AND decision = 'approved' AND executed_at IS NULL AND expires_at > :now
""")


async def request_approval(
    connection: AsyncConnection,
    *,
    draft: Draft,
    requester_id: UUID,
    find_about: FindAbout,
    pepper: bytes,
    now_us: int,
) -> Approval:
    """Write a request that another member is to decide, and return it.

    Raises :class:`RefusedError` ``permission_missing``, ``own_affair``, ``reason_missing``, and
    ``approvals_too_many`` when :data:`OPEN_MAX` of the requester's wait already.
    """
    reason, now = check_reason(draft.reason), to_datetime(now_us)
    about = await find_about(connection, draft.subject)
    held = await hold_members(connection, {requester_id})
    _raise(refuse_request(policy(), draft.action, requester=held[requester_id], about=about))
    open_ones = {"id": requester_id, "now": now, "since": now - timedelta(hours=EXPIRES_H_MAX)}
    if (await connection.execute(_OPEN, open_ones)).scalar_one() >= OPEN_MAX:
        raise RefusedError("approvals_too_many", most=OPEN_MAX)
    values: dict[str, Any] = {
        "id": new_id(now_us=now_us),
        "action": draft.action,
        "subject": draft.subject,
        "payload": draft.payload,
        "requested_by": requester_id,
        "reason": reason,
        "requested_at": now,
        "expires_at": now + timedelta(hours=policy().actions[draft.action].expires_h),
    }
    bare = Approval(payload_hash=b"", **values)
    made = Approval(payload_hash=hash_approval(bare, key=_key(pepper)), **values)
    await connection.execute(
        approval_table.insert().values(payload_hash=made.payload_hash, **values)
    )
    await _tell(connection, "approval.requested", made, now_us)
    return made


async def decide_approval(
    connection: AsyncConnection,
    *,
    approval_id: UUID,
    approver_id: UUID,
    verdict: Verdict,
    find_about: FindAbout,
    pepper: bytes,
    now_us: int,
) -> Approval:
    """Say yes or no to a request, once, and return it.

    Raises :class:`RefusedError` with what
    :func:`~wallet.auth.staff_rules.refuse_decision` says, ``approval_unknown``,
    ``approval_changed`` when the request is not what was seen, ``reason_missing``.
    """
    because = check_reason(verdict.because or "") if verdict.decision == "rejected" else None
    approval = await _lock(connection, approval_id)
    members = await hold_members(connection, {approval.requested_by, approver_id})
    _raise(
        refuse_decision(
            policy(),
            approval,
            requester=members[approval.requested_by],
            approver=members[approver_id],
            about=await find_about(connection, approval.subject),
            now=to_datetime(now_us),
        )
    )
    _check_hash(approval, verdict.seen_hash, pepper)
    values = {"id": approval_id, "approver_id": approver_id, "now": to_datetime(now_us)}
    await _change(connection, _DECIDE, {**values, "decision": verdict.decision, "because": because})
    await _tell(connection, f"approval.{verdict.decision}", approval, now_us)
    return await find_approval(connection, approval_id)


async def take_approval(
    connection: AsyncConnection,
    *,
    approval_id: UUID,
    executor_id: UUID,
    find_about: FindAbout,
    pepper: bytes,
    now_us: int,
) -> Approval:
    """Mark an approved request as carried out and return it; the caller carries it out now.

    In the same transaction, so that what fails is not marked and what is marked was done. It is
    the one who asked who carries it out. Raises :class:`RefusedError` with what
    :func:`~wallet.auth.staff_rules.refuse_execution` says, ``approval_unknown``,
    ``approval_of_another``, ``approval_changed``.
    """
    approval = await _lock(connection, approval_id)
    if approval.requested_by != executor_id:
        raise RefusedError("approval_of_another")
    both = {one for one in (executor_id, approval.decided_by) if one is not None}
    members = await hold_members(connection, both)
    _raise(
        refuse_execution(
            policy(),
            approval,
            requester=members[executor_id],
            approver=None if approval.decided_by is None else members[approval.decided_by],
            about=await find_about(connection, approval.subject),
            now=to_datetime(now_us),
        )
    )
    _check_hash(approval, approval.payload_hash, pepper)
    await _change(connection, _TAKE, {"id": approval_id, "now": to_datetime(now_us)})
    return await find_approval(connection, approval_id)


async def find_approval(connection: AsyncConnection, approval_id: UUID) -> Approval:
    """Return a request; raises :class:`RefusedError` ``approval_unknown``."""
    return await _read(connection, _FIND, approval_id)


async def list_approvals(
    connection: AsyncConnection,
    *,
    actions: Collection[Action],
    only_open: bool,
    before: UUID | None,
    limit: int,
    now_us: int,
) -> list[Approval]:
    """Return requests for the actions, newest first; open ones wait for somebody's next step."""
    values = {
        "actions": [str(action) for action in actions],
        "open": only_open,
        "before": before or UUID(int=2**128 - 1),
        "most": min(limit, APPROVALS_SHOWN_MAX + 1),
        "now": to_datetime(now_us),
    }
    return [_approval(row) for row in (await connection.execute(_LIST, values)).mappings()]


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise RefusedError(refusal.code, **refusal.facts)


def _check_hash(approval: Approval, seen: bytes, pepper: bytes) -> None:
    """Raise unless the row is what was asked for, and what was seen."""
    made = hash_approval(approval, key=_key(pepper))
    if not hmac.compare_digest(made, approval.payload_hash) or not hmac.compare_digest(made, seen):
        raise RefusedError("approval_changed")


def _key(pepper: bytes) -> bytes:
    return derived_key(purpose="staff approval", pepper=pepper)


async def _lock(connection: AsyncConnection, approval_id: UUID) -> Approval:
    return await _read(connection, _LOCK, approval_id)


async def _read(connection: AsyncConnection, statement: Any, approval_id: UUID) -> Approval:  # noqa: ANN401 - a statement
    row = (await connection.execute(statement, {"id": approval_id})).mappings().one_or_none()
    if row is None:
        raise RefusedError("approval_unknown")
    return _approval(row)


async def _change(connection: AsyncConnection, statement: Any, values: dict[str, Any]) -> None:  # noqa: ANN401 - a statement
    """Change the row that was looked at under its lock; that it is still so is held twice."""
    if (await connection.execute(statement, values)).rowcount != 1:
        raise RefusedError("approval_changed")


async def _tell(connection: AsyncConnection, kind: str, approval: Approval, now_us: int) -> None:
    body = {"approval_id": approval.id, "action": approval.action}
    await tell(connection, kind=kind, body=body, now_us=now_us)


def _approval(row: Any) -> Approval:  # noqa: ANN401 - a row of the queries above
    return Approval(**{**row, "action": Action(row["action"])})
