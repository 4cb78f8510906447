"""``/app/v1``: what is in one's wallets, what was paid, what waits for an answer, codes to show."""

import base64
import binascii
from datetime import date, datetime
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.problems import ProblemError
from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Resident,
    answer,
    documented,
    id_in,
    rooms_of,
)
from wallet.api.resident_bodies import Id, Pin
from wallet.auth.passkeys import begin_passkey_assertion, list_passkeys
from wallet.auth.pin import check_pin
from wallet.auth.proofs import base64url
from wallet.auth.queries import Waiting, list_challenges
from wallet.auth.rules import Method, merge, show
from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.payments.history import HISTORY_MAX, PurseSeen, Spent, list_purses, list_spent
from wallet.payments.issue_codes import EXPIRES_S, GivenTo, issue_codes
from wallet.payments.rules import level_of
from wallet.people.queries import Reach, Role, list_reach

router = APIRouter(prefix="/app/v1", route_class=AppRoute)

CODES_MAX: Final = 10
"""Codes that a phone may keep for when it has no net."""

LEVEL_AGE_S: Final = 300
"""How long ago a code's phone may have been shown a factor for the code to carry it."""


class PurseAnswer(AppAnswer):
    """What is in one purse, and until when it may be spent."""

    programme: str
    name: str | None
    funding: str
    amount: int
    expires_on: date


class HomeWalletAnswer(AppAnswer):
    """A wallet: as whom one reaches it, and what is in it, in the order it pays; yen."""

    id: str
    role: str
    available: int
    purses: list[PurseAnswer]


class HomeAnswer(AppAnswer):
    """The first page of the app, in one answer."""

    wallets: list[HomeWalletAnswer]
    challenges: int
    cooling_until: datetime | None


class SpentAnswer(AppAnswer):
    """A payment that was made."""

    id: str
    amount: int
    shop: str
    shop_id: str
    instrument: str
    created_at: datetime


class SpentPage(AppAnswer):
    """One page of payments, newest first."""

    data: list[SpentAnswer]
    has_more: bool
    next_cursor: str | None


class ChallengeAnswer(AppAnswer):
    """A challenge that waits: what to show, what to sign, what will do.

    ``asks_number`` says that the number on the other screen is to be typed. ``passkey`` is what to
    call ``navigator.credentials.get`` with, for whoever has one.
    """

    id: str
    operation: str
    summary: dict[str, Any]
    challenge: str
    acr_values: list[str]
    asks_number: bool
    expires_at: datetime
    passkey: dict[str, Any] | None


class ChallengesAnswer(AppAnswer):
    """All challenges that this phone may answer now, the newest first."""

    data: list[ChallengeAnswer]


class CodesBody(AppBody):
    """How many codes, of which wallet; with the PIN, they carry more than their bearer."""

    count: Annotated[int, Field(ge=1, le=CODES_MAX)] = CODES_MAX
    wallet_id: Id | None = None
    pin: Pin | None = None


class CodesAnswer(AppAnswer):
    """Codes to show to shops, told once; each pays once. ``acr`` is the level that they carry."""

    codes: list[str]
    acr: str | None
    expires_at: datetime


@router.get(
    "/home",
    response_model=HomeAnswer,
    responses={304: {"description": "Nothing has changed"}, **documented()},
    summary="See my wallets",
    operation_id="get_home",
)
async def home(request: Request, resident: AnyResident, response: Response) -> Any:  # noqa: ANN401 - an answer or 304
    """Return everything that the first page shows."""
    rooms, person = rooms_of(request), resident.person
    now_us = rooms.clock()
    async with read(rooms.engine) as connection:
        reach = await list_reach(connection, person_id=person.id)
        waiting = await _waiting(connection, resident, now_us)
    purses = await list_purses(
        rooms.engine, wallet_ids=[one.wallet_id for one in reach], day=japanese_day(now_us)
    )
    cools = person.cools_off(now_us=now_us)
    told = HomeAnswer(
        wallets=[_wallet(one, purses) for one in reach],
        challenges=len(waiting),
        cooling_until=person.cooling_until if cools else None,
    )
    etag = f'"{base64url(sha256(told.model_dump_json().encode()).digest()[:16])}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"etag": etag})
    response.headers["etag"] = etag
    return told


def _wallet(reach: Reach, purses: list[PurseSeen]) -> HomeWalletAnswer:
    own = [one for one in purses if one.wallet_id == reach.wallet_id]
    return HomeWalletAnswer(
        id=public_id("wal", reach.wallet_id),
        role=reach.role,
        available=sum(one.available_yen for one in own),
        purses=[
            PurseAnswer(
                programme=one.programme,
                name=one.name,
                funding=one.funding,
                amount=one.available_yen,
                expires_on=one.expires_on,
            )
            for one in own
        ],
    )


@router.get(
    "/transactions",
    responses=documented(404),
    summary="List what was paid",
    operation_id="list_transactions",
)
async def transactions(
    request: Request,
    resident: AnyResident,
    wallet_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=HISTORY_MAX)] = 20,
    cursor: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{11}$")] = None,
) -> SpentPage:
    """List a wallet's payments, newest first; one's own wallet unless another is named."""
    rooms = rooms_of(request)
    reach = await reach_of(request, resident, wallet_id)
    spent = await list_spent(
        rooms.engine,
        wallet_id=reach.wallet_id,
        before=None if cursor is None else _read_cursor(cursor),
        limit=limit + 1,
    )
    shown = spent[:limit]
    has_more = len(spent) > len(shown)
    return SpentPage(
        data=[_spent(one) for one in shown],
        has_more=has_more,
        next_cursor=_cursor(shown[-1].position) if has_more else None,
    )


def _spent(one: Spent) -> SpentAnswer:
    payment = one.payment
    return SpentAnswer(
        id=public_id("pay", payment.id),
        amount=payment.amount_yen,
        shop=one.shop,
        shop_id=public_id("shp", payment.shop_id),
        instrument=payment.instrument,
        created_at=payment.created_at,
    )


@router.get(
    "/challenges",
    responses=documented(),
    summary="List what waits for my answer",
    operation_id="list_challenges",
)
async def challenges(request: Request, resident: AnyResident) -> ChallengesAnswer:
    """List what this phone may approve now; it is answered at ``/challenges/{id}/respond``."""
    rooms = rooms_of(request)
    async with read(rooms.engine) as connection:
        waiting = await _waiting(connection, resident, rooms.clock())
        has_passkey = waiting and await list_passkeys(connection, principal_id=resident.person.id)
        return ChallengesAnswer(
            data=[
                ChallengeAnswer(
                    id=public_id("chl", one.id),
                    operation=one.operation,
                    summary=one.summary,
                    challenge=base64url(one.challenge),
                    acr_values=list(one.required),
                    asks_number=one.asks_number,
                    expires_at=one.expires_at,
                    passkey=await begin_passkey_assertion(
                        connection,
                        site=rooms.site,
                        principal_id=resident.person.id,
                        challenge=one.challenge,
                    )
                    if has_passkey
                    else None,
                )
                for one in waiting
            ]
        )


@router.post(
    "/codes/cpm",
    status_code=201,
    responses=documented(404, 423, 429),
    summary="Get codes to show to shops",
    operation_id="issue_codes",
)
async def codes(request: Request, resident: ActiveResident, body: CodesBody) -> CodesAnswer:
    """Return one-time codes that carry the level which this phone has shown by now."""
    rooms, caller = rooms_of(request), resident.caller
    now_us = rooms.clock()
    reach = await reach_of(request, resident, body.wallet_id)
    if not reach.may_pay(now_us=now_us):
        raise ProblemError("wallet_unknown")
    shown = caller.classes
    if body.pin is not None:
        await _check_pin(request, resident, body.pin, now_us)
        shown = merge(shown, show(Method.PIN, at_us=now_us))
    level = level_of(shown, now_us=now_us, max_age_s=LEVEL_AGE_S)
    helper_id = reach.holder_id if reach.role is Role.PROXY else None
    issued = await issue_codes(
        rooms.engine,
        wallet_ids=[reach.wallet_id] * body.count,
        pepper=rooms.pepper,
        now_us=now_us,
        given_to=GivenTo(caller.device_id, helper_id, level),
    )
    return CodesAnswer(
        codes=issued,
        acr=None if level is None else level.acr,
        expires_at=to_datetime(now_us + EXPIRES_S * 1_000_000),
    )


async def _check_pin(request: Request, resident: Resident, pin: str, now_us: int) -> None:
    """Check this phone's PIN; a wrong one is counted."""
    rooms, device_id = rooms_of(request), resident.caller.device_id
    if device_id is None:
        raise ProblemError("signed_out")
    work = partial(check_pin, device_id=device_id, pin=pin, pepper=rooms.pepper, now_us=now_us)
    answer(await write(rooms.engine, work))


async def reach_of(request: Request, resident: Resident, wallet_id: str | None) -> Reach:
    """Return the wallet that is named, one's own by default; no others are there to be seen."""
    asked = None if wallet_id is None else id_in("wal", wallet_id, code="wallet_unknown")
    async with read(rooms_of(request).engine) as connection:
        reach = await list_reach(connection, person_id=resident.person.id)
    for one in reach:
        if one.wallet_id == asked or (asked is None and one.role is Role.OWN):
            return one
    raise ProblemError("wallet_unknown")


async def _waiting(connection: AsyncConnection, resident: Resident, now_us: int) -> list[Waiting]:
    return await list_challenges(
        connection,
        principal_id=resident.person.id,
        device_id=resident.caller.device_id,
        now_us=now_us,
    )


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(position.to_bytes(8, "big")).rstrip(b"=").decode("ascii")


def _read_cursor(cursor: str) -> int:
    """Return the place in the list; any cursor of the right form is one, whoever made it."""
    try:
        position = int.from_bytes(base64.urlsafe_b64decode(cursor + "="), "big")
    except binascii.Error:
        raise ProblemError("request_invalid") from None
    return min(position, 2**63 - 1)
