"""The measurement of approvals: everything it sends goes through, and it leaves nothing behind."""

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


def test_every_payment_of_the_measurement_goes_through(data: Path) -> None:
    skipped = ("DATABASE_", "WALLET_", "COVERAGE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(skipped)}
    done = subprocess.run(
        (sys.executable, "-m", "bench.step_up", "--quick"),
        cwd=ROOT,
        env={**environment, "WALLET_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentence, figures = done.stdout.splitlines()
    assert sentence.startswith("an approved payment costs ")
    assert json.loads(figures).keys() == {
        "step_up_over_plain",
        "step_up_over_code",
        "step_up_cpu_ms_per_payment",
        "by_phone_cpu_ms_per_payment",
        "by_code_cpu_ms_per_payment",
    }
    assert embedded.status(data_directory=data / "bench-postgres") is None
