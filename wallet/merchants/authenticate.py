"""Who calls: a merchant's system, by its API key.

A key is looked up by its keyed hash, so a stolen table opens nothing. What was found is kept for
at most :data:`KEPT_S_MAX` seconds, which bounds how long a revoked key still works in a process.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import MICROSECONDS, Clock
from wallet.core.database import read
from wallet.core.ids import keyed_hash
from wallet.core.refusals import Refusal

KEPT_S_MAX: Final = 5.0
KEPT_KEYS_MAX: Final = 10_000
KEY_CHARACTERS_MAX: Final = 128
LOOKED_UP_MAX: Final = 500
"""Keys looked up by one query; the rest follow in the next ones."""

_FIND = text("""
SELECT key_hash, id, merchant_id, livemode FROM api_key
WHERE key_hash = ANY(CAST(:key_hashes AS bytea[])) AND revoked_at IS NULL
""")

_STILL_GOOD = text("""
SELECT id FROM api_key WHERE id = ANY(CAST(:ids AS uuid[])) AND revoked_at IS NULL
""")

UNAUTHENTICATED: Final = Refusal("unauthenticated")
WRONG_MODE: Final = Refusal("key_wrong_mode")


class Principal(msgspec.Struct, frozen=True):
    """A merchant's system; it may act for its own merchant and for nobody else."""

    merchant_id: UUID
    key_id: UUID


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """A key that was good, and when that was."""

    principal: Principal
    looked_up_us: int


class KeyRing:
    """API keys as one process knows them.

    A key is asked for again after ``kept_s`` and never used unasked for longer than twice that.
    All keys in use are asked for together, and so are all new ones that come while the database
    looks others up: a query for each would cost a city of small shops more than their payments do.
    """

    def __init__(
        self, *, engine: AsyncEngine, pepper: bytes, livemode: bool, clock: Clock, kept_s: float
    ) -> None:
        if not 0 <= kept_s <= KEPT_S_MAX / 2:
            message = f"a key may be kept for 0 to {KEPT_S_MAX / 2} s before it is asked for again"
            raise ValueError(message)
        self._engine = engine
        self._pepper = pepper
        self._livemode = livemode
        self._clock = clock
        self._kept_us = int(kept_s * MICROSECONDS)
        # Only keys that were good are kept: an attacker's guesses must not fill the memory.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._used: set[str] = set()
        self._waiting: dict[str, asyncio.Future[Principal | Refusal]] = {}
        self._asked: dict[str, asyncio.Future[Principal | Refusal]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asking_again: asyncio.Task[None] | None = None

    async def authenticate(self, authorization: str | None) -> Principal | Refusal:
        """Return who the ``Authorization`` header's bearer key belongs to.

        Refuses with ``unauthenticated``, in the same words for a missing, malformed, unknown or
        revoked key, and with ``key_wrong_mode`` for a test key on live money or the reverse.
        """
        if authorization is None:
            return UNAUTHENTICATED
        kept = self._kept.get(authorization)
        now_us = self._clock()
        if kept is None or now_us >= kept.looked_up_us + 2 * self._kept_us:
            return await self._ask(authorization)
        self._used.add(authorization)
        if now_us >= kept.looked_up_us + self._kept_us and self._asking_again is None:
            # One caller asks again; the crowd behind it goes on with what is known meanwhile.
            await self._ask_again()
            kept = self._kept.get(authorization)
        return UNAUTHENTICATED if kept is None else kept.principal

    async def _ask(self, authorization: str) -> Principal | Refusal:
        """Look the key up, once for everybody who asks meanwhile; who gives up disturbs nobody."""
        answer = self._asked.get(authorization) or self._waiting.get(authorization)
        if answer is None:
            if _key_in(authorization) is None:
                return UNAUTHENTICATED
            answer = asyncio.get_running_loop().create_future()
            self._waiting[authorization] = answer
            if self._asking is None:
                self._asking = asyncio.ensure_future(self._look_up_waiting())
        return await asyncio.shield(answer)

    async def _look_up_waiting(self) -> None:
        """Look up whatever is waiting, and what came to wait meanwhile, until nothing does."""
        while self._waiting:
            self._asked = dict(islice(self._waiting.items(), LOOKED_UP_MAX))
            for authorization in self._asked:
                del self._waiting[authorization]
            try:
                found = await self._look_up(self._asked)
            except Exception as error:  # noqa: BLE001 - whoever asked hears of it
                for answer in self._asked.values():
                    answer.set_exception(error)
            else:
                for authorization, answer in self._asked.items():
                    answer.set_result(found[authorization])
            self._asked = {}
        self._asking = None

    async def _ask_again(self) -> None:
        """Look up every key in use, once; who gives up disturbs nobody."""
        task = self._asking_again = asyncio.ensure_future(self._look_up_again())
        task.add_done_callback(self._has_asked_again)
        await asyncio.shield(task)

    def _has_asked_again(self, _: asyncio.Task[None]) -> None:
        self._asking_again = None

    async def _look_up_again(self) -> None:
        """Keep the keys that were used since the last time and are still good, and no others."""
        looked_up_us = self._clock()
        used, self._used = self._used, set()
        asked = {header: kept for header, kept in self._kept.items() if header in used}
        key_ids = [kept.principal.key_id for kept in asked.values()]
        async with read(self._engine) as connection:
            rows = await connection.execute(_STILL_GOOD, {"ids": key_ids})
            good = {row.id for row in rows}
        for header, kept in list(self._kept.items()):
            if kept.looked_up_us > looked_up_us:
                continue  # Looked up by itself meanwhile.
            if header in asked and kept.principal.key_id in good:
                self._kept[header] = _Kept(kept.principal, looked_up_us)
            else:
                del self._kept[header]

    async def _look_up(self, headers: Collection[str]) -> dict[str, Principal | Refusal]:
        """Return who each header's key belongs to, and keep the good ones."""
        looked_up_us = self._clock()
        hashes = {
            header: keyed_hash(_key_in(header) or "", pepper=self._pepper) for header in headers
        }
        async with read(self._engine) as connection:
            rows = await connection.execute(_FIND, {"key_hashes": list(set(hashes.values()))})
            found = {bytes(row.key_hash): row for row in rows}
        answers: dict[str, Principal | Refusal] = {}
        for header, key_hash in hashes.items():
            row = found.get(key_hash)
            if row is None:
                self._kept.pop(header, None)
                answers[header] = UNAUTHENTICATED
            elif row.livemode != self._livemode:
                answers[header] = WRONG_MODE
            else:
                principal = Principal(merchant_id=row.merchant_id, key_id=row.id)
                self._keep(header, _Kept(principal, looked_up_us))
                answers[header] = principal
        return answers

    def _keep(self, header: str, kept: _Kept) -> None:
        self._kept[header] = kept
        self._kept.move_to_end(header)
        self._used.add(header)
        if len(self._kept) > KEPT_KEYS_MAX:
            self._kept.popitem(last=False)


def _key_in(authorization: str) -> str | None:
    """Return the bearer key in a header, None when there is nothing that could be one."""
    scheme, _, key = authorization.partition(" ")
    return key if scheme.lower() == "bearer" and 0 < len(key) <= KEY_CHARACTERS_MAX else None
