"""The benchmark as it is called: what it prints, and what it leaves behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from bench.report import TARGETS
from tests.bench.commands import ROOT, environment_of
from wallet.core import embedded
from wallet.core.embedded.databases import run_sql

KEYS = {target.key for target in TARGETS} | {
    "pgbench_tps", "ledger_uniform_per_s", "ledger_hot_per_s", "till_uniform_per_s",
    "till_hot_per_s", "orm_hot_per_s", "fdatasync_us", "late_starts", "generator_cpu_share",
    "errors", "ledger_verified", "everything_told_is_there", "quick", "flaws", "seconds",
}  # fmt: skip


def start(data: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the benchmark in a folder of its own, whatever database the tests use."""
    return subprocess.Popen(
        (sys.executable, "-m", "bench", *arguments),
        cwd=ROOT,
        env=environment_of(data),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def databases_left(data: Path) -> set[str]:
    """Return the databases of the benchmark that are still there; stops the server again."""
    folder = data / "bench-postgres"
    cluster = embedded.start(data_directory=folder)
    names = run_sql(url=cluster.owner_url, script="SELECT datname FROM pg_database;").split()
    embedded.stop(data_directory=folder)
    return {name for name in names if name.startswith("bench")}


def test_a_quick_run_reports_every_figure_and_the_money_adds_up(data: Path) -> None:
    with start(data, "--quick") as process:
        printed, progress = process.communicate(timeout=100)
    assert process.returncode == 0, progress
    *table, last = printed.splitlines()
    figures = json.loads(last)
    assert set(figures) >= KEYS
    assert figures["errors"] == 0
    assert figures["ledger_verified"] is True
    assert figures["everything_told_is_there"] is True
    assert all(figures[target.key] > 0 for target in TARGETS)
    assert any("reached" in line for line in table)
    assert "round 1 of 1" in progress
    assert embedded.status(data_directory=data / "bench-postgres") is None


def test_an_interrupted_run_leaves_nothing_behind(data: Path) -> None:
    with start(data, "--quick") as process:
        assert process.stderr is not None
        progress = []
        for line in process.stderr:
            progress.append(line)
            if line.startswith("till, warming up"):
                break
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 2, progress
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not [one for one in started if one.is_running()]
    assert embedded.status(data_directory=data / "bench-postgres") is None
    assert databases_left(data) == set()


def test_a_second_run_beside_the_first_is_refused(data: Path) -> None:
    with start(data, "--quick", "--only", "ledger") as first:
        assert first.stderr is not None
        first.stderr.readline()
        with start(data, "--quick", "--only", "ledger") as second:
            _, complaint = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "another benchmark is running" in complaint
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert first.returncode == 130
