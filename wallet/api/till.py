"""``POST /v1/payments``: the till's one hot door, in plain ASGI.

No framework stands between the socket and the teller: headers are read once, the body is decoded
straight into checked types, and refusals cost almost nothing. The operation is described in the
same OpenAPI document as every other, and fuzzed by it.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from starlette.types import Receive, Scope, Send

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
from wallet.api.render import payment_body
from wallet.core.clock import Clock
from wallet.core.ids import align_id, keyed_hash, new_id, parse_public_id
from wallet.core.refusals import Refusal
from wallet.ledger.teller import Teller
from wallet.merchants.authenticate import KeyRing
from wallet.payments.pay import Paid, Pay, Refused
from wallet.payments.rules import PayRequest

PATH: Final = "/v1/payments"
AMOUNT_YEN_MAX: Final = 1_000_000
"""The most one request may ask for; far above any shop payment, far below any counter."""

# One line of text: what a receipt can print and PostgreSQL can store.
_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z"


class Amount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whole yen."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_YEN_MAX)]
    currency: Literal["JPY"]


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer showed: a one-time code from the phone, or a printed card."""

    type: Literal["cpm_code", "card"]
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class PayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request's body."""

    merchant_payment_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    amount: Amount
    instrument: Instrument
    terminal_id: Annotated[str, msgspec.Meta(pattern=r"^ter_[0-9a-f]{32}\Z")]
    order_description: Annotated[str, msgspec.Meta(max_length=200, pattern=_LINE)] | None = None


_decode = msgspec.json.Decoder(PayBody).decode
_encode = msgspec.json.Encoder().encode


class PayDoor:
    """Turns HTTP into :class:`PayRequest` and the teller's answer back into HTTP."""

    def __init__(
        self,
        *,
        key_ring: KeyRing,
        teller: Teller,
        pay: Pay,
        pepper: bytes,
        livemode: bool,
        body_bytes_max: int,
        clock: Clock,
    ) -> None:
        self._key_ring = key_ring
        self._teller = teller
        self._pay = pay
        self._pepper = pepper
        self._livemode = livemode
        self._body_bytes_max = body_bytes_max
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, the caller hears something true."""
        request_uuid = new_id(now_us=self._clock())
        request_id = f"req_{request_uuid.hex}"
        payment_id = align_id(request_uuid)
        answer = self._answer(scope, receive, payment_id, request_id)
        await send_answer(send, await answer_truly(answer, request_id=request_id), request_id)

    async def _answer(
        self, scope: Scope, receive: Receive, payment_id: UUID, request_id: str
    ) -> RenderedProblem:
        if scope["method"] != "POST":
            return _refuse_method(request_id)
        headers = headers_of(scope["headers"])
        principal = await self._key_ring.authenticate(text_of(headers, b"authorization"))
        if isinstance(principal, Refusal):
            return render(principal, request_id=request_id)
        key = idempotency_key(headers)
        body = parse(await read_body(receive, headers, self._body_bytes_max), _decode)
        answer = await self._teller.submit(
            self._pay, self._request(body, payment_id, principal.merchant_id, key)
        )
        return self._render(answer, request_id)

    def _request(self, body: PayBody, payment_id: UUID, merchant_id: UUID, key: str) -> PayRequest:
        terminal_id = parse_public_id("ter", body.terminal_id)
        if terminal_id is None:
            raise ProblemError("terminal_unknown")
        return PayRequest(
            payment_id,
            merchant_id,
            key,
            body.merchant_payment_id,
            terminal_id,
            body.amount.amount,
            body.instrument.type,
            keyed_hash(body.instrument.value, pepper=self._pepper),
            body.order_description,
        )

    def _render(self, answer: Paid | Refused, request_id: str) -> RenderedProblem:
        if isinstance(answer, Refused):
            return render(answer.refusal, request_id=request_id)
        payment = answer.payment
        replayed = [(b"idempotent-replayed", b"true")] if answer.replayed else []
        if payment.refusal is not None:
            problem = render(
                payment.refusal, request_id=request_id, payment_id=f"pay_{payment.id.hex}"
            )
            return RenderedProblem(problem.status, [*problem.headers, *replayed], problem.body)
        headers = [(b"content-type", b"application/json"), *replayed]
        status = 201 if payment.waiting is None else 202
        return RenderedProblem(
            status, headers, _encode(payment_body(payment, livemode=self._livemode))
        )


def _refuse_method(request_id: str) -> RenderedProblem:
    problem = render(Refusal("method_not_allowed"), request_id=request_id)
    problem.headers.append((b"allow", b"GET, POST"))  # The list of payments has the same address.
    return problem
