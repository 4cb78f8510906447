"""What the doors of coin and points have in common: the teller, keys, levels, codes that are tried.

Whoever calls has been recognised and their proof burnt before the teller is asked; what is decided
about the money is decided there, in one batch with everybody else's. What takes more than the phone
is answered with 401 (RFC 9470) and a challenge; sent again with it in ``Step-Up`` and the same
Idempotency-Key, it is done once.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Request
from pydantic import Field

from wallet.api.hot_door import headers_of, idempotency_key
from wallet.api.openapi import IDEMPOTENCY_KEY
from wallet.api.problems import ProblemError
from wallet.api.resident import (
    STEP_UP_HEADER,
    AppBody,
    Resident,
    address_of,
    answer,
    id_in,
    rooms_of,
    told,
)
from wallet.api.resident_pay import challenge_facts
from wallet.auth.create_challenge import create_challenge, make_challenge
from wallet.auth.guess_limits import Subjects
from wallet.auth.rules import Operation, Requirement
from wallet.core.database import write
from wallet.ledger.teller import OutcomeUnknown, Overloaded, Teller
from wallet.ledger.work import Work
from wallet.points.check_codes import counted_for
from wallet.points.give import Refused

Code = Annotated[str, Field(min_length=1, max_length=160, pattern=r"^[!-~]+$")]
ProgrammeCode = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]

KEYED: Final[dict[str, Any]] = {"parameters": [IDEMPOTENCY_KEY]}
"""Of the document of doors that take a key."""

STEP_UP: Final = {
    "name": "Step-Up",
    "in": "header",
    "required": False,
    "description": "The challenge that was passed for this; the rest as it was, the"
    " Idempotency-Key included.",
    "schema": {"type": "string", "pattern": "^chl_[0-9a-f]{32}$"},
}

CONFIRMED: Final[dict[str, Any]] = {"parameters": [IDEMPOTENCY_KEY, STEP_UP]}
"""Of the document of doors that take a key, and may ask for more than the phone."""


class CodeBody(AppBody):
    """A code that was read or typed."""

    code: Code


async def ask_teller(request: Request, work: Work, asked: object) -> Any:  # noqa: ANN401 - the work's answer
    """Have the teller settle something, and return its answer once it has; a refusal ends it."""
    teller: Teller = request.app.state.teller
    try:
        settled = await teller.submit(work, asked)
    except Overloaded:
        raise ProblemError("overloaded") from None
    except OutcomeUnknown:
        raise ProblemError("result_unknown") from None
    if isinstance(settled, Refused):
        raise told(settled.refusal)
    return settled


def key_of(request: Request) -> str:
    """Return the request's Idempotency-Key, or end it."""
    return idempotency_key(headers_of(request.scope["headers"]))


def _subjects(request: Request, resident: Resident) -> Subjects:
    return counted_for(
        person_id=resident.person.id,
        device_id=resident.caller.device_id,
        address=address_of(request),
        pepper=rooms_of(request).pepper,
    )


async def check_code(request: Request, resident: Resident, check: Any) -> Any:  # noqa: ANN401 - what the check returns
    """Return what a check of a code says; the try is counted whatever that is."""
    rooms = rooms_of(request)
    bound = partial(check, subjects=_subjects(request, resident), now_us=rooms.clock())
    return answer(await write(rooms.engine, bound))


async def ask_for_level(
    request: Request,
    resident: Resident,
    *,
    operation: Operation,
    needed: Requirement,
    fields: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> ProblemError:
    """Write a challenge that is bound to these fields, and return the problem that carries it."""
    rooms, now_us = rooms_of(request), rooms_of(request).clock()
    challenge = make_challenge(
        principal_id=resident.person.id,
        device_id=resident.caller.device_id,
        operation=operation,
        fields=fields,
        summary=summary,
        requirement=needed,
        now_us=now_us,
    )
    made = await write(rooms.engine, partial(create_challenge, challenge=challenge, now_us=now_us))
    return ProblemError("step_up_required", **challenge_facts(made, now_us=now_us))


def step_up_in(request: Request) -> UUID | None:
    """Return the challenge that was passed for a request, None for none."""
    given = request.headers.getlist(STEP_UP_HEADER)
    if not given:
        return None
    parsed: UUID = id_in("chl", given[0] if len(given) == 1 else "", code="step_up_unknown")
    return parsed
