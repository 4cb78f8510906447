"""What strikes in the midst of payments, and what is judged when it has."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from tests.reliability.judge import contradictions, judge
from tests.reliability.load import Load
from tests.reliability.processes import Till
from tests.reliability.scene import Scene, payees

CYCLE_TIMEOUT_S: Final = 30.0
RECOVERY_S_MAX: Final = 10.0
"""From the end of a blow to the next answers; for as long a till tries a lost database again."""

ASKED_AT_THE_END: Final = 200
PROBLEMS_SHOWN: Final = 20


class Nemesis:
    """Has customers pay and strikes at moments that it draws; ``seed`` is what it draws from."""

    def __init__(self, scene: Scene, till: Till) -> None:
        self.seed = secrets.token_hex(4)
        self.rng = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        self.scene = scene
        self.load = Load(scene, till.base_url, rng=self.rng)

    async def strike(self, count: int, blow: Callable[[int], Awaitable[None]]) -> None:
        """Strike as often, with the number of the blow; payments must go on after each."""
        async with asyncio.timeout(count * CYCLE_TIMEOUT_S), self.load.running():
            for number in range(count):
                await self.load.refill()
                await self.load.progress()
                await asyncio.sleep(self.rng.uniform(0.05, 0.25))
                await blow(number)
                assert await self.load.progress() < RECOVERY_S_MAX

    async def find_problems(self) -> list[str]:
        """Judge everything, and then ask again for some of what was told long ago."""
        load = self.load
        problems = await judge(self.scene.database_url, payees(self.scene), load.history)
        answered = [entry for entry in load.history if entry.answers]
        asked_again = self.rng.sample(answered, min(ASKED_AT_THE_END, len(answered)))
        await load.ask_again(asked_again)
        problems += [problem for entry in asked_again for problem in contradictions(entry)]
        return load.problems + problems

    async def judge(self) -> None:
        """Fail when anything is wrong."""
        problems = await self.find_problems()
        assert not problems, "\n".join([f"seed {self.seed}", *problems[:PROBLEMS_SHOWN]])
