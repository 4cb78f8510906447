"""``POST /v1/payments``: the till's one hot door, in plain ASGI.

No framework stands between the socket and the teller: headers are read once, the body is decoded
straight into checked types, and refusals cost almost nothing. The operation is described in the
same OpenAPI document as every other, and fuzzed by it.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from starlette.types import Receive, Scope, Send

from wallet.api.problems import ProblemError, RenderedProblem, render
from wallet.api.render import payment_body
from wallet.core.clock import Clock
from wallet.core.database import is_away
from wallet.core.ids import align_id, keyed_hash, new_id, parse_public_id
from wallet.core.refusals import Refusal
from wallet.ledger.teller import OutcomeUnknown, Overloaded, Teller
from wallet.merchants.authenticate import KeyRing
from wallet.payments.pay import Paid, Pay, Refused
from wallet.payments.rules import PayRequest

logger = logging.getLogger(__name__)

PATH: Final = "/v1/payments"
BODY_TIMEOUT_S: Final = 10.0
"""Who sends a body byte by byte must not keep a place at the till."""
AMOUNT_YEN_MAX: Final = 1_000_000
"""The most one request may ask for; far above any shop payment, far below any counter."""

_KEY_FORMAT: Final = re.compile(rb'[!#-~]{1,255}|"[!#-~]{1,255}"')
_AT: Final = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?:missing required|contains unknown) field `(.*)`", re.DOTALL)

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
        try:
            problem_or_answer = await self._answer(scope, receive, payment_id, request_id)
        except ProblemError as error:
            problem_or_answer = render(error.refusal, request_id=request_id, errors=error.errors)
        except Overloaded:
            problem_or_answer = render(Refusal("overloaded"), request_id=request_id)
        except OutcomeUnknown:
            problem_or_answer = render(Refusal("result_unknown"), request_id=request_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
            problem_or_answer = _tell(error, request_id)
        await _send(send, problem_or_answer, request_id)

    async def _answer(
        self, scope: Scope, receive: Receive, payment_id: UUID, request_id: str
    ) -> RenderedProblem:
        if scope["method"] != "POST":
            return _refuse_method(request_id)
        headers = _headers(scope["headers"])
        authorization = headers.get(b"authorization")
        principal = await self._key_ring.authenticate(
            None if authorization is None else authorization.decode("latin-1")
        )
        if isinstance(principal, Refusal):
            return render(principal, request_id=request_id)
        key = _idempotency_key(headers)
        body = _parse(await _read_body(receive, headers, self._body_bytes_max))
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
        return RenderedProblem(
            201, headers, _encode(payment_body(payment, livemode=self._livemode))
        )


def _tell(error: Exception, request_id: str) -> RenderedProblem:
    """Log what nobody foresaw and say so; a database that is away is only to be waited for."""
    if is_away(error):
        logger.warning("unavailable: %s %s", request_id, type(error).__name__)
        return render(Refusal("unavailable"), request_id=request_id)
    logger.error("payment request failed: %s", request_id, exc_info=error)
    return render(Refusal("internal_error"), request_id=request_id)


def _refuse_method(request_id: str) -> RenderedProblem:
    problem = render(Refusal("method_not_allowed"), request_id=request_id)
    problem.headers.append((b"allow", b"GET, POST"))  # The list of payments has the same address.
    return problem


def _headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers; one that came twice may say two things, and so counts as empty."""
    headers = dict(pairs)
    if len(headers) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        headers.update((name, b"") for name, count in counts.items() if count > 1)
    return headers


def _idempotency_key(headers: dict[bytes, bytes]) -> str:
    """Return the key without the quotes that structured headers put around it."""
    raw = headers.get(b"idempotency-key")
    if raw is None:
        raise ProblemError("idempotency_key_missing")
    if not _KEY_FORMAT.fullmatch(raw):
        raise ProblemError("idempotency_key_invalid")
    return raw.strip(b'"').decode("ascii")


async def _read_body(receive: Receive, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if content_type != b"application/json":
        raise ProblemError("media_type_unsupported")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _collect(receive, bytes_max)
    except TimeoutError:
        raise ProblemError("body_too_slow") from None


async def _collect(receive: Receive, bytes_max: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError("body_malformed")
        chunk: bytes = message.get("body", b"")
        body += chunk
        if len(body) > bytes_max:
            raise ProblemError("body_too_large", bytes_max=bytes_max)
        if not message.get("more_body", False):
            return body


def _parse(body: bytes) -> PayBody:
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise ProblemError("body_invalid", errors=[_explain(str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError("body_malformed") from None


def _explain(message: str) -> dict[str, str]:
    """Turn msgspec's sentence into a JSON pointer (RFC 6901) and what is wrong there."""
    found = _AT.search(message)
    pointer = found.group(1).replace(".", "/") if found else ""
    detail = _AT.sub("", message)
    field = _FIELD.fullmatch(detail)
    if field:
        pointer += "/" + field.group(1).replace("~", "~0").replace("/", "~1")
    return {"pointer": pointer, "code": "invalid", "detail": detail}


async def _send(send: Send, answer: RenderedProblem, request_id: str) -> None:
    body = answer.body
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                *answer.headers,
                (b"content-length", str(len(body)).encode("ascii")),
                (b"request-id", request_id.encode("ascii")),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
