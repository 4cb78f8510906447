"""``/app/v1``: enrol, sign in, refresh: what needs no session, but the proof of a device key."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from wallet.api.problems import ProblemError
from wallet.api.resident import (
    AppAnswer,
    AppBody,
    AppRoute,
    Proved,
    Signer,
    address_of,
    answer,
    documented,
    id_in,
    prove,
    rooms_of,
)
from wallet.api.resident_bodies import (
    Code,
    ContactText,
    Credential,
    DeviceBody,
    EnrolledAnswer,
    Id,
    Kind,
    Password,
    Pin,
    SessionAnswer,
    SignedInAnswer,
    credential_text,
    signed_in,
    tokens_fields,
)
from wallet.auth.passkeys import begin_passkey_sign_in
from wallet.auth.proofs import thumbprint_of
from wallet.auth.refresh_session import Request as RefreshRequest
from wallet.auth.refresh_session import refresh_session
from wallet.core.database import write
from wallet.core.ids import public_id
from wallet.people.contact_codes import EXPIRES_S, Asker, send_code
from wallet.people.enrol import FirstDevice, Newcomer, enrol_device_person, enrol_visitor
from wallet.people.rules import Contact, ContactKind, read_contact
from wallet.people.sign_in import (
    PasswordTry,
    SecondFactor,
    sign_in_by_device,
    sign_in_by_passkey,
    sign_in_by_password,
)

router = APIRouter(route_class=AppRoute)


class ContactBody(AppBody):
    """A contact to send a code to."""

    kind: Kind
    value: ContactText

    def contact(self) -> Contact:
        """Return the contact, or end the request."""
        found = read_contact(ContactKind(self.kind), self.value)
        if found is None:
            raise ProblemError("contact_invalid")
        return found


class StartedAnswer(AppAnswer):
    """A code is on its way, if the contact can have one."""

    code_id: str
    expires_in: int


class VerifyBody(AppBody):
    """The code that was read, and the phone to enrol."""

    code_id: Id
    code: Code
    device: DeviceBody
    pin: Pin | None = None


class EnrolBody(AppBody):
    """The phone to enrol; with a second key or a PIN."""

    device: DeviceBody
    pin: Pin | None = None


class RefreshBody(AppBody):
    """The last refresh token."""

    refresh_token: Annotated[str, Field(max_length=128)]


class SignInBody(AppBody):
    """Nothing, or the PIN to show with the device key."""

    pin: Pin | None = None


class PasskeyOptionsAnswer(AppAnswer):
    """What to call ``navigator.credentials.get`` with."""

    options: dict[str, Any]


class PasskeySignInBody(AppBody):
    """What the passkey has answered, and the phone it is on."""

    credential: Credential
    device: DeviceBody


class PasswordBody(AppBody):
    """A password, and beside it the code of an authenticator app or of the paper sheet."""

    contact: ContactBody
    password: Password
    otp: Code | None = None
    recovery_code: Code | None = None

    def second(self) -> SecondFactor:
        """Return the one second factor, or end the request."""
        if (self.otp is None) == (self.recovery_code is None):
            raise ProblemError("request_invalid")
        return SecondFactor(self.otp or self.recovery_code or "", from_paper=self.otp is None)


def _enrolled(newcomer: Newcomer) -> EnrolledAnswer:
    return EnrolledAnswer(
        **tokens_fields(newcomer.tokens),
        person_id=public_id("per", newcomer.person_id),
        device_id=public_id("dev", newcomer.device_id),
        wallet_id=public_id("wal", newcomer.wallet_id),
        tier=newcomer.tier,
    )


@router.post(
    "/auth/start",
    status_code=202,
    responses=documented(429),
    summary="Send a code to a contact",
    operation_id="start_contact",
)
async def start(request: Request, signer: Signer, body: ContactBody) -> StartedAnswer:
    """Send a code; the answer is the same whether the contact is known or not."""
    return await send(request, body, _asker(request, signer))


async def send(request: Request, body: ContactBody, asker: Asker) -> StartedAnswer:
    """Have a code sent for whoever asks."""
    rooms = rooms_of(request)
    work = partial(
        send_code, to=body.contact(), asker=asker, pepper=rooms.pepper, now_us=rooms.clock()
    )
    code_id = answer(await write(rooms.engine, work))
    return StartedAnswer(code_id=public_id("cco", code_id), expires_in=EXPIRES_S)


@router.post(
    "/auth/verify",
    status_code=201,
    responses=documented(409, 429),
    summary="Enrol as a visitor by the code that was sent",
    operation_id="verify_contact",
)
async def verify(request: Request, signer: Signer, body: VerifyBody) -> EnrolledAnswer:
    """Enrol whoever has read the code; it opens no account that is there already."""
    rooms = rooms_of(request)
    work = partial(
        enrol_visitor,
        code_id=id_in("cco", body.code_id, code="contact_code_wrong"),
        code=body.code,
        device=FirstDevice(new=body.device.new(signer.public_key), pin=body.pin),
        asker=_asker(request, signer),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    return _enrolled(answer(await write(rooms.engine, work)))


@router.post(
    "/enrol",
    status_code=201,
    responses=documented(409, 429),
    summary="Enrol by a phone alone",
    operation_id="enrol",
)
async def enrol(request: Request, signer: Signer, body: EnrolBody) -> EnrolledAnswer:
    """Enrol the holder of a phone whose user shows a finger, a face or a PIN on it."""
    rooms = rooms_of(request)
    work = partial(
        enrol_device_person,
        device=FirstDevice(new=body.device.new(signer.public_key), pin=body.pin),
        address=address_of(request),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    return _enrolled(answer(await write(rooms.engine, work)))


@router.post(
    "/refresh", responses=documented(), summary="Get the next tokens", operation_id="refresh"
)
async def refresh(
    request: Request, signer: Annotated[Proved, Depends(prove)], body: RefreshBody
) -> SessionAnswer:
    """Rotate a session's tokens; a lost answer is given again for a minute."""
    del signer  # Whether it is the session's own key is looked at with the session.
    rooms = rooms_of(request)
    asked = RefreshRequest(
        refresh_token=body.refresh_token,
        proof=request.headers["dpop"],
        method=request.method,
        path=request.url.path,
        body=await request.body(),
    )
    tokens = answer(
        await refresh_session(
            rooms.engine, request=asked, pepper=rooms.pepper, now_us=rooms.clock()
        )
    )
    return SessionAnswer(**tokens_fields(tokens))


@router.post(
    "/sign-in",
    responses=documented(429),
    summary="Sign in on a phone that was enrolled",
    operation_id="sign_in",
)
async def sign_in(request: Request, signer: Signer, body: SignInBody) -> SignedInAnswer:
    """Open a session by the device key, and show the PIN with it if it is there."""
    rooms = rooms_of(request)
    work = partial(
        sign_in_by_device,
        public_key=signer.public_key,
        pin=body.pin,
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    signed = answer(await write(rooms.engine, work))
    return signed_in(signed.person_id, signed.device_id, signed.tokens)


@router.post(
    "/sign-in/passkey/options",
    responses=documented(),
    summary="Begin to sign in by passkey",
    operation_id="begin_passkey_sign_in",
)
async def passkey_options(
    request: Request, signer: Annotated[Proved, Depends(prove)]
) -> PasskeyOptionsAnswer:
    """Return what to ask a passkey; it is the same for everybody, and nothing is written."""
    del signer
    rooms = rooms_of(request)
    options = begin_passkey_sign_in(site=rooms.site, pepper=rooms.pepper, now_us=rooms.clock())
    return PasskeyOptionsAnswer(options=options)


@router.post(
    "/sign-in/passkey",
    responses=documented(403, 409),
    summary="Sign in by passkey, on a new phone too",
    operation_id="sign_in_by_passkey",
)
async def sign_in_passkey(
    request: Request, signer: Signer, body: PasskeySignInBody
) -> SignedInAnswer:
    """Open a session for whoever's passkey it is; a new phone cools off and the old one is told."""
    rooms = rooms_of(request)
    work = partial(
        sign_in_by_passkey,
        credential=credential_text(body.credential),
        new=body.device.new(signer.public_key),
        site=rooms.site,
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    signed = answer(await write(rooms.engine, work))
    return signed_in(signed.person_id, signed.device_id, signed.tokens)


@router.post(
    "/sign-in/password",
    responses=documented(429),
    summary="Sign in by password on a desktop that was enrolled",
    operation_id="sign_in_by_password",
)
async def sign_in_password(
    request: Request, signer: Annotated[Proved, Depends(prove)], body: PasswordBody
) -> SignedInAnswer:
    """Open a session by password and second factor; whatever is wrong, the answer is one.

    Nothing is asked of the database before there is room at the gate.
    """
    rooms = rooms_of(request)
    given = PasswordTry(
        contact=body.contact.contact(),
        password=body.password,
        second=body.second(),
        public_key=signer.public_key,
        proof=signer.proof,
        address=address_of(request),
    )
    signed = answer(
        await sign_in_by_password(
            rooms.engine, gate=rooms.gate, given=given, pepper=rooms.pepper, now_us=rooms.clock()
        )
    )
    return signed_in(signed.person_id, signed.device_id, signed.tokens)


def _asker(request: Request, signer: Proved) -> Asker:
    return Asker(thumbprint=thumbprint_of(signer.public_key), address=address_of(request))
