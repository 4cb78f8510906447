"""Rules about time, commits and SQL that no library checks for us."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import python_files, short, strings

COMMITTERS = {"wallet/core/database.py", "wallet/ledger/teller.py"}

CLOCKS = {
    "datetime.now",
    "datetime.today",
    "datetime.utcnow",
    "date.today",
    "time.time",
    "time.time_ns",
}
# The doors may hold a clock; what is below them takes `now` as an argument.
DOORS = ("wallet/api/", "wallet/cli/", "wallet/consoles/", "wallet/core/clock.py",
         "wallet/demo/", "wallet/planes/", "wallet/replay/", "wallet/worker.py")  # fmt: skip

SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|LOCK|NOTIFY|LISTEN|SET)\b")
# Citus distributes what stays within one city's schema and takes no server-wide lock.
NOT_DISTRIBUTABLE = {
    "an advisory lock": re.compile(r"pg_(try_)?advisory", re.IGNORECASE),
    "NOTIFY or LISTEN": re.compile(r"\b(pg_notify|NOTIFY|(UN)?LISTEN)\b"),
    "a deferred constraint": re.compile(r"\bDEFERR(ABLE|ED)\b", re.IGNORECASE),
    "a schema's name": re.compile(
        r"(?<!DISTINCT )\b(FROM|JOIN|INTO|UPDATE|TABLE)\s+[a-z_]+\.[a-z_]+"
    ),
}


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted end of every call, such as ``datetime.now``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield node.lineno, ".".join(name.split(".")[-2:])


def find_commits(path: Path) -> list[str]:
    """Return where a file commits, by a method or by SQL."""
    methods = [line for line, name in calls(path) if name.endswith(".commit")]
    words = [line for line, text in strings(path) if re.match(r"\s*(COMMIT|END)\b", text)]
    return [f"{short(path)}:{line}" for line in methods + words]


def find_clocks(path: Path) -> list[str]:
    """Return where a file reads the clock."""
    return [f"{short(path)}:{line} {name}" for line, name in calls(path) if name in CLOCKS]


def find_undistributable(path: Path) -> list[str]:
    """Return the SQL of a file that one city's schema could not be moved with."""
    return [
        f"{short(path)}:{line} uses {name}"
        for line, text in strings(path)
        if SQL.search(text)
        for name, pattern in NOT_DISTRIBUTABLE.items()
        if pattern.search(text)
    ]


def test_only_two_files_commit() -> None:
    found = [place for path in python_files("wallet") for place in find_commits(path)]
    strangers = [place for place in found if place.split(":")[0] not in COMMITTERS]
    assert not strangers, "\n".join(strangers)


def test_below_the_doors_nothing_reads_the_clock() -> None:
    below = [path for path in python_files("wallet") if not short(path).startswith(DOORS)]
    found = [place for path in below for place in find_clocks(path)]
    assert not found, "\n".join(found)


def test_the_sql_can_be_moved_with_its_city() -> None:
    rooms = [path for path in python_files("wallet") if "wallet/core/embedded" not in short(path)]
    found = [place for path in rooms for place in find_undistributable(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("find", "line"),
    [
        (find_commits, "await session.commit()"),
        (find_commits, "await connection.execute('COMMIT')"),
        (find_clocks, "now = datetime.datetime.now(UTC)"),
        (find_clocks, "now = time.time()"),
        (find_undistributable, "q = 'SELECT pg_advisory_xact_lock(1)'"),
        (find_undistributable, "q = 'NOTIFY till'"),
        (find_undistributable, "q = 'ALTER TABLE a ADD UNIQUE (b) DEFERRABLE'"),
        (find_undistributable, "q = f'SELECT a FROM tokyo.account WHERE {x}'"),
    ],
)
def test_a_planted_line_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, find: object, line: str
) -> None:
    monkeypatch.setattr("tests.architecture.sources.ROOT", tmp_path)
    path = tmp_path / "planted.py"
    path.write_text(f"{line}\n", encoding="utf-8")
    assert callable(find)
    assert len(find(path)) == 1
