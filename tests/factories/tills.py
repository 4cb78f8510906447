"""A till plane in this process, called as its server would call it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2 as httpx
from fastapi import FastAPI

from tests.factories.city import City
from wallet.core.clock import Clock
from wallet.core.ids import public_id
from wallet.planes import TillPlane, make_till
from wallet.settings import Settings

PAYMENTS = "/v1/payments"


@dataclass(frozen=True, kw_only=True)
class Till:
    """A plane that is open, in a city, and a client that calls it."""

    city: City
    plane: TillPlane
    client: httpx.AsyncClient

    def headers(self, **changes: str | None) -> dict[str, str]:
        """Return the merchant's headers with a key of their own; None leaves one out."""
        fields = {
            "Authorization": f"Bearer {self.city.merchant.api_key}",
            "Idempotency-Key": str(uuid4()),
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
        return {name: value for name, value in fields.items() if value is not None}

    def body(self, code: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the body of a request for 1,000 yen, with an id of its own."""
        return {
            "merchant_payment_id": str(uuid4()),
            "amount": {"amount": 1_000, "currency": "JPY"},
            "instrument": {"type": "cpm_code", "value": code},
            "terminal_id": public_id("ter", self.city.merchant.terminal_id),
            **changes,
        }

    async def pay(
        self,
        body: Mapping[str, Any],
        **headers: str | None,
    ) -> httpx.Response:
        """Ask for a payment."""
        return await self.client.post(PAYMENTS, json=body, headers=self.headers(**headers))

    async def send(self, content: bytes, **headers: str | None) -> httpx.Response:
        """Ask for a payment with a body that may be anything."""
        return await self.client.post(PAYMENTS, content=content, headers=self.headers(**headers))

    async def get(self, path: str, **headers: str | None) -> httpx.Response:
        """Ask what became of payments."""
        return await self.client.get(path, headers=self.headers(**headers))


@asynccontextmanager
async def open_till(
    city: City,
    *,
    settings: Settings | None = None,
    database_url: str | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Till]:
    """Yield a till plane on the city's database, closed afterwards."""
    plane = make_till(
        settings or Settings(),
        database_url=database_url or city.database_url,
        pepper=city.pepper,
        clock=clock or city.clock,
    )
    assert isinstance(plane.application, FastAPI)
    transport = httpx.ASGITransport(plane, raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://till")
    async with plane.application.router.lifespan_context(plane.application), client:
        yield Till(city=city, plane=plane, client=client)
