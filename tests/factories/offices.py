"""The doors of staff in this process, and colleagues who come through them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import httpx2 as httpx
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.staff import REASON, Colleague, make_colleague
from wallet.api.office_guard import Office
from wallet.core.clock import TestClock
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.people.contacts import keep_contact
from wallet.people.persons import find_person, open_person
from wallet.people.rules import ContactKind, Tier, read_contact
from wallet.planes import make_office
from wallet.settings import Settings

ADDRESS: Final = "192.0.2.7"

_TRAIL = text("""
SELECT action, actor, subject, reason, origin, outcome, details FROM audit_entry
WHERE seq > :after ORDER BY seq
""")


@dataclass(frozen=True, kw_only=True)
class Counter:
    """The doors of staff, open, with a clock of their own."""

    application: FastAPI
    engine: AsyncEngine
    client: httpx.AsyncClient
    clock: TestClock

    async def trail(self, *, after: int = 0) -> list[dict[str, Any]]:
        """Return the audit trail."""
        async with read(self.engine) as connection:
            rows = await connection.execute(_TRAIL, {"after": after})
            return [dict(row) for row in rows.mappings()]

    async def trail_length(self) -> int:
        """Return the number of the trail's last entry."""
        async with read(self.engine) as connection:
            last = await connection.execute(text("SELECT seq FROM audit_head"))
            return int(last.scalar_one())

    async def seat(self, *roles: str, **changes: Any) -> "Desk":  # noqa: ANN401 - of many types
        """Return a new colleague of these roles who has just signed in."""
        colleague = await make_colleague(self.engine, *roles, **changes)
        return await self.sign_in(colleague)

    async def sign_in(self, colleague: Colleague) -> "Desk":
        """Sign a colleague in through the doors."""
        options = (await self.client.post("/office/v1/sign-in/options")).json()["options"]
        body = {"credential": httpx_json(colleague.passkey.get(options))}
        response = await self.client.post("/office/v1/sign-in", json=body)
        assert response.status_code == 200, response.text
        return Desk(counter=self, colleague=colleague, tokens=response.json())


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A colleague who is signed in."""

    counter: Counter
    colleague: Colleague
    tokens: dict[str, Any]

    @property
    def staff_id(self) -> str:
        """The colleague's public id."""
        return public_id("stf", self.colleague.id)

    @property
    def headers(self) -> dict[str, str]:
        """What a page of staff sends along."""
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    async def get(self, path: str, **changes: Any) -> httpx.Response:  # noqa: ANN401 - of many types
        """Ask for something."""
        return await self.counter.client.get(path, headers=self.headers, **changes)

    async def post(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401 - JSON
    ) -> httpx.Response:
        """Send a body with a reason, or exactly ``body``."""
        sent = {"reason": REASON, **fields} if body is None else body
        return await self.counter.client.post(path, headers=self.headers, json=sent)

    async def delete(self, path: str) -> httpx.Response:
        """Remove something."""
        return await self.counter.client.delete(path, headers=self.headers)

    async def show_passkey(self) -> "Desk":
        """Show the passkey again, as a page does when it is asked to."""
        started = await self.post("/office/v1/reauthentication/options", {})
        options = started.json()["options"]
        body = {"credential": httpx_json(self.colleague.passkey.get(options))}
        response = await self.post("/office/v1/reauthentication", body)
        assert response.status_code == 200, response.text
        return Desk(counter=self.counter, colleague=self.colleague, tokens=response.json())


@dataclass(frozen=True, kw_only=True)
class Resident:
    """Somebody the city knows."""

    id: UUID
    wallet_id: UUID
    email: str
    phone: str
    support_code: str

    @property
    def person_id(self) -> str:
        """The public id."""
        return public_id("per", self.id)


def httpx_json(credential: str) -> dict[str, Any]:
    """Return a credential as a page sends it, within its JSON."""
    parsed: dict[str, Any] = httpx.Response(200, content=credential).json()
    return parsed


@asynccontextmanager
async def open_counter(database_url: str) -> AsyncIterator[Counter]:
    """Yield the doors of staff on a database."""
    clock = TestClock(NOW_US)
    application = make_office(Settings(), database_url=database_url, pepper=PEPPER, clock=clock)
    transport = httpx.ASGITransport(
        application, client=(ADDRESS, 50_000), raise_app_exceptions=False
    )
    client = httpx.AsyncClient(transport=transport, base_url="http://office")
    async with application.router.lifespan_context(application), client:
        office: Office = application.state.office
        yield Counter(application=application, engine=office.engine, client=client, clock=clock)


async def make_resident(engine: AsyncEngine, *, number: int, tier: Tier = Tier.DEVICE) -> Resident:
    """Open a person with an e-mail address and a telephone of their own."""
    email, phone = f"hanako{number}@example.jp", f"0901234{number:04}"

    async def work(connection: AsyncConnection) -> Resident:
        opened = await open_person(connection, tier=tier, now_us=NOW_US)
        for kind, value in ((ContactKind.EMAIL, email), (ContactKind.PHONE, phone)):
            contact = read_contact(kind, value)
            assert contact is not None
            await keep_contact(
                connection,
                person_id=opened.person_id,
                contact=contact,
                pepper=PEPPER,
                now_us=NOW_US,
            )
        person = await find_person(connection, person_id=opened.person_id)
        assert person is not None
        return Resident(
            id=opened.person_id,
            wallet_id=opened.wallet_id,
            email=email,
            phone=phone,
            support_code=person.support_code,
        )

    return await write(engine, work)
