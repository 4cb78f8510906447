"""Pass a challenge: check what somebody shows against the operation they were asked for.

Five wrong answers kill it, however many are given at once: the challenge's row is locked while an
answer is looked at.
"""

import hmac
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth import step_up_storage as storage
from wallet.auth.authenticate import Caller
from wallet.auth.evidence import Evidence
from wallet.auth.rules import (
    Acr,
    FactorClass,
    Method,
    challenge_of,
    merge,
    reached,
    satisfies,
    show,
    strongest,
)
from wallet.core.clock import MICROSECONDS, to_datetime
from wallet.core.refusals import Refusal

FAILURES_MAX: Final = 5

TOO_MANY_TRIES: Final = "too_many_tries"

OF_ONE_OPERATION: Final = frozenset({Method.PASSKEY, Method.IDENTITY_APP, Method.COUNTER})
"""Methods that are asked for to approve one operation, so an earlier use approves no other."""


class Passed(msgspec.Struct, frozen=True):
    """A challenge was passed: the level that was reached, and by which classes."""

    challenge_id: UUID
    acr: Acr
    classes: tuple[FactorClass, ...]


async def pass_challenge(
    connection: AsyncConnection,
    *,
    challenge_id: UUID,
    caller: Caller,
    evidence: Evidence,
    now_us: int,
    number: str | None = None,
) -> Passed | Refusal:
    """Return that the challenge is passed, or why not.

    Commit whatever the answer: only then is a wrong one counted. What counts is the evidence, with
    what the caller's session has shown within the challenge's age beside it; but a passkey or a
    proofing that was of something else does not. ``number`` is what the holder of a pushed phone
    has read elsewhere.

    Refuses with ``step_up_unknown`` (also for another person's or another device's challenge),
    ``step_up_expired``, ``step_up_passed`` before, ``step_up_dead`` after five wrong answers,
    ``step_up_insufficient`` before looking at evidence that could not reach the level,
    ``step_up_failed`` with ``tries_left``, and ``too_many_tries`` of the factor's own counters.
    """
    row = await storage.lock_step_up(connection, challenge_id)
    refusal = check_open(row, caller, now_us)
    if refusal is not None:
        return refusal
    reach = reach_of(row, caller, evidence.method, now_us)
    if isinstance(reach, Refusal):
        return reach
    refusal = await _check(connection, row, caller, evidence, number, now_us)
    if refusal is not None:
        return refusal
    await storage.note_passed(
        connection, challenge_id, acr=reach.acr, classes=reach.classes, now=to_datetime(now_us)
    )
    return reach


def check_open(
    row: Any,  # noqa: ANN401 - a challenge, as a row or a StepUp, or None
    caller: Caller,
    now_us: int,
) -> Refusal | None:
    """Return why nobody, or not this caller, can answer the challenge."""
    if row is None or row.principal_id != caller.principal_id:
        return Refusal("step_up_unknown")
    if row.device_id is not None and row.device_id != caller.device_id:
        return Refusal("step_up_unknown")
    if row.passed_at is not None:
        return Refusal("step_up_passed")
    if row.failures >= FAILURES_MAX:
        return Refusal("step_up_dead")
    return Refusal("step_up_expired") if row.expires_at <= to_datetime(now_us) else None


def reach_of(
    row: Any,  # noqa: ANN401 - as above
    caller: Caller,
    method: Method,
    now_us: int,
) -> Passed | Refusal:
    """Return what a right answer by this method would reach, or that it is too little."""
    beside = [one for one in caller.classes if one.method not in OF_ONE_OPERATION]
    shown = merge(beside, show(method, at_us=now_us))
    levels = reached(shown, now_us=now_us, max_age_s=row.max_age_s)
    acr = strongest(levels)
    if acr is None or not satisfies(levels, row.required):
        return Refusal("step_up_insufficient", {"acr_values": list(row.required)})
    oldest_us = now_us - row.max_age_s * MICROSECONDS
    classes = tuple(sorted({one.factor_class for one in shown if one.at_us >= oldest_us}))
    return Passed(row.id, acr, classes)


def has_number(row: Any, number: str | None) -> bool:  # noqa: ANN401 - as above
    """Whether the holder has read the number that the other screen shows, or none was asked."""
    return row.number_match is None or hmac.compare_digest(
        row.number_match.encode(), (number or "").encode("utf-8", "replace")
    )


async def _check(
    connection: AsyncConnection,
    row: Any,  # noqa: ANN401 - a row of the challenge
    caller: Caller,
    evidence: Evidence,
    number: str | None,
    now_us: int,
) -> Refusal | None:
    """Return why the answer is wrong, counted; which part of it was is not told."""
    matches = has_number(row, number)
    challenge = challenge_of(nonce=row.nonce, op_hash=row.op_hash)
    refusal = await evidence.check(connection, caller=caller, challenge=challenge, now_us=now_us)
    if refusal is None and matches:
        return None
    await storage.note_failure(connection, row.id)
    if refusal is not None and refusal.code == TOO_MANY_TRIES:
        return refusal
    return Refusal("step_up_failed", {"tries_left": FAILURES_MAX - row.failures - 1})
