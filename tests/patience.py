"""Waiting for something that happens elsewhere, for a bounded time."""

import asyncio
from collections.abc import Awaitable, Callable

PAUSE_S = 0.005
PAUSES_MAX = 2_000


async def until(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until the answer is true; fail the test after ten seconds."""
    for _ in range(PAUSES_MAX):
        if await ask():
            return
        await asyncio.sleep(PAUSE_S)
    message = f"{ask} has not become true"
    raise AssertionError(message)
