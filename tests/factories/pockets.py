"""A resident plane in this process beside a till: phones that pay in a city's shops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2 as httpx

from tests.factories.apps import ADDRESS, App
from tests.factories.city import City
from tests.factories.phones import Phone
from tests.factories.tills import Till, open_till
from wallet.auth.proofs import base64url, decode_base64url
from wallet.core.clock import TestClock
from wallet.core.ids import public_id
from wallet.planes import make_resident
from wallet.settings import Settings

V1 = "/app/v1"


@dataclass(frozen=True, kw_only=True)
class Pocket:
    """What people carry: the app's doors, in a city whose till is open."""

    city: City
    app: App
    till: Till

    async def pay(
        self,
        phone: Phone,
        *,
        amount_yen: int = 1_000,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **changes: Any,  # noqa: ANN401 - JSON
    ) -> httpx.Response:
        """Pay the city's merchant by a phone."""
        body = {
            "amount": {"amount": amount_yen, "currency": "JPY"},
            "terminal_id": public_id("ter", self.city.merchant.terminal_id),
            **changes,
        }
        sent = {name: value for name, value in body.items() if value is not None}
        named = {"idempotency_key": key or str(uuid4()), **(headers or {})}
        return await self.app.call(phone, "POST", f"{V1}/payments", sent, **named)

    async def challenge(self, phone: Phone) -> dict[str, Any]:
        """Return the newest challenge to a phone."""
        listed = (await self.app.call(phone, "GET", f"{V1}/challenges")).json()["data"]
        newest: dict[str, Any] = listed[0]
        return newest

    async def respond(
        self,
        phone: Phone,
        challenge_id: str,
        **evidence: Any,  # noqa: ANN401 - JSON
    ) -> httpx.Response:
        """Answer a challenge."""
        return await self.app.call(
            phone, "POST", f"{V1}/challenges/{challenge_id}/respond", evidence
        )

    async def sign(
        self, phone: Phone, challenge: dict[str, Any], *, number: str | None = None
    ) -> httpx.Response:
        """Answer a challenge by the phone's second key."""
        told = challenge.get("id") or challenge["challenge_id"]
        signature = phone.soft.sign_challenge(decode_base64url(challenge["challenge"]))
        evidence = {"type": "verified_key", "signature": base64url(signature)}
        if number is not None:
            evidence["number"] = number
        return await self.respond(phone, told, **evidence)


@asynccontextmanager
async def open_pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield a resident plane and a till on the city's database, closed afterwards."""
    plane = make_resident(
        Settings(), database_url=city.database_url, pepper=city.pepper, clock=city.clock
    )
    transport = httpx.ASGITransport(plane, raise_app_exceptions=False, client=(ADDRESS, 1))
    client = httpx.AsyncClient(transport=transport, base_url="http://app")
    assert isinstance(city.clock, TestClock)
    async with plane.router.lifespan_context(plane), client, open_till(city) as till:
        app = App(
            application=plane,
            client=client,
            engine=city.engine,
            clock=city.clock,
            gate=plane.state.rooms.gate,
        )
        yield Pocket(city=city, app=app, till=till)
