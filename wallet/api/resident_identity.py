"""``/app/v1``: show who one is by the identity app; and all doors on people, as one ``router``.

Those that need no session are listed in :data:`PUBLIC`; each of them wants the proof of a device
key all the same.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api import resident_devices, resident_factors, resident_people, resident_sign_in
from wallet.api.problems import ProblemError
from wallet.api.resident import (
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Resident,
    Rooms,
    Signer,
    address_of,
    answer,
    approve,
    documented,
    id_in,
    rooms_of,
    trail,
)
from wallet.api.resident_bodies import (
    DeviceBody,
    Id,
    SessionAnswer,
    SignedInAnswer,
    signed_in,
    tokens_fields,
)
from wallet.auth.proofs import key_named_by, thumbprint_of
from wallet.auth.rules import Acr, Requirement
from wallet.auth.use_step_up import use_step_up
from wallet.core.database import write
from wallet.core.ids import public_id
from wallet.people.identity import (
    Begun,
    Flow,
    Returned,
    begin_identity,
    pass_by_identity_app,
    raise_by_identity_app,
    recover_by_identity_app,
)
from wallet.people.identity_app import IdentityApp, IdentityAppAwayError
from wallet.people.rules import Tier

PREFIX: Final = "/app/v1"
PIN_AGE_S: Final = 300

_identity = APIRouter(route_class=AppRoute)

PUBLIC: Final = frozenset(
    f"{PREFIX}{path}"
    for path in (
        "/auth/start",
        "/auth/verify",
        "/enrol",
        "/refresh",
        "/sign-in",
        "/sign-in/passkey",
        "/sign-in/passkey/options",
        "/sign-in/password",
        "/recover",
        "/recover/return",
        "/devices/accept",
    )
)
"""What may be asked without a session."""


class IdentityBody(AppBody):
    """Why to visit the identity app: to rise, or to answer a challenge."""

    purpose: Literal["raise", "step_up"]
    challenge_id: Id | None = None


class BegunAnswer(AppAnswer):
    """Where to send the person; the state comes back with them."""

    url: str
    state: str
    expires_in: int


class ReturnBody(AppBody):
    """What the identity app has sent the phone back with."""

    state: Annotated[str, Field(max_length=128)]
    code: Annotated[str, Field(min_length=1, max_length=2_048)]
    iss: Annotated[str, Field(max_length=512)] | None = None

    def returned(self) -> Returned:
        """Return it as the room takes it."""
        return Returned(self.state, self.code, self.iss)


class IdentityReturnBody(ReturnBody):
    """The same, for the purpose it was begun with."""

    purpose: Literal["raise", "step_up"]


class RecoverReturnBody(ReturnBody):
    """The same, with the new phone; the old ones may be ended when they are lost."""

    device: DeviceBody
    revoke_others: bool = False


class IdentityAnswer(AppAnswer):
    """What the visit came to: new tokens after a rise, the level after a challenge."""

    tier: str | None = None
    resident: bool | None = None
    session: SessionAnswer | None = None
    challenge_id: str | None = None
    acr: str | None = None


@_identity.post(
    "/identity",
    responses=documented(403, 423, 429),
    summary="Begin a visit to the identity app",
    operation_id="begin_identity",
)
async def begin(request: Request, resident: AnyResident, body: IdentityBody) -> BegunAnswer:
    """Return where to go, to rise or to answer a challenge.

    To rise asks for the PIN first, or whoever holds an open phone could make it theirs.
    """
    challenge_id = None
    if body.purpose == "step_up":
        challenge_id = id_in("chl", body.challenge_id or "", code="step_up_unknown")
    else:
        await _check_may_rise(request, resident)
    flow = Flow(
        purpose=body.purpose,
        thumbprint=_thumbprint(request),
        person_id=resident.person.id,
        challenge_id=challenge_id,
        address=address_of(request),
    )
    return await _begin(rooms_of(request), flow)


@_identity.post(
    "/identity/return",
    responses=documented(403, 409, 410, 423, 429),
    summary="Come back from the identity app",
    operation_id="return_identity",
)
async def come_back(
    request: Request, resident: AnyResident, body: IdentityReturnBody
) -> IdentityAnswer:
    """Take what the identity app has said: a rise, or the answer to a challenge."""
    rooms = rooms_of(request)
    shared: dict[str, Any] = {
        "caller": resident.caller,
        "thumbprint": _thumbprint(request),
        "returned": body.returned(),
        "pepper": rooms.pepper,
        "now_us": rooms.clock(),
    }
    if body.purpose == "step_up":
        passed = answer(await pass_by_identity_app(rooms.engine, _app(rooms), **shared))
        return IdentityAnswer(challenge_id=public_id("chl", passed.challenge_id), acr=passed.acr)
    if resident.person.state != "active":
        raise ProblemError("account_frozen")
    raised = await raise_by_identity_app(
        rooms.engine,
        _app(rooms),
        city=rooms.city,
        record=trail(request, "person.raise"),
        **shared,
    )
    return IdentityAnswer(
        tier=raised.tier,
        resident=raised.resident,
        session=SessionAnswer(**tokens_fields(raised.tokens)),
    )


@_identity.post(
    "/recover",
    responses=documented(403, 429),
    summary="Begin to come back with a new phone",
    operation_id="begin_recovery",
)
async def recover(request: Request, signer: Signer) -> BegunAnswer:
    """Return where to go to show who one is; nobody's account is named before."""
    flow = Flow(
        purpose="recover",
        thumbprint=thumbprint_of(signer.public_key),
        address=address_of(request),
    )
    return await _begin(rooms_of(request), flow)


@_identity.post(
    "/recover/return",
    responses=documented(403, 404, 409, 410),
    summary="Come back with a new phone",
    operation_id="recover",
)
async def recover_return(
    request: Request, signer: Signer, body: RecoverReturnBody
) -> SignedInAnswer:
    """Enrol the new phone for whom the identity app means; the old ones hear of it."""
    rooms = rooms_of(request)
    signed = await recover_by_identity_app(
        rooms.engine,
        _app(rooms),
        new=body.device.new(signer.public_key),
        thumbprint=thumbprint_of(signer.public_key),
        returned=body.returned(),
        revoke_others=body.revoke_others,
        record=trail(request, "person.recover"),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    return signed_in(signed.person_id, signed.device_id, signed.tokens)


async def _check_may_rise(request: Request, resident: Resident) -> None:
    if resident.person.state != "active":
        raise ProblemError("account_frozen")
    if resident.person.tier is Tier.VISITOR or resident.person.subject_hash is not None:
        return
    needs = Requirement(require=(Acr.PIN,), max_age_s=PIN_AGE_S)
    approval = await approve(request, resident, change="identity", needs=needs)
    if approval is not None:
        rooms = rooms_of(request)

        async def use(connection: AsyncConnection) -> None:
            await use_step_up(connection, approval=approval, now_us=rooms.clock())

        await write(rooms.engine, use)


async def _begin(rooms: Rooms, flow: Flow) -> BegunAnswer:
    begun: Begun = answer(
        await begin_identity(
            rooms.engine, _app(rooms), flow=flow, pepper=rooms.pepper, now_us=rooms.clock()
        )
    )
    return BegunAnswer(url=begun.url, state=begun.state, expires_in=begun.expires_in_s)


def _app(rooms: Rooms) -> IdentityApp:
    if rooms.identity_app is None:
        raise IdentityAppAwayError
    return rooms.identity_app


def _thumbprint(request: Request) -> bytes:
    """Return the thumbprint of the device key that has signed an authenticated request."""
    return thumbprint_of(key_named_by(request.headers["dpop"]))


router = APIRouter(prefix=PREFIX, route_class=AppRoute)
"""All doors on people; a plane that opens them has a :class:`~wallet.api.resident.Rooms`."""

router.include_router(resident_sign_in.router, tags=["sign-in"])
router.include_router(_identity, tags=["identity"])
router.include_router(resident_devices.router, tags=["devices"])
router.include_router(resident_factors.router, tags=["factors"])
router.include_router(resident_people.router, tags=["people"])
