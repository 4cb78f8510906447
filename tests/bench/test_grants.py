"""The measurement of grants: everything is granted and paid, and it leaves nothing behind."""

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


def test_everything_is_granted_and_every_payment_goes_through(data: Path) -> None:
    skipped = ("DATABASE_", "WALLET_", "COVERAGE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(skipped)}
    done = subprocess.run(
        (sys.executable, "-m", "bench.grants", "--quick"),
        cwd=ROOT,
        env={**environment, "WALLET_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentence, figures = done.stdout.splitlines()
    assert "wallets/s beside a till at half load" in sentence
    told = json.loads(figures)
    assert told.keys() == {
        "grants",
        "grants_per_s",
        "grants_per_s_beside_the_till",
        "grants_beside_over_alone",
        "grant_cpu_ms",
        "roster_import_s",
        "till_payments_per_s",
        "till_half_load_per_s",
        "till_p99_ms",
        "till_p99_ms_beside_grants",
    }
    assert told["grants"] == 40
    assert embedded.status(data_directory=data / "bench-postgres") is None
