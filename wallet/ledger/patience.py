"""How long a batch goes on asking for a database that is away."""

import asyncio
from typing import Final

RECONNECT_S_MAX: Final = 10.0
"""How long a lost database is tried again; a restart or a failover fits into that."""

RECONNECT_PAUSE_S: Final = 0.25


class Patience:
    """The patience of one batch; its time runs from the first loss."""

    def __init__(self) -> None:
        self._deadline: float | None = None

    async def wait(self) -> bool:
        """Pause, and return whether to try again."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + RECONNECT_S_MAX
        if now >= self._deadline:
            return False
        await asyncio.sleep(RECONNECT_PAUSE_S)
        return True
