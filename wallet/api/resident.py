"""What every door of the app has in common: who calls, what they may send, what they must show.

A plane that opens such doors puts a :class:`Rooms` at ``application.state.rooms``.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.types import Message

from wallet.api.openapi import Responses, problems
from wallet.api.problems import ProblemError
from wallet.auth.authenticate import READING, Caller, authenticate
from wallet.auth.create_challenge import create_challenge, make_challenge
from wallet.auth.hash_gate import HashGate
from wallet.auth.passkeys import Site
from wallet.auth.password_quality import BreachList
from wallet.auth.proofs import (
    Proof,
    ProofRefusedError,
    base64url,
    burn_proof,
    key_named_by,
    verify_proof,
)
from wallet.auth.rules import INCLUDED, Acr, Operation, Requirement, Risk, op_hash
from wallet.auth.step_up_storage import Challenge
from wallet.auth.step_up_table import requirement
from wallet.auth.use_step_up import Approval
from wallet.core.clock import MICROSECONDS, Clock, to_microseconds
from wallet.core.database import read, write
from wallet.core.ids import parse_public_id, public_id
from wallet.core.my_number import contains_my_number, contains_twelve_digits
from wallet.core.refusals import Refusal, RefusedError
from wallet.ops.audit import Entry, append, origin_of
from wallet.people.changes import sets_up
from wallet.people.identity import City
from wallet.people.identity_app import IdentityApp
from wallet.people.persons import Person, find_person

BODY_TIMEOUT_S: Final = 10.0
STEP_UP_HEADER: Final = "step-up"

T = TypeVar("T")


class Rooms(msgspec.Struct, frozen=True, kw_only=True):
    """What the doors of the app work with; one for a process."""

    engine: AsyncEngine
    clock: Clock
    pepper: bytes
    site: Site
    gate: HashGate
    identity_app: IdentityApp | None
    breached: BreachList | None
    city: City
    body_bytes_max: int
    livemode: bool


def _refuse_my_number(text: str) -> str:
    if contains_my_number(text):
        raise ProblemError("my_number_refused")
    return text


def _refuse_twelve_digits(text: str) -> str:
    if contains_twelve_digits(text):
        raise ProblemError("my_number_refused")
    return text


FEW_DIGITS: Final = AfterValidator(_refuse_twelve_digits)
"""Of names that are kept as they are: no twelve digits at all, as the schema has it."""

FREE_TEXT: Final = AfterValidator(_refuse_my_number)
"""Of every other field that people fill in as they like: a My Number in it ends the request.

Ids and keys are left out, for their digits mean nothing and would look like one at times.
"""


class AppBody(BaseModel):
    """What the app sends: known fields of the right type, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AppAnswer(BaseModel):
    """What the app is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AppRoute(APIRoute):
    """A door that takes bounded bodies and tells every refusal in the words for people."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the door's handler with the body read before, and refusals told after."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            body = await _read_body(request, rooms_of(request).body_bytes_max)
            replayed = Request(request.scope, _replay(body))
            try:
                response = await handle(replayed)
            except RefusedError as error:
                raise told(error.refusal) from None
            except RequestValidationError as error:
                raise ProblemError("request_invalid", errors=_pointers(error)) from None
            response.headers["cache-control"] = "no-store"
            return response

        return bounded


class Proved(msgspec.Struct, frozen=True):
    """A device key that has just signed a request, and the proof of it, not burnt yet."""

    public_key: bytes
    proof: Proof


class Resident(msgspec.Struct, frozen=True):
    """Who calls, and what the city knows of them."""

    caller: Caller
    person: Person


def rooms_of(request: Request) -> Rooms:
    """Return what the plane works with."""
    return cast("Rooms", request.app.state.rooms)


def address_of(request: Request) -> str | None:
    """Return where a request comes from, as the server saw it; no header says it."""
    return None if request.client is None else request.client.host


def told(refusal: Refusal) -> ProblemError:
    """Return a refusal as people hear it: what is a missing key for a shop is a sign-in for them.

    Ids of the house stay inside.
    """
    code = "signed_out" if refusal.code in {"unauthenticated", "person_unknown"} else refusal.code
    facts = {name: fact for name, fact in refusal.facts.items() if not name.endswith("_id")}
    return ProblemError(code, **facts)


def answer(value: T | Refusal) -> T:
    """Return what was asked for, or end the request with the refusal."""
    if isinstance(value, Refusal):
        raise told(value)
    return value


def id_in(prefix: str, text: str, *, code: str) -> Any:  # noqa: ANN401 - a UUID of either make
    """Return the id in a path or a body; what is none is as unknown as what nobody has."""
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        raise ProblemError(code)
    return parsed


async def prove(request: Request) -> Proved:
    """Return the key that has signed this request; it need not be anybody's.

    Whoever changes something must see the proof burnt.
    """
    rooms, given = rooms_of(request), request.headers.getlist("dpop")
    body = await request.body()
    try:
        text = given[0] if len(given) == 1 else ""
        public_key = key_named_by(text)
        proof = verify_proof(
            text,
            method=request.method,
            url_path=_path_of(request),
            public_key=public_key,
            access_token=None,
            body=None if request.method in READING else body,
            now_us=rooms.clock(),
        )
    except ProofRefusedError:
        raise ProblemError("signed_out") from None
    return Proved(public_key, proof)


async def prove_once(request: Request) -> Proved:
    """Return the key that has signed this request, and burn the proof."""
    rooms, proved = rooms_of(request), await prove(request)
    now_us = rooms.clock()

    async def burn(connection: AsyncConnection) -> bool:
        return await burn_proof(connection, proof=proved.proof, now_us=now_us, alone=True)

    if not await write(rooms.engine, burn):
        raise ProblemError("proof_replayed")
    return proved


async def call_in(request: Request) -> Resident:
    """Return the resident who calls, frozen or not; nobody else comes through."""
    rooms = rooms_of(request)
    body = await request.body()
    authorization, proof = (
        values[0] if len(values := request.headers.getlist(name)) == 1 else None
        for name in ("authorization", "dpop")
    )
    caller = answer(
        await authenticate(
            rooms.engine,
            pepper=rooms.pepper,
            authorization=authorization,
            proof=proof,
            method=request.method,
            path=_path_of(request),
            body=body,
            now_us=rooms.clock(),
        )
    )
    async with read(rooms.engine) as connection:
        person = await find_person(connection, person_id=caller.principal_id)
    if person is None or person.state == "closed" or caller.device_id is None:
        raise ProblemError("signed_out")
    return Resident(caller, person)


AnyResident = Annotated[Resident, Depends(call_in)]
"""A resident, frozen or not: for looking, freezing and thawing."""


async def call_in_active(resident: AnyResident) -> Resident:
    """Return the resident who calls, unless they are frozen."""
    if resident.person.state != "active":
        raise ProblemError("account_frozen")
    return resident


ActiveResident = Annotated[Resident, Depends(call_in_active)]
"""A resident who is not frozen."""

Signer = Annotated[Proved, Depends(prove_once)]
"""The holder of a device key, whoever that is."""


async def approve(
    request: Request,
    resident: Resident,
    *,
    change: str,
    needs: Requirement | None = None,
    in_set_up: bool = True,
) -> Approval | None:
    """Return the challenge on which a change may be made, or None in the set-up of an account.

    A request without the header ``Step-Up`` ends here: it is told what to show, and gets a
    challenge that is bound to this very request, method, path and body. ``needs`` is what to ask
    for instead of the table's answer.
    """
    rooms = rooms_of(request)
    now_us = rooms.clock()
    if in_set_up:
        async with read(rooms.engine) as connection:
            if await sets_up(
                connection,
                person=resident.person,
                device_id=resident.caller.device_id,
                now_us=now_us,
            ):
                return None
    needed = needs or _requirement_of(resident, now_us)
    fields = await _fields_of(request, resident, change, rooms.pepper)
    given = request.headers.getlist(STEP_UP_HEADER)
    if not given:
        raise await _ask(rooms, resident, change, needed, fields, now_us)
    challenge_id = id_in("chl", given[0] if len(given) == 1 else "", code="step_up_unknown")
    return Approval(
        challenge_id=challenge_id,
        principal_id=resident.person.id,
        op_hash=op_hash(fields),
        requirement=needed,
        consumed_by=challenge_id,
    )


def _requirement_of(resident: Resident, now_us: int) -> Requirement:
    """Return what the table asks of a change; more while an earlier one cools off."""
    cools = resident.caller.cooling_until_us is not None or resident.person.cools_off(now_us=now_us)
    needed = requirement(
        operation=Operation.CHANGE_SIGN_IN,
        amount_yen=0,
        risk=Risk.MEDIUM if cools else Risk.LOW,
        bands_open=(),
    )
    if not needed.require:
        raise ProblemError("factor_not_enrolled", acr_values=[Acr.JPKI])
    return needed


async def _fields_of(
    request: Request, resident: Resident, change: str, pepper: bytes
) -> dict[str, Any]:
    """Return the operation that a challenge is bound to: this request, and nothing like it.

    Of the body a keyed digest, since a PIN in it could be found again by trying them all.
    """
    body = await request.body()
    return {
        "op": Operation.CHANGE_SIGN_IN,
        "change": change,
        "person": public_id("per", resident.person.id),
        "session": resident.caller.session_id.hex,
        "method": request.method,
        "path": _path_of(request),
        "body": hashlib.blake2b(
            body, key=pepper, digest_size=32, person=b"step-up body"
        ).hexdigest(),
    }


async def _ask(
    rooms: Rooms,
    resident: Resident,
    change: str,
    needed: Requirement,
    fields: Mapping[str, Any],
    now_us: int,
) -> ProblemError:
    """Write a challenge and return the problem that carries it."""
    challenge = make_challenge(
        principal_id=resident.person.id,
        device_id=resident.caller.device_id,
        operation=Operation.CHANGE_SIGN_IN,
        fields=fields,
        summary={"change": change},
        requirement=needed,
        now_us=now_us,
    )
    by_app = rooms.identity_app is not None and resident.person.subject_hash is not None
    offered = INCLUDED[Acr.JPKI] if by_app else frozenset()

    async def work(connection: AsyncConnection) -> Challenge:
        return await create_challenge(
            connection, challenge=challenge, now_us=now_us, offered=offered
        )

    made = await write(rooms.engine, work)
    return ProblemError(
        "step_up_required",
        acr_values=list(made.required),
        max_age_s=made.max_age_s,
        challenge_id=public_id("chl", made.id),
        challenge=base64url(made.challenge),
        op_hash=made.op_hash.hex(),
        expires_in_s=(to_microseconds(made.expires_at) - now_us) // MICROSECONDS,
        summary=made.summary,
    )


def trail(
    request: Request, action: str, **details: int | str
) -> Callable[[AsyncConnection, UUID], Awaitable[None]]:
    """Return what writes into the audit trail that a person has done something themselves.

    It is the last statement of the transaction. Refusals of strangers are left out: the trail has
    one end, and whoever likes could make everybody wait for it.
    """
    rooms = rooms_of(request)
    origin = origin_of("resident", address_of(request), pepper=rooms.pepper)
    now_us = rooms.clock()

    async def record(connection: AsyncConnection, person_id: UUID) -> None:
        name = public_id("per", person_id)
        entry = Entry(action=action, actor=name, subject=name, origin=origin, details=details)
        await append(connection, entry=entry, now_us=now_us)

    return record


async def write_recorded(
    request: Request,
    work: Callable[[AsyncConnection], Awaitable[T]],
    *,
    action: str,
    whose: UUID | Callable[[T], UUID],
    **details: int | str,
) -> T:
    """Do the work in one transaction with its entry in the audit trail, and return its result.

    ``whose`` is the person, or finds them in the result; a refusal leaves no entry.
    """
    record = trail(request, action, **details)

    async def both(connection: AsyncConnection) -> T:
        result = await work(connection)
        if not isinstance(result, Refusal):
            await record(connection, whose if isinstance(whose, UUID) else whose(result))
        return result

    return await write(rooms_of(request).engine, both)


def documented(*statuses: int) -> Responses:
    """Return the problems that a door of the app may answer with."""
    return problems(401, 422, 500, 503, *statuses)


def _path_of(request: Request) -> str:
    """Return the path as the client wrote it, for that is what it has signed."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return raw.partition(b"?")[0].decode("latin-1")


async def _read_body(request: Request, bytes_max: int) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > bytes_max:
                    raise ProblemError("body_too_large", bytes_max=bytes_max)
    except TimeoutError:
        raise ProblemError("body_too_slow") from None
    return body


def _replay(body: bytes) -> Callable[[], Awaitable[Message]]:
    """Return a ``receive`` that gives a body that was read already."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _pointers(error: RequestValidationError) -> list[dict[str, str]]:
    """Return where a request is wrong, without what stood there."""
    return [
        {
            "pointer": "/" + "/".join(str(part) for part in one["loc"][1:]),
            "code": str(one["type"]),
            "detail": str(one["msg"]),
        }
        for one in error.errors()
    ]
