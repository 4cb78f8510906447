"""The frame of every FastAPI door: request ids, problems instead of stack traces, documentation."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import quote

import asyncpg
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wallet.api.problems import ProblemError, RenderedProblem, render
from wallet.core.clock import Clock
from wallet.core.database import is_away
from wallet.core.ids import new_id
from wallet.core.refusals import Refusal
from wallet.settings import read_settings

logger = logging.getLogger(__name__)

_OF_THE_DATABASE: Final = (
    asyncpg.InterfaceError,
    asyncpg.PostgresError,
    DBAPIError,
    OSError,
    PoolTimeoutError,
)
"""What may come of asking the database; some of it means that it is away."""

# 400 is how FastAPI says that it could not read a body, such as one nested without end.
_BY_STATUS: Final = {
    400: "body_malformed",
    404: "not_found",
    405: "method_not_allowed",
}


Headers = tuple[tuple[bytes, bytes], ...]

ON_EVERY_ANSWER: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
)
"""An answer is shown as what it says it is, and in no frame of another site."""


class RequestIds:
    """Names every request, for its answer's header and for the logs.

    Every answer passes here, so this is also where :data:`ON_EVERY_ANSWER` is put on it.
    """

    def __init__(self, application: ASGIApp, *, clock: Clock) -> None:
        self._application = application
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the id into the request's state and onto its answer."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        request_id = f"req_{new_id(now_us=self._clock()).hex}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def named_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["request-id"] = request_id
                message["headers"] = [*message["headers"], *ON_EVERY_ANSWER]
            await send(message)

        await self._application(scope, receive, named_send)


class BodyLimit:
    """Reads no more of a body than allowed, whichever door it is for."""

    def __init__(
        self, application: ASGIApp, *, bytes_max: int, roomy: Mapping[str, int] | None = None
    ) -> None:
        self._application = application
        self._bytes_max = bytes_max
        self._roomy = roomy or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what says that it is too large; end what turns out to be."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        bytes_max = self._roomy.get(scope["path"], self._bytes_max)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > bytes_max:
            refusal = Refusal("body_too_large", {"bytes_max": bytes_max})
            rendered = render(refusal, request_id=scope["state"]["request_id"])
            await answer(rendered)(scope, receive, send)
            return
        left = bytes_max

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise ProblemError("body_too_large", bytes_max=bytes_max)
            return message

        await self._application(scope, bounded, send)


def make_application(
    *,
    title: str,
    clock: Clock,
    lifespan: Callable[[FastAPI], Any],
    roomy: Mapping[str, int] | None = None,
) -> FastAPI:
    """Return an application whose every error is a problem (RFC 9457).

    Its documentation page loads nothing from elsewhere. ``roomy`` has the paths to which more may
    be sent than to others, and how many bytes: such a door lets nobody in before it reads.
    """
    application = FastAPIOffline(
        title=title,
        version="1",
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    application.add_middleware(BodyLimit, bytes_max=read_settings().body_bytes_max, roomy=roomy)
    application.add_middleware(RequestIds, clock=clock)
    application.add_exception_handler(ProblemError, _handler(_tell))
    application.add_exception_handler(RequestValidationError, _handler(_tell_invalid))
    application.add_exception_handler(HTTPException, _handler(_tell_http))
    for kind in _OF_THE_DATABASE:
        application.add_exception_handler(kind, _handler(_tell_database))
    # Its answer is made outside of all middleware, RequestIds as well.
    application.add_exception_handler(Exception, _handler(_tell_ours, more=ON_EVERY_ANSWER))
    return application


def answer(rendered: RenderedProblem) -> Response:
    """Return a rendered answer as a response."""
    response = Response(rendered.body, rendered.status)
    response.raw_headers = [*rendered.headers, *response.raw_headers]
    return response


def request_id_of(request: Request) -> str:
    """Return the id that :class:`RequestIds` has given to the request."""
    return cast("str", request.state.request_id)


def _handler(
    tell: Callable[[str, Any], RenderedProblem], *, more: Headers = ()
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        request_id = request_id_of(request)
        response = answer(tell(request_id, error))
        response.headers["request-id"] = request_id
        response.raw_headers.extend(more)
        return response

    return handle


def _tell(request_id: str, error: ProblemError) -> RenderedProblem:
    return render(error.refusal, request_id=request_id, errors=error.errors)


def _tell_invalid(request_id: str, error: RequestValidationError) -> RenderedProblem:
    errors = [
        {
            "pointer": "/" + "/".join(quote(str(part), safe="") for part in one["loc"]),
            "code": str(one["type"]),
            "detail": str(one["msg"]),
        }
        for one in error.errors()
    ]
    return render(Refusal("parameter_invalid"), request_id=request_id, errors=errors)


def _tell_http(request_id: str, error: HTTPException) -> RenderedProblem:
    problem = render(
        Refusal(_BY_STATUS.get(error.status_code, "internal_error")), request_id=request_id
    )
    allow = (error.headers or {}).get("Allow")
    if allow is not None:
        problem.headers.append((b"allow", allow.encode("latin-1")))
    return problem


def _tell_database(request_id: str, error: Exception) -> RenderedProblem:
    if is_away(error):
        logger.warning("unavailable: %s %s", request_id, type(error).__name__)
        return render(Refusal("unavailable"), request_id=request_id)
    logger.error("request failed: %s", request_id, exc_info=error)
    return render(Refusal("internal_error"), request_id=request_id)


def _tell_ours(request_id: str, error: Exception) -> RenderedProblem:
    del error  # The server that called us logs it with its traceback.
    logger.error("request failed: %s", request_id)
    return render(Refusal("internal_error"), request_id=request_id)
