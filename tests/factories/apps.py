"""The doors of the app in this process, and phones that call them as their app would."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import httpx2 as httpx
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.factors import cheap_gate
from tests.factories.identity import Identities
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import Phone, caller_of, open_engine
from tests.factories.residents import Resident, within
from tests.soft_authenticator import SoftAuthenticator
from tests.soft_device import SoftDevice
from wallet.api.application import make_application
from wallet.api.resident import Rooms
from wallet.api.resident_identity import router
from wallet.auth.evidence import Evidence, PasskeyAnswer, PinEntered
from wallet.auth.hash_gate import HashGate
from wallet.auth.pass_challenge import Passed, pass_challenge
from wallet.auth.passkeys import (
    Site,
    begin_passkey_assertion,
    begin_passkey_registration,
    finish_passkey_registration,
)
from wallet.auth.proofs import base64url, decode_base64url, thumbprint_of
from wallet.auth.tokens import Tokens
from wallet.core.clock import TestClock
from wallet.core.ids import parse_public_id
from wallet.core.refusals import Refusal
from wallet.people.identity import City
from wallet.settings import Settings

SITE: Final = Site.of(Settings())
HIMEJI: Final = City("兵庫県", "姫路市")
ADDRESS: Final = "203.0.113.5"


@dataclass(frozen=True, kw_only=True)
class App:
    """The doors that are open, and a client that calls them."""

    application: FastAPI
    client: httpx.AsyncClient
    engine: AsyncEngine
    clock: TestClock
    gate: HashGate

    async def send(
        self,
        soft: SoftDevice,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        access_token: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Send a request that a phone's key has signed, with or without a session."""
        content = b"" if body is None else json.dumps(body).encode()
        proof = soft.proof(
            method,
            path.partition("?")[0],
            now_us=self.clock(),
            access_token=access_token,
            body=None if method == "GET" else content,
        )
        signed = {"dpop": proof, "content-type": "application/json"}
        if access_token is not None:
            signed["authorization"] = f"DPoP {access_token}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, path, content=content, headers={**signed, **named})

    async def call(
        self,
        phone: Phone,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Send a request of a phone that is signed in."""
        token = phone.tokens.access_token
        return await self.send(phone.soft, method, path, body, access_token=token, **headers)

    async def confirmed(
        self,
        phone: Phone,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        by: SoftAuthenticator,
    ) -> httpx.Response:
        """Send a request, answer its challenge with a passkey, and send it again."""
        first = await self.call(phone, method, path, body)
        assert first.status_code == 401, first.text
        challenge_id = first.json()["challenge_id"]
        await self.answer(phone, first.json(), by=by)
        return await self.call(phone, method, path, body, step_up=challenge_id)

    async def answer(
        self, phone: Phone, told: Mapping[str, Any], *, by: SoftAuthenticator | str
    ) -> None:
        """Answer a challenge with a passkey, or with a PIN."""
        challenge_id = parse_public_id("chl", told["challenge_id"])
        assert challenge_id is not None
        caller = await caller_of(self.engine, phone, now_us=self.clock())
        challenge = decode_base64url(told["challenge"])

        async def work(connection: AsyncConnection) -> Passed | Refusal:
            evidence: Evidence
            if isinstance(by, str):
                evidence = PinEntered(by, PEPPER)
            else:
                options = await begin_passkey_assertion(
                    connection, site=SITE, principal_id=phone.principal_id, challenge=challenge
                )
                evidence = PasskeyAnswer(by.get(options), SITE)
            return await pass_challenge(
                connection,
                challenge_id=challenge_id,
                caller=caller,
                evidence=evidence,
                now_us=self.clock(),
            )

        answer = await within(self.engine, work)
        assert isinstance(answer, Passed), answer

    async def with_passkey(self, resident: Resident) -> SoftAuthenticator:
        """Give somebody a passkey, as if they had set it up long ago."""
        authenticator = SoftAuthenticator()

        async def register(connection: AsyncConnection) -> None:
            options = await begin_passkey_registration(
                connection,
                site=SITE,
                principal_id=resident.id,
                user_name="wallet",
                pepper=PEPPER,
                now_us=self.clock(),
            )
            await finish_passkey_registration(
                connection,
                site=SITE,
                principal_id=resident.id,
                credential=authenticator.create(options),
                name="key",
                pepper=PEPPER,
                now_us=self.clock(),
            )

        await within(self.engine, register)
        return authenticator


@asynccontextmanager
async def open_app(
    database_url: str,
    *,
    identities: Identities | None = None,
    clock: TestClock | None = None,
    gate: HashGate | None = None,
) -> AsyncIterator[App]:
    """Yield the doors of the app on a database, closed afterwards."""
    clock = clock or (TestClock(NOW_US) if identities is None else identities.clock)
    async with cheap_gate() as cheap, open_engine(database_url) as engine:
        application = make_application(title="Wallet: app", clock=clock, lifespan=_nothing)
        application.state.rooms = Rooms(
            engine=engine,
            clock=clock,
            pepper=PEPPER,
            site=SITE,
            gate=gate or cheap,
            identity_app=None if identities is None else identities.app,
            breached=None,
            city=HIMEJI,
            body_bytes_max=16_384,
            livemode=False,
        )
        application.include_router(router)
        transport = httpx.ASGITransport(
            application, raise_app_exceptions=False, client=(ADDRESS, 1)
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            yield App(
                application=application,
                client=client,
                engine=engine,
                clock=clock,
                gate=gate or cheap,
            )


def device_body(soft: SoftDevice, *, verified: bool = True) -> dict[str, Any]:
    """Return what the app says of a phone when it enrols it."""
    body: dict[str, Any] = {"name": "太郎のスマホ", "app_version": "1.0.0"}
    if verified:
        signature = soft.verified_key.sign(thumbprint_of(soft.key.public_key))
        body["verified_key"] = {
            "public_key": base64url(soft.verified_key.public_key),
            "signature": base64url(signature),
        }
    return body


def signed_in_phone(response: httpx.Response, soft: SoftDevice) -> Phone:
    """Return the phone that an answer has signed in, or fail the test."""
    assert response.status_code in {200, 201}, response.text
    told = response.json()
    person_id = parse_public_id("per", told["person_id"])
    device_id = parse_public_id("dev", told["device_id"])
    assert person_id is not None
    assert device_id is not None
    return Phone(principal_id=person_id, device_id=device_id, tokens=tokens_in(told), soft=soft)


def tokens_in(told: Mapping[str, Any]) -> Tokens:
    """Return the tokens in an answer."""
    return Tokens(
        session_id=UUID(hex=told["access_token"].split("_")[1]),
        access_token=told["access_token"],
        refresh_token=told["refresh_token"],
        expires_in_s=told["expires_in"],
        refresh_expires_in_s=told["refresh_expires_in"],
    )


@asynccontextmanager
async def _nothing(_: FastAPI) -> AsyncIterator[None]:
    yield
