"""A worker that a test may kill: the product's own, at the tests' moment and without pauses."""

import asyncio
import sys

from tests.factories.moments import NOW_US
from wallet.core.clock import TestClock
from wallet.worker import run_worker

if __name__ == "__main__":
    asyncio.run(run_worker(database_url=sys.argv[1], clock=TestClock(NOW_US), pause_s=0.01))
