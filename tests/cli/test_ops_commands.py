"""Stops, the audit trail and incidents from a shell, as in the runbook."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.factories.moments import PEPPER
from tests.servers import Database
from wallet.cli import application
from wallet.cli.shell import explain
from wallet.core.refusals import RefusedError
from wallet.settings import read_settings

LIVE = {"WALLET_LIVEMODE": "true"}


@dataclass(frozen=True)
class Done:
    """A command that has ended: its status and its words."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Shell:
    """A shell in this process: whole processes, as in the tests beside, take a second each."""

    environment: dict[str, str]

    def run(self, *arguments: str, **variables: str) -> Done:
        """Run a command to its end, whatever that is."""
        read_settings.cache_clear()
        result = CliRunner().invoke(
            application, list(arguments), env={**self.environment, **variables}
        )
        if isinstance(result.exception, RefusedError):
            return Done(1, result.stdout, explain(result.exception.refusal))
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return Done(result.exit_code, result.stdout, result.stderr)

    def json(self, *arguments: str, **variables: str) -> dict[str, Any]:
        """Run a command with ``--json``, which must succeed, and return its one object."""
        done = self.run(*arguments, "--json", **variables)
        assert done.returncode == 0, done
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture(scope="module")
def shell(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Yield a shell on a database of the module's own."""
    data: Path = tmp_path_factory.mktemp("data")
    yield Shell(
        {
            "DATABASE_URL": module_database.application_url,
            "DATABASE_OWNER_URL": module_database.owner_url,
            "WALLET_PEPPER": PEPPER.decode(),
            "WALLET_DATA": str(data),
        }
    )
    read_settings.cache_clear()


def refusal(shell: Shell, *arguments: str, **variables: str) -> str:
    """Return what a refused command says."""
    done = shell.run(*arguments, **variables)
    assert done.returncode == 1
    assert done.stderr.startswith("refused: ")
    return done.stderr


def stop(shell: Shell, verb: str, scope: str, *more: str, **variables: str) -> dict[str, Any]:
    """Run a command on a scope and return its one object."""
    arguments = ("stop", verb, "--scope", scope, "--reason", "a test", *more)
    return shell.json(*arguments, **variables)


def test_in_a_rehearsal_one_shell_speaks_for_two_people(shell: Shell) -> None:
    assert stop(shell, "engage", "pay", "--next-notice", "40")["changed"] is True
    assert shell.json("stop", "status")["engaged"] == ["pay"]
    asked = stop(shell, "release", "pay")
    assert (asked["engaged"], asked["stop"]["state"]) == (True, "release_requested")
    assert asked["stop"]["next_notice_at"] is not None
    done = stop(shell, "release", "pay", "--second", "hanako")
    assert (done["engaged"], done["changed"]) == (False, True)
    assert done["stop"]["released_by"] == "cli:hanako"
    told = shell.run("stop", "status").stdout
    assert told.startswith("Nothing is stopped.\n")
    assert "cli:hanako: a test" in told
    assert stop(shell, "release", "pay")["changed"] is False


def test_on_live_money_a_shell_can_only_ask(shell: Shell) -> None:
    stop(shell, "engage", "gift", **LIVE)
    release = ("stop", "release", "--scope", "gift", "--reason", "a test")
    told = refusal(shell, *release, "--second", "hanako", **LIVE)
    assert "second_only_in_rehearsal" in told
    assert shell.json(*release, **LIVE)["stop"]["state"] == "release_requested"
    assert "release_requested" in refusal(shell, *release, **LIVE)
    assert shell.json("stop", "status", **LIVE)["engaged"] == ["gift"]


def test_nobody_is_their_own_second_person(shell: Shell) -> None:
    asked = stop(shell, "engage", "charge")
    assert asked["engaged"] is True
    me = stop(shell, "release", "charge")["stop"]["release_requested_by"].removeprefix("cli:")
    release = ("stop", "release", "--scope", "charge", "--reason", "a test", "--second", me)
    assert "four_eyes" in refusal(shell, *release)


def test_a_drill_is_timed_and_stops_nothing(shell: Shell) -> None:
    engaged = shell.json("stop", "status")["engaged"]
    drilled = stop(shell, "engage", "all", "--drill")
    assert drilled["state"] == "drill"
    assert shell.json("stop", "status")["engaged"] == engaged


def test_the_trail_is_verified_and_taken_away(shell: Shell) -> None:
    stop(shell, "engage", "programme:trail")
    refusal(shell, "stop", "engage", "--scope", "everything", "--reason", "a test")
    lines = shell.run("audit", "export", "--json").stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    assert [one["seq"] for one in entries] == list(range(1, len(entries) + 1))
    assert [one["action"] for one in entries[-3:]] == [
        "stop.engage",
        "stop.engage",
        "audit.export",
    ]
    assert entries[-2]["outcome"] == "refused"
    assert entries[-2]["details"] == {"code": "stop_scope_unknown"}
    assert all(one["origin"] == "cli" for one in entries)
    head = f"{entries[-1]['seq']}:{entries[-1]['hash']}"
    assert shell.json("audit", "verify", "--published", head)["head"]["seq"] == len(entries)
    assert f"To publish: {head}" in shell.run("audit", "verify").stdout
    last = shell.run("audit", "export", "--after", str(len(entries) - 2)).stdout
    assert "stop.engage  refused" in last
    wrong = f"{entries[-1]['seq']}:{'0' * 64}"
    done = shell.run("audit", "verify", "--published", wrong)
    assert done.returncode == 1
    assert done.stdout.startswith(f"NOT OK: entry {entries[-1]['seq']}: ")
    assert "head_invalid" in refusal(shell, "audit", "verify", "--published", "7")


def test_an_incident_is_worked_from_its_opening_to_its_end(shell: Shell) -> None:
    told = shell.json(
        *("incident", "open", "--kind", "outage", "--noticed-by", "監視", "--note", "決済が停止"),
        *("--noticed-at", "2026-04-01T10:20"),
    )
    assert len(told["reports"]) == 3
    name = told["id"]
    shell.json(
        "incident",
        "note",
        name,
        "--note",
        "続報",
        "--first-contact",
        "危機管理室",
        "--persons",
        "3",
    )
    assert "reports_owed" in refusal(shell, "incident", "close", name, "--note", "終了")
    listed = shell.run("incident", "list").stdout
    assert f"{name}  outage, open" in listed
    assert "兵庫県 第一報: OVERDUE since 2026-04-02 10:20" in listed
    for report in told["reports"]:
        shell.json(
            *("incident", "report", name, "--note", "送付"),
            *("--recipient", report["recipient"], "--report", report["report"]),
        )
    shell.json("incident", "close", name, "--note", "終了")
    assert shell.run("incident", "list").stdout == "There are no incidents.\n"
    (closed,) = shell.json("incident", "list", "--all")["incidents"]
    assert (closed["id"], closed["persons"]) == (name, 3)
    assert {one["outcome"] for one in closed["reports"]} == {"sent"}


def test_a_moment_that_is_none_is_refused(shell: Shell) -> None:
    arguments = ("incident", "open", "--kind", "leak", "--noticed-by", "a", "--note", "b")
    assert "time_invalid" in refusal(shell, *arguments, "--noticed-at", "yesterday")
    assert "incident_time_invalid" in refusal(shell, *arguments, "--noticed-at", "2999-01-01")
