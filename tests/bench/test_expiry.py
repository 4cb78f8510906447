"""The measurement of expiry: every purse ends, every payment goes through, nothing is left."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.expiry import PROGRAMMES, QUICK
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


def test_every_purse_of_the_measurement_ends_while_people_pay(data: Path) -> None:
    skipped = ("DATABASE_", "WALLET_", "COVERAGE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(skipped)}
    done = subprocess.run(
        (sys.executable, "-m", "bench.expiry", "--quick"),
        cwd=ROOT,
        env={**environment, "WALLET_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentence, figures = done.stdout.splitlines()
    assert sentence.startswith(f"{QUICK.holders * PROGRAMMES} purses ended in ")
    told = json.loads(figures)
    assert told["expired_purses"] == QUICK.holders * PROGRAMMES
    assert told.keys() == {
        "expired_purses",
        "expiry_s",
        "expired_per_s",
        "payments_per_s_beside",
        "p99_ms_before",
        "p99_ms_beside",
        "p99_beside_over_before",
    }
    assert embedded.status(data_directory=data / "bench-postgres") is None
