"""The benchmark's commands, as people run them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from wallet.core import embedded

ROOT = Path(__file__).parents[2]


def environment_of(data: Path) -> dict[str, str]:
    """Return what a process of the benchmark sees, whatever database the tests use."""
    skipped = ("DATABASE_", "WALLET_", "COVERAGE_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(skipped)}
    return {**inherited, "WALLET_DATA": str(data)}


def measured_quickly(data: Path, name: str) -> tuple[str, dict[str, Any]]:
    """Run one measurement's smoke test; return its sentence and its figures.

    Its server is gone afterwards.
    """
    done = subprocess.run(
        (sys.executable, "-m", f"bench.{name}", "--quick"),
        cwd=ROOT,
        env=environment_of(data),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert embedded.status(data_directory=data / "bench-postgres") is None
    sentence, figures = done.stdout.splitlines()
    return sentence, json.loads(figures)
