"""``POST /app/v1/payments`` and ``…/challenges/{id}/respond``: the resident's till, in plain ASGI.

Both are hot, because a payment that takes an approval must not cost much more than one that does
not. So a phone is recognised by the batch that moves its money, and nothing is asked of the
database before. Only a PIN, a code or a passkey is looked at first, in transactions of their own
that are kept whatever comes of them, so that every wrong try counts.
"""

import re
from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp, Receive, Scope, Send

from wallet.api.hot_door import (
    answer_truly,
    headers_of,
    idempotency_key,
    parse,
    read_body,
    send_answer,
    text_of,
)
from wallet.api.problems import ProblemError, RenderedProblem, render
from wallet.api.render import ReceiptBody, receipt_body
from wallet.api.till import Amount
from wallet.auth.authenticate import Caller, authenticate
from wallet.auth.evidence import Evidence, PasskeyAnswer, PinEntered, TotpEntered
from wallet.auth.pass_challenge import pass_challenge
from wallet.auth.passkeys import Site
from wallet.auth.proofs import base64url, decode_base64url
from wallet.auth.recognise import Claim, read_claim
from wallet.auth.step_up_storage import Challenge
from wallet.core.clock import MICROSECONDS, Clock, to_microseconds
from wallet.core.database import write
from wallet.core.ids import align_id, new_id, parse_public_id, public_id
from wallet.core.refusals import Refusal
from wallet.ledger.teller import Teller
from wallet.payments.by_phone import AnswerChallenge, PayByPhone
from wallet.payments.pay import Answer, Approved, Challenged, Paid, Pay, Refused
from wallet.payments.queries import find_terminal

PAY_PATH: Final = "/app/v1/payments"
RESPOND_PATH: Final = "/app/v1/challenges/{challenge_id}/respond"
_RESPOND_PATH: Final = re.compile(RESPOND_PATH.format(challenge_id="([^/]+)"))

STEP_UP_HEADER: Final = b"step-up"

_INVALID: Final = "request_invalid"
"""What people's phones are told of a body that is not as it must be."""

_Public: Final = r"^{prefix}_[0-9a-f]{{32}}\Z"


class PayByPhoneBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to pay, to which shop or at which of its terminals, and out of which wallet."""

    amount: Amount
    terminal_id: Annotated[str, msgspec.Meta(pattern=_Public.format(prefix="ter"))] | None = None
    shop_id: Annotated[str, msgspec.Meta(pattern=_Public.format(prefix="shp"))] | None = None
    wallet_id: Annotated[str, msgspec.Meta(pattern=_Public.format(prefix="wal"))] | None = None


_Number = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{2}\Z")]


class ByVerifiedKey(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="verified_key", tag_field="type"
):
    """The phone's second key has signed the challenge: r and s in base64url."""

    signature: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{86}\Z")]
    number: _Number | None = None


class ByPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pin", tag_field="type"):
    """The app's PIN."""

    pin: Annotated[str, msgspec.Meta(max_length=16)]
    number: _Number | None = None


class ByTotp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="totp", tag_field="type"):
    """A code of the authenticator app."""

    code: Annotated[str, msgspec.Meta(max_length=16)]
    number: _Number | None = None


class ByPasskey(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="passkey", tag_field="type"
):
    """What ``navigator.credentials.get`` has returned for the challenge."""

    credential: dict[str, Any]
    number: _Number | None = None


class Elsewhere(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="passed", tag_field="type"
):
    """The challenge was passed before, in the identity app: only the payment is left to make."""

    number: None = None


RespondBody = ByVerifiedKey | ByPin | ByTotp | ByPasskey | Elsewhere


class RespondedBody(msgspec.Struct, frozen=True):
    """A challenge was passed, and what came of the payment that waited for it, if one did."""

    challenge_id: str
    status: Literal["passed"]
    payment: ReceiptBody | None


_decode_pay = msgspec.json.Decoder(PayByPhoneBody).decode
_decode_respond = msgspec.json.Decoder(RespondBody).decode
_encode = msgspec.json.Encoder().encode


class MoneyDoor:
    """Turns what phones ask about money into the teller's requests, and its answers into HTTP."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        teller: Teller,
        pay: Pay,
        pepper: bytes,
        site: Site,
        livemode: bool,
        body_bytes_max: int,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._teller = teller
        self._pay = pay
        self._pepper = pepper
        self._site = site
        self._livemode = livemode
        self._body_bytes_max = body_bytes_max
        self._clock = clock

    @property
    def teller(self) -> Teller:
        """Who settles what phones ask about money, here and at the other doors of the plane."""
        return self._teller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, the phone hears something true."""
        request_uuid = new_id(now_us=self._clock())
        request_id = f"req_{request_uuid.hex}"
        answer = self._answer(scope, receive, align_id(request_uuid), request_id)
        await send_answer(send, await answer_truly(answer, request_id=request_id), request_id)

    async def _answer(
        self, scope: Scope, receive: Receive, payment_id: UUID, request_id: str
    ) -> RenderedProblem:
        if scope["method"] != "POST":
            problem = render(Refusal("method_not_allowed"), request_id=request_id)
            problem.headers.append((b"allow", b"POST"))
            return problem
        headers = headers_of(scope["headers"])
        if not headers.get(b"authorization") or not headers.get(b"dpop"):
            raise ProblemError("signed_out")
        body = await read_body(receive, headers, self._body_bytes_max)
        call = _Call(scope, headers, body)
        claim = self._claim(call)
        found = _RESPOND_PATH.fullmatch(scope["path"])
        if found is None:
            answer = await self._pay_shop(call, claim, payment_id)
            return self._render(answer, request_id)
        challenge_id = parse_public_id("chl", found[1])
        if challenge_id is None:
            raise ProblemError("step_up_unknown")
        answer = await self._respond(call, claim, challenge_id)
        return self._render(answer, request_id, challenge_id=challenge_id)

    async def _pay_shop(self, call: "_Call", claim: Claim, payment_id: UUID) -> Answer:
        key = idempotency_key(call.headers)
        body = parse(call.body, _decode_pay, invalid=_INVALID)
        answer: Answer = await self._teller.submit(
            self._pay,
            PayByPhone(
                payment_id,
                claim,
                key,
                await self._terminal(body),
                body.amount.amount,
                _id_in("wal", body.wallet_id),
                _step_up_in(call.headers),
                self._pepper,
            ),
        )
        return answer

    async def _terminal(self, body: PayByPhoneBody) -> UUID:
        terminal_id, shop_id = _id_in("ter", body.terminal_id), _id_in("shp", body.shop_id)
        if (terminal_id is None) == (shop_id is None):
            detail = "one of terminal_id and shop_id, and not both"
            raise ProblemError(
                _INVALID,
                errors=[{"pointer": "/terminal_id", "code": "invalid", "detail": detail}],
            )
        if terminal_id is None and shop_id is not None:
            terminal_id = await find_terminal(self._engine, shop_id=shop_id)
        if terminal_id is None:
            raise ProblemError("terminal_unknown")
        return terminal_id

    async def _respond(self, call: "_Call", claim: Claim, challenge_id: UUID) -> Answer:
        body = parse(call.body, _decode_respond, invalid=_INVALID)
        if isinstance(body, ByVerifiedKey):
            signature = decode_base64url(body.signature)
            return await self._settle(challenge_id, claim, signature, body.number)
        caller = await self._authenticate(call)
        if isinstance(body, Elsewhere):
            return await self._settle(challenge_id, caller, None, None)
        outcome = await write(
            self._engine,
            partial(
                pass_challenge,
                challenge_id=challenge_id,
                caller=caller,
                evidence=self._evidence(body, call),
                number=body.number,
                now_us=self._clock(),
            ),
        )
        if isinstance(outcome, Refusal) and outcome.code != "step_up_passed":
            if outcome.code == "step_up_dead" or outcome.facts.get("tries_left") == 0:
                await self._settle(challenge_id, caller, None, None)  # What waits for it is over.
            return Refused(outcome)
        return await self._settle(challenge_id, caller, None, None)

    async def _settle(
        self,
        challenge_id: UUID,
        sender: Claim | Caller,
        signature: bytes | None,
        number: str | None,
    ) -> Answer:
        answer: Answer = await self._teller.submit(
            self._pay, AnswerChallenge(challenge_id, sender, signature, number)
        )
        return answer

    def _claim(self, call: "_Call") -> Claim:
        """Return who the request says it is from; its proof has held."""
        claim = read_claim(
            authorization=call.text(b"authorization"),
            proof=call.text(b"dpop"),
            method="POST",
            path=call.path,
            body=call.body,
            pepper=self._pepper,
            now_us=self._clock(),
        )
        if claim is None:
            raise ProblemError("signed_out")
        return claim

    async def _authenticate(self, call: "_Call") -> Caller:
        caller = await authenticate(
            self._engine,
            pepper=self._pepper,
            authorization=call.text(b"authorization"),
            proof=call.text(b"dpop"),
            method="POST",
            path=call.path,
            body=call.body,
            now_us=self._clock(),
        )
        if isinstance(caller, Refusal):
            raise ProblemError(_code_for_people(caller.code))
        return caller

    def _evidence(self, body: ByPin | ByTotp | ByPasskey, call: "_Call") -> Evidence:
        if isinstance(body, ByPin):
            return PinEntered(body.pin, self._pepper)
        if isinstance(body, ByTotp):
            return TotpEntered(body.code, call.address, self._pepper)
        return PasskeyAnswer(_encode(body.credential).decode(), self._site)

    def _render(
        self, answer: Answer, request_id: str, *, challenge_id: UUID | None = None
    ) -> RenderedProblem:
        if isinstance(answer, Refused):
            return render(_told(answer.refusal), request_id=request_id)
        if isinstance(answer, Challenged):
            facts = challenge_facts(answer.challenge, now_us=self._clock())
            return render(Refusal("step_up_required", facts), request_id=request_id)
        if isinstance(answer, Approved):
            return _passed(answer.challenge_id, None)
        return self._render_payment(answer, request_id, challenge_id)

    def _render_payment(
        self, answer: Paid, request_id: str, challenge_id: UUID | None
    ) -> RenderedProblem:
        payment = answer.payment
        replayed = [(b"idempotent-replayed", b"true")] if answer.replayed else []
        if payment.refusal is not None:
            payment_id = public_id("pay", payment.id)
            problem = render(payment.refusal, request_id=request_id, payment_id=payment_id)
            return RenderedProblem(problem.status, [*problem.headers, *replayed], problem.body)
        receipt = receipt_body(payment, livemode=self._livemode)
        if challenge_id is not None:
            return _passed(challenge_id, receipt)
        return RenderedProblem(201, [*_JSON, *replayed], _encode(receipt))


class MoneyDoors:
    """Sends what is about money straight to its door, and everything else on its way.

    The door is at ``application.state.money_door`` while the plane is open.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose the way."""
        if scope["type"] == "http" and (
            scope["path"] == PAY_PATH or _RESPOND_PATH.fullmatch(scope["path"])
        ):
            await scope["app"].state.money_door(scope, receive, send)
        else:
            await self._application(scope, receive, send)


class _Call:
    """One request: what was sent, and from where."""

    __slots__ = ("body", "headers", "scope")

    def __init__(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> None:
        self.scope = scope
        self.headers = headers
        self.body = body

    @property
    def path(self) -> str:
        """The path as the client wrote it, for that is what it has signed."""
        raw: bytes = self.scope.get("raw_path") or self.scope["path"].encode()
        return raw.partition(b"?")[0].decode("latin-1")

    @property
    def address(self) -> str | None:
        """Where the request comes from, as the server saw it."""
        client = self.scope.get("client")
        return None if client is None else str(client[0])

    def text(self, name: bytes) -> str | None:
        """Return a header's text."""
        return text_of(self.headers, name)


_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


def challenge_facts(challenge: Challenge, *, now_us: int) -> dict[str, Any]:
    """Return what a phone must know to pass a challenge (RFC 9470)."""
    return {
        "acr_values": list(challenge.required),
        "max_age_s": challenge.max_age_s,
        "challenge_id": public_id("chl", challenge.id),
        "challenge": base64url(challenge.challenge),
        "op_hash": challenge.op_hash.hex(),
        "expires_in_s": (to_microseconds(challenge.expires_at) - now_us) // MICROSECONDS,
        "summary": challenge.summary,
    }


def _passed(challenge_id: UUID, payment: ReceiptBody | None) -> RenderedProblem:
    body = RespondedBody(public_id("chl", challenge_id), "passed", payment)
    return RenderedProblem(200, [*_JSON], _encode(body))


def _told(refusal: Refusal) -> Refusal:
    return Refusal(_code_for_people(refusal.code), refusal.facts)


def _code_for_people(code: str) -> str:
    """What is a missing key to a shop's system is a sign-in that is over to a person."""
    return "signed_out" if code == "unauthenticated" else code


def _id_in(prefix: str, text: str | None) -> UUID | None:
    return None if text is None else parse_public_id(prefix, text)


def _step_up_in(headers: dict[bytes, bytes]) -> UUID | None:
    raw = headers.get(STEP_UP_HEADER)
    if raw is None:
        return None
    challenge_id = parse_public_id("chl", raw.decode("latin-1"))
    if challenge_id is None:
        raise ProblemError("step_up_unknown")
    return challenge_id
