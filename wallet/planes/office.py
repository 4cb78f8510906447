"""The office plane: staff of the city and of operations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from wallet.api.application import make_application
from wallet.api.office_benefits import ROOMY
from wallet.api.office_guard import Office
from wallet.api.office_openapi import describe_office
from wallet.api.office_routers import STAFF_ROUTERS
from wallet.auth.passkeys import Site
from wallet.core.clock import Clock, system_clock
from wallet.core.database import make_engine
from wallet.planes.frame import add_health
from wallet.settings import Settings


def make_office(
    settings: Settings, *, database_url: str, pepper: bytes, clock: Clock = system_clock
) -> FastAPI:
    """Return the office plane's application; it connects when the server starts it."""

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(
            database_url, pool_size=settings.pool_size, application_name="wallet-office"
        )
        application.state.engine = engine
        application.state.office = Office(
            engine=engine, pepper=pepper, clock=clock, site=Site.of(settings)
        )
        try:
            yield
        finally:
            await engine.dispose()

    application = make_application(
        title="Wallet: office", clock=clock, lifespan=lifespan, roomy=ROOMY
    )
    for router in STAFF_ROUTERS:
        application.include_router(router)
    add_health(application)
    describe_office(application)
    return application
