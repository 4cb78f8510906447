"""The resident plane: the app's doors, sign-in and its hash gate among them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from wallet.api import (
    errors_page,
    receipts_callbacks,
    resident_benefits,
    resident_campaigns,
    resident_cards,
    resident_charges,
    resident_coupons,
    resident_gifts,
    resident_identity,
    resident_movements,
    resident_points,
    resident_purchases,
    resident_read,
    status,
)
from wallet.api.application import make_application
from wallet.api.resident import Rooms
from wallet.api.resident_openapi import describe_resident
from wallet.api.resident_pay import MoneyDoor, MoneyDoors
from wallet.auth.hash_gate import HashGate
from wallet.auth.passkeys import Site
from wallet.auth.password_quality import BreachList
from wallet.core.clock import Clock, system_clock
from wallet.core.database import make_engine
from wallet.ops.board import Board
from wallet.payments.pay import Pay
from wallet.people.identity import City
from wallet.people.identity_app import Client, IdentityApp
from wallet.planes.frame import add_health, make_teller
from wallet.settings import Settings


def make_resident(
    settings: Settings, *, database_url: str, pepper: bytes, clock: Clock = system_clock
) -> FastAPI:
    """Return the resident plane's application; it connects when the server starts it.

    Raises :class:`~wallet.auth.hash_gate.WeakHashError` then, when passwords would cost less than
    they must.
    """

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        async with _open_rooms(settings, database_url, pepper, clock) as rooms:
            application.state.engine = rooms.engine
            application.state.board = Board(engine=rooms.engine, clock=clock)
            application.state.livemode = settings.livemode
            application.state.rooms = rooms
            async with _open_money(settings, database_url, rooms) as money_door:
                application.state.money_door = money_door
                application.state.teller = money_door.teller
                yield

    application = make_application(title="Wallet: app", clock=clock, lifespan=lifespan)
    application.add_middleware(MoneyDoors)
    application.include_router(resident_identity.router)
    application.include_router(resident_read.router)
    application.include_router(resident_cards.router)
    application.include_router(resident_benefits.router)
    application.include_router(resident_campaigns.router)
    application.include_router(resident_movements.router)
    application.include_router(resident_charges.router)
    application.include_router(resident_coupons.router)
    application.include_router(resident_gifts.router)
    application.include_router(resident_points.router)
    application.include_router(resident_purchases.router)
    application.include_router(receipts_callbacks.router)
    application.include_router(errors_page.router)
    application.include_router(status.router)
    add_health(application)
    describe_resident(application)
    return application


@asynccontextmanager
async def _open_money(
    settings: Settings, database_url: str, rooms: Rooms
) -> AsyncIterator[MoneyDoor]:
    """Open the door through which phones pay, with a teller of its own behind it."""
    teller = make_teller(
        settings, database_url=database_url, clock=rooms.clock, name="wallet-resident"
    )
    await teller.start()
    try:
        yield MoneyDoor(
            engine=rooms.engine,
            teller=teller,
            pay=Pay(),
            pepper=rooms.pepper,
            site=rooms.site,
            livemode=rooms.livemode,
            body_bytes_max=rooms.body_bytes_max,
            clock=rooms.clock,
        )
    finally:
        await teller.close()  # Settles what waits first.


@asynccontextmanager
async def _open_rooms(
    settings: Settings, database_url: str, pepper: bytes, clock: Clock
) -> AsyncIterator[Rooms]:
    """Open everything the app's doors work with, and close it again."""
    client = Client.of(settings)
    identity_app = None if client is None else IdentityApp(client)
    breached = settings.breached_passwords
    gate = HashGate.of(settings)
    engine = make_engine(
        database_url, pool_size=settings.pool_size, application_name="wallet-resident"
    )
    try:
        yield Rooms(
            engine=engine,
            clock=clock,
            pepper=pepper,
            site=Site.of(settings),
            gate=gate,
            identity_app=identity_app,
            breached=None if breached is None else BreachList(breached),
            city=City(settings.region, settings.municipality),
            body_bytes_max=settings.body_bytes_max,
            livemode=settings.livemode,
        )
    finally:
        gate.close()
        if identity_app is not None:
            await identity_app.close()
        await engine.dispose()
