"""Phones that are enrolled and signed in, and the requests they make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.soft_device import SoftDevice
from wallet.auth.authenticate import Caller, authenticate
from wallet.auth.enrol_device import Enrolled, enrol_device
from wallet.auth.open_session import RESIDENT, STAFF, open_session
from wallet.auth.refresh_session import Request, refresh_session
from wallet.auth.rules import Method, show
from wallet.auth.tokens import Tokens
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import Refusal

REFRESH_PATH: Final = "/app/v1/refresh"

_EVENTS = text("SELECT kind, body FROM outbox WHERE body->>'principal_id' = :id ORDER BY seq")


@dataclass(frozen=True, kw_only=True)
class Phone:
    """A phone, whose it is, and the tokens it was given last."""

    principal_id: UUID
    device_id: UUID
    tokens: Tokens
    soft: SoftDevice = field(default_factory=SoftDevice)

    def refresh_request(
        self,
        token: str | None = None,
        *,
        now_us: int = NOW_US,
        **changes: Any,  # noqa: ANN401 - fields of many types
    ) -> Request:
        """Return a request for the next tokens, with a proof of its own."""
        token = self.tokens.refresh_token if token is None else token
        body = f'{{"refresh_token":"{token}"}}'.encode()
        fields: dict[str, Any] = {
            "refresh_token": token,
            "proof": self.soft.proof("POST", REFRESH_PATH, now_us=now_us, body=body),
            "method": "POST",
            "path": REFRESH_PATH,
            "body": body,
        }
        return Request(**{**fields, **changes})


@asynccontextmanager
async def open_engine(database_url: str, *, pool_size: int = 8) -> AsyncIterator[AsyncEngine]:
    """Yield an engine of the application's role, disposed of afterwards."""
    engine = make_engine(database_url, pool_size=pool_size, application_name="tests")
    try:
        yield engine
    finally:
        await engine.dispose()


async def enrol(
    engine: AsyncEngine,
    soft: SoftDevice,
    principal_id: UUID,
    *,
    now_us: int = NOW_US,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Enrolled:
    """Enrol a phone for somebody."""
    new = soft.new_device(**changes)
    return await write(
        engine,
        lambda connection: enrol_device(
            connection, principal_id=principal_id, new=new, now_us=now_us
        ),
    )


async def sign_in(
    engine: AsyncEngine, principal_id: UUID, device_id: UUID | None, *, now_us: int = NOW_US
) -> Tokens:
    """Open a session that has shown a device key and a PIN, or staff's passkey without a device."""
    methods = (Method.PASSKEY,) if device_id is None else (Method.DEVICE_KEY, Method.PIN)
    return await write(
        engine,
        lambda connection: open_session(
            connection,
            principal_id=principal_id,
            device_id=device_id,
            shown=show(*methods, at_us=now_us),
            terms=STAFF if device_id is None else RESIDENT,
            pepper=PEPPER,
            now_us=now_us,
        ),
    )


async def make_phone(
    engine: AsyncEngine, *, principal_id: UUID | None = None, now_us: int = NOW_US
) -> Phone:
    """Return a phone that is enrolled and signed in."""
    soft, owner_id = SoftDevice(), principal_id or uuid4()
    enrolled = await enrol(engine, soft, owner_id, now_us=now_us)
    tokens = await sign_in(engine, owner_id, enrolled.device_id, now_us=now_us)
    return Phone(principal_id=owner_id, device_id=enrolled.device_id, tokens=tokens, soft=soft)


async def call(
    engine: AsyncEngine,
    phone: Phone,
    *,
    method: str = "GET",
    path: str = "/app/v1/home",
    body: bytes | None = None,
    token: str | None = None,
    now_us: int = NOW_US,
    **changes: Any,  # noqa: ANN401 - arguments of many types
) -> Caller | Refusal:
    """Have a request of the phone authenticated; ``changes`` are what an attacker replaces."""
    token = token or phone.tokens.access_token
    headers = phone.soft.headers(method, path, access_token=token, now_us=now_us, body=body)
    arguments: dict[str, Any] = {
        "authorization": headers["authorization"],
        "proof": headers["dpop"],
        "method": method,
        "path": path,
        "body": body,
        "now_us": now_us,
    }
    return await authenticate(engine, pepper=PEPPER, **{**arguments, **changes})


async def caller_of(engine: AsyncEngine, phone: Phone, *, now_us: int = NOW_US) -> Caller:
    """Return who the phone's requests come from, or fail the test."""
    caller = await call(engine, phone, now_us=now_us)
    assert isinstance(caller, Caller), caller
    return caller


async def refresh(
    engine: AsyncEngine, phone: Phone, token: str | None = None, *, now_us: int = NOW_US
) -> Tokens | Refusal:
    """Ask for the next tokens."""
    request = phone.refresh_request(token, now_us=now_us)
    return await refresh_session(engine, request=request, pepper=PEPPER, now_us=now_us)


async def events_of(engine: AsyncEngine, principal_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    """Return the kinds and bodies of what the outbox tells of somebody."""
    async with read(engine) as connection:
        rows = await connection.execute(_EVENTS, {"id": str(principal_id)})
        return [(row.kind, row.body) for row in rows]
