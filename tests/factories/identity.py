"""The identity app as tests meet it: a provider on loopback, its client, a phone that visits."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from joserfc.jwk import ECKey

from tests.factories.moments import NOW_US
from wallet.core.clock import TestClock
from wallet.demo.fake_identity_app import FakeIdentityApp, serve_fake
from wallet.people.identity_app import Client, IdentityApp

CLIENT_ID = "RP00000001"
REDIRECT_URL = "https://wallet.example.jp/identity"


@dataclass(frozen=True)
class Visited:
    """What the provider sends the phone back with."""

    code: str | None
    state: str
    issuer: str
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Identities:
    """A provider and a client of it, on one clock."""

    provider: FakeIdentityApp
    app: IdentityApp
    clock: TestClock

    def born(self, like: str = "taro") -> str:
        """Return somebody new, who lives where somebody else lives."""
        citizens = self.provider.citizens
        name = f"{like}-{len(citizens)}"
        citizens[name] = citizens[like]
        return name

    async def visit(self, url: str, citizen: str = "taro") -> Visited:
        """Go where the phone is sent, be a citizen there, and return what it comes back with."""
        async with httpx2.AsyncClient(trust_env=False) as browser:
            response = await browser.get(f"{url}&citizen={citizen}")
        assert response.status_code == 303, response.text
        place = urlsplit(response.headers["location"])
        assert f"{place.scheme}://{place.netloc}{place.path}" == REDIRECT_URL
        said = {name: values[0] for name, values in parse_qs(place.query).items()}
        return Visited(said.get("code"), said["state"], said["iss"], said.get("error"))


@asynccontextmanager
async def open_identities(
    *,
    clock: TestClock | None = None,
    slow_s: float = 20.0,
    seconds: Callable[[], float] = monotonic,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> AsyncIterator[Identities]:
    """Yield a provider that runs and a client that is registered with it; ``changes`` its own."""
    clock = clock or TestClock(NOW_US)
    key = ECKey.generate_key("P-256")
    served = serve_fake(
        client_id=CLIENT_ID,
        client_key=ECKey.import_key(key.as_dict(private=False)),
        redirect_urls=frozenset({REDIRECT_URL}),
        clock=clock,
        slow_s=slow_s,
    )
    async with served as provider:
        fields: dict[str, Any] = {
            "issuer": provider.issuer,
            "client_id": CLIENT_ID,
            "key": key,
            "redirect_url": REDIRECT_URL,
            "acr_values": "aal3 crl",
            "acr": "aal3",
            "timeout_s": 5.0,
        }
        app = IdentityApp(Client(**{**fields, **changes}), seconds=seconds)
        try:
            yield Identities(provider=provider, app=app, clock=clock)
        finally:
            await app.close()
