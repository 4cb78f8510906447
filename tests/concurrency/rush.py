"""Two till planes on one database, asked at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2 as httpx

from tests.factories.city import City
from tests.factories.tills import Till


@dataclass(frozen=True, kw_only=True)
class Rush:
    """A city whose tills are as strange to each other as two processes are."""

    city: City
    tills: Sequence[Till]

    async def pay(
        self, bodies: Sequence[dict[str, Any]], *, keys: Sequence[str] | None = None
    ) -> list[httpx.Response]:
        """Ask for all payments at once, by turns at each till; without ``keys``, under new ones."""
        keys = keys or [str(uuid4()) for _ in bodies]
        calls = [
            self.tills[number % len(self.tills)].pay(body, Idempotency_Key=key)
            for number, (body, key) in enumerate(zip(bodies, keys, strict=True))
        ]
        return await asyncio.gather(*calls)
