"""A file of payments through the running till, end to end."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell
from tests.reliability.processes import free_port, running_till

ROWS = 300


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Write a file of payments, one of them of nothing."""
    lines = ["at,customer_id,terminal_id,amount"]
    lines += [
        f"2026-04-01T{9 + row // 60:02}:{row % 60:02}:00,c{row % 17},t{row % 5},{100 + row}"
        for row in range(ROWS)
    ]
    lines.append("2026-04-01T20:00:00,c1,t1,0")
    path = tmp_path / "payments.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_every_payment_of_a_file_is_proved(
    shell: Shell, secrets: dict[str, Any], recording: Path, tmp_path: Path
) -> None:
    assert secrets
    with running_till(database_url=shell.database_url, log=tmp_path / "till.log") as till:
        told = shell.json("replay", str(recording), "--address", till.base_url)
        assert told["ok"] is True
        assert told["payments"] == told["paid"] == ROWS
        assert told["zero_rows"] == 1
        assert told["verify"]["ok"] is True
        short = shell.json(
            "replay", str(recording), "--address", till.base_url, "--short-every", "3"
        )
        assert short["ok"] is True
        assert short["refusals"]["balance_insufficient"] == short["payments"] - short["paid"]
        report = shell.run("replay", str(recording), "--address", till.base_url)
        assert report.returncode == 0
        assert "payments/s" in report.stdout


def test_a_till_that_does_not_answer_is_named(
    shell: Shell, secrets: dict[str, Any], recording: Path
) -> None:
    assert secrets
    done = shell.run("replay", str(recording), "--address", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "server_unreachable" in done.stderr


def test_a_port_that_is_taken_is_explained(
    shell: Shell, secrets: dict[str, Any], tmp_path: Path
) -> None:
    assert secrets
    with running_till(database_url=shell.database_url, log=tmp_path / "till.log") as till:
        done = shell.run("serve", "--port", str(till.port))
    assert done.returncode == 1
    assert "port_unavailable" in done.stderr
    assert "WALLET_PORT" in done.stderr
