"""``wallet numbers``: a report for people, JSON for scripts, CSV for a spreadsheet."""

import csv
import io
from typing import Any

from tests.cli.shell import Shell
from wallet.opendata.numbers import COLUMNS, MEASURES


def read_csv(shell: Shell, *arguments: str) -> list[list[str]]:
    """Return the rows of a file that the command has written."""
    done = shell.run("numbers", "--csv", *arguments)
    assert done.returncode == 0, done.stderr
    text = done.stdout.removeprefix("\ufeff")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_the_numbers_are_told_in_every_form(shell: Shell, secrets: dict[str, Any]) -> None:
    assert secrets
    report = shell.run("numbers", COLUMNS="250").stdout
    assert "Circulation" in report
    head, *rows = read_csv(shell)
    assert tuple(head) == COLUMNS
    code = rows[0][0]
    assert code in report
    head, *measures = read_csv(shell, "--circulation")
    assert tuple(head) == MEASURES
    assert measures[0][0] == ""
    told = shell.json("numbers", "--programme", code, "--public", "--since", "2026-01-01")
    assert [one["programme"] for one in told["programmes"]] == [code]
    assert (told["public"], told["since"]) == (True, "2026-01-01")


def test_a_narrow_terminal_shows_whole_numbers(shell: Shell, secrets: dict[str, Any]) -> None:
    assert secrets
    report = shell.run("numbers", COLUMNS="60").stdout
    totals = [one["total"] for one in shell.json("numbers")["programmes"]]
    assert totals
    for total in totals:
        assert f"{total['issued_yen']:,}" in report
        assert f"{total['outstanding_yen']:,}" in report
    assert "…" not in report


def test_a_period_that_ends_before_it_begins_is_refused(shell: Shell) -> None:
    done = shell.run("numbers", "--since", "2026-11-25", "--until", "2026-11-24")
    assert done.returncode == 1
    assert "period_invalid" in done.stderr
