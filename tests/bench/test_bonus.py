"""The measurement of bonuses: every payment goes through, and every point is found again."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wallet.core import embedded

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data() -> Iterator[Path]:
    """Yield a data folder, gone again afterwards with the server in it."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-", dir="/tmp"))  # Short enough for a socket.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        embedded.stop(data_directory=folder / "bench-postgres")
        shutil.rmtree(folder)


def test_every_payment_of_the_measurement_brings_its_points(data: Path) -> None:
    skipped = ("DATABASE_", "WALLET_", "COVERAGE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(skipped)}
    done = subprocess.run(
        (sys.executable, "-m", "bench.bonus", "--quick"),
        cwd=ROOT,
        env={**environment, "WALLET_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentence, line = done.stdout.splitlines()
    assert sentence.startswith("with a bonus on every payment the till takes ")
    figures = json.loads(line)
    assert {"bonus_over_plain", "capped_bonus_over_plain"} <= figures.keys()
    assert figures["points_given"] > 0
    assert embedded.status(data_directory=data / "bench-postgres") is None
