"""What the hot doors have in common: plain ASGI, headers read once, bodies decoded into types.

Whatever happens behind such a door, its caller hears something true.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec
from starlette.types import Receive, Send

from wallet.api.application import ON_EVERY_ANSWER
from wallet.api.problems import ProblemError, RenderedProblem, render
from wallet.core.database import is_away
from wallet.core.refusals import Refusal
from wallet.ledger.teller import OutcomeUnknown, Overloaded

logger = logging.getLogger(__name__)

BODY_TIMEOUT_S: Final = 10.0
"""Who sends a body byte by byte must not keep a place at the till."""

_KEY_FORMAT: Final = re.compile(rb'[!#-~]{1,255}|"[!#-~]{1,255}"')
_AT: Final = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?:missing required|contains unknown) field `(.*)`", re.DOTALL)

T = TypeVar("T")


async def answer_truly(answer: Awaitable[RenderedProblem], *, request_id: str) -> RenderedProblem:
    """Return the answer, or the problem that kept it from being given."""
    try:
        return await answer
    except ProblemError as error:
        return render(error.refusal, request_id=request_id, errors=error.errors)
    except Overloaded:
        return render(Refusal("overloaded"), request_id=request_id)
    except OutcomeUnknown:
        return render(Refusal("result_unknown"), request_id=request_id)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
        return _tell(error, request_id)


def _tell(error: Exception, request_id: str) -> RenderedProblem:
    """Log what nobody foresaw and say so; a database that is away is only to be waited for."""
    if is_away(error):
        logger.warning("unavailable: %s %s", request_id, type(error).__name__)
        return render(Refusal("unavailable"), request_id=request_id)
    logger.error("payment request failed: %s", request_id, exc_info=error)
    return render(Refusal("internal_error"), request_id=request_id)


def headers_of(pairs: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers; one that came twice may say two things, and so counts as empty."""
    headers = dict(pairs)
    if len(headers) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        headers.update((name, b"") for name, count in counts.items() if count > 1)
    return headers


def text_of(headers: dict[bytes, bytes], name: bytes) -> str | None:
    """Return a header's text, None when it is missing."""
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def idempotency_key(headers: dict[bytes, bytes]) -> str:
    """Return the key without the quotes that structured headers put around it."""
    raw = headers.get(b"idempotency-key")
    if raw is None:
        raise ProblemError("idempotency_key_missing")
    if not _KEY_FORMAT.fullmatch(raw):
        raise ProblemError("idempotency_key_invalid")
    return raw.strip(b'"').decode("ascii")


async def read_body(receive: Receive, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    """Return the JSON that was sent, as bytes."""
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


def parse(body: bytes, decode: Callable[[bytes], T], *, invalid: str = "body_invalid") -> T:
    """Return what the body says, checked; ``invalid`` is what its sender is told otherwise."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise ProblemError(invalid, errors=[_explain(str(error))]) from None
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


async def send_answer(send: Send, answer: RenderedProblem, request_id: str) -> None:
    """Send a whole answer."""
    body = answer.body
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                *answer.headers,
                *ON_EVERY_ANSWER,
                (b"content-length", str(len(body)).encode("ascii")),
                (b"request-id", request_id.encode("ascii")),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
