"""The first administrators, from a shell in this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_ops_commands import LIVE, Shell, refusal
from tests.factories.moments import PEPPER
from tests.servers import Database
from wallet.settings import read_settings


@pytest.fixture
def shell(database: Database, tmp_path: Path) -> Iterator[Shell]:
    """Yield a shell on a city without any staff."""
    yield Shell(
        {
            "DATABASE_URL": database.application_url,
            "DATABASE_OWNER_URL": database.owner_url,
            "WALLET_PEPPER": PEPPER.decode(),
            "WALLET_DATA": str(tmp_path),
        }
    )
    read_settings.cache_clear()


def add(login: str, *more: str, role: str = "administrator") -> tuple[str, ...]:
    """Return the command that adds somebody."""
    return ("staff", "add", "管理者", "--login", login, "--role", role, *more)


def trail(shell: Shell) -> str:
    """Return the audit trail as it is exported."""
    done = shell.run("audit", "export")
    assert done.returncode == 0, done
    return done.stdout


def test_two_administrators_begin_at_the_shell_and_nobody_after_them(
    shell: Shell,
) -> None:
    made: list[dict[str, Any]] = [shell.json(*add(f"A-{n}"), **LIVE) for n in (1, 2)]
    assert all(one["enrolment_code"].startswith("enrol_") for one in made)
    told = refusal(shell, *add("A-3"), **LIVE)
    assert "bootstrap_over" in told
    assert "the other approves" in told
    assert "bootstrap_role" in refusal(
        shell, *add("A-4", "--department", "citizens", role="counter_lead"), **LIVE
    )
    listed = shell.json("staff", "list")["staff"]
    assert [one["id"] for one in listed] == [one["id"] for one in made]
    assert {one["state"] for one in listed} == {"invited"}
    kept = trail(shell)
    assert kept.count(" staff.bootstrap ") == 4
    assert " cli:" in kept
    assert not any(one["enrolment_code"] in kept for one in made)


def test_in_a_rehearsal_anybody_may_be_added_from_the_shell(shell: Shell) -> None:
    for number, role in enumerate(("counter_lead", "counter_clerk")):
        done = shell.run(*add(f"C-{number}", "--department", "citizens", role=role))
        assert done.returncode == 0
        assert "it is shown this once" in done.stdout
    assert "staff_exists" in refusal(shell, *add("c-1"))
    assert "role_of_other_department" in refusal(shell, *add("C-3", role="auditor"))


def test_an_administrator_is_suspended_and_another_one_begins(shell: Shell) -> None:
    first, second = (shell.json(*add(f"A-{n}"), **LIVE) for n in (1, 2))
    suspend = ("staff", "suspend", first["id"])
    assert "reason_missing" in refusal(shell, *suspend, "--reason", "x")
    assert shell.json(*suspend, "--reason", "鍵の紛失")["changed"] is True
    assert shell.json(*suspend, "--reason", "鍵の紛失")["changed"] is False
    assert shell.json(*add("A-3"), **LIVE)["id"] != first["id"]
    assert "bootstrap_over" in refusal(shell, "staff", "enrol", first["id"], **LIVE)
    again = shell.json("staff", "enrol", second["id"], **LIVE)
    assert again["enrolment_code"] != second["enrolment_code"]
    assert "staff_unknown" in refusal(shell, "staff", "enrol", f"stf_{'0' * 32}")
    assert "id_invalid" in refusal(shell, "staff", "enrol", "stf_1")
    assert "suspended" in shell.run("staff", "list").stdout


def test_a_city_without_staff_says_so(shell: Shell) -> None:
    assert shell.run("staff", "list").stdout == "Nobody yet.\n"
