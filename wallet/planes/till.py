"""The till plane: takes payments and answers what became of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from wallet.api import errors_page, payments_read, status
from wallet.api.application import make_application
from wallet.api.openapi import describe
from wallet.api.till import PATH, PayDoor
from wallet.core.clock import Clock, system_clock
from wallet.core.database import make_engine
from wallet.merchants.authenticate import KeyRing
from wallet.ops.board import Board
from wallet.payments.pay import Pay
from wallet.planes.frame import add_health, make_teller
from wallet.settings import Settings


class TillPlane:
    """The ASGI application of the till: the hot door first, FastAPI for everything else.

    The door takes whatever does not read, so that it alone says what its address allows.
    """

    def __init__(self, application: FastAPI) -> None:
        self.application: ASGIApp = application
        self.pay_door: PayDoor | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send payments straight to their door."""
        if (
            scope["type"] == "http"
            and scope["path"] == PATH
            and scope["method"] != "GET"
            and self.pay_door is not None
        ):
            await self.pay_door(scope, receive, send)
        else:
            await self.application(scope, receive, send)


def make_till(
    settings: Settings, *, database_url: str, pepper: bytes, clock: Clock = system_clock
) -> TillPlane:
    """Return the till plane's application; it connects when the server starts it."""

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(
            database_url, pool_size=settings.pool_size, application_name="wallet-till"
        )
        teller = make_teller(settings, database_url=database_url, clock=clock, name="wallet-till")
        await teller.start()
        key_ring = KeyRing(
            engine=engine,
            pepper=pepper,
            livemode=settings.livemode,
            clock=clock,
            kept_s=settings.api_key_cache_s,
        )
        application.state.engine = engine
        application.state.key_ring = key_ring
        application.state.livemode = settings.livemode
        application.state.clock = clock
        application.state.board = Board(engine=engine, clock=clock)
        plane.pay_door = PayDoor(
            key_ring=key_ring,
            teller=teller,
            pay=Pay(),
            pepper=pepper,
            livemode=settings.livemode,
            body_bytes_max=settings.body_bytes_max,
            clock=clock,
        )
        try:
            yield
        finally:
            # First settle what waits, so that nobody who was let in goes without an answer.
            await teller.close()
            await engine.dispose()

    application = make_application(title="Wallet: till", clock=clock, lifespan=lifespan)
    application.include_router(payments_read.router)
    application.include_router(errors_page.router)
    application.include_router(status.router)
    add_health(application)
    describe(application)
    plane = TillPlane(application)
    return plane
