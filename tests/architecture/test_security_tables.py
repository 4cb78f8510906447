"""The pages of docs/security say what the tests hold, and what must be held is."""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.security_tables import (
    ASVS_PAGE,
    ATTACKS_PAGE,
    COMMAND,
    FOLDER,
    ROOT,
    Attacks,
    Book,
    Mark,
    MarkerError,
    Requirement,
    faults_of,
    read_book,
    read_marks,
    render_asvs,
    render_attacks,
    summary,
    tally,
)

LEVELS_1_AND_2 = 253
"""How many requirements of these levels OWASP ASVS 5.0.0 has: 70 and 183."""

ATTACKS = 34

FILE = re.compile(r"`((?:docs|tests|wallet)/[^` ]+)`")


def test_nothing_names_what_is_not_there_and_everything_built_is_held() -> None:
    assert not (faults := faults_of(read_book())), "\n".join(faults)


def test_the_pages_say_what_the_markers_say() -> None:
    book = read_book()
    assert ASVS_PAGE.read_text(encoding="utf-8") == render_asvs(book), f"run `{COMMAND}`"
    assert ATTACKS_PAGE.read_text(encoding="utf-8") == render_attacks(book), f"run `{COMMAND}`"


def test_every_requirement_of_two_levels_and_every_attack_is_listed() -> None:
    book = read_book()
    beyond = [one for one in book.asvs.requirement if one.level == 3]
    total = tally(book)
    listed = total.tests + total.documents + total.inapplicable + total.still_open
    assert listed - len(beyond) == LEVELS_1_AND_2
    assert len(book.attacks.attack) == ATTACKS
    numbers = {one.id for one in book.attacks.attack}
    assert numbers == {"A1", "A2", *map(str, range(1, 33))}


def test_every_file_that_a_page_names_is_there() -> None:
    named = {
        f"{page.name}: {name}"
        for page in FOLDER.glob("*.md")
        for name in FILE.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert not named


def test_the_summary_is_at_the_top_of_the_page() -> None:
    book = read_book()
    numbers = summary(book).removeprefix("ASVS 5.0: ").replace(" by test", " held by test")
    assert f"**{numbers}.**" in ASVS_PAGE.read_text(encoding="utf-8")


def planted(book: Book, kind: str, names: str) -> Book:
    """Return the book with one marker more."""
    mark = msgspec.convert(
        {"kind": kind, "names": names, "path": "tests/test_a.py", "line": 7, "test": "test_a"}, Mark
    )
    return msgspec.structs.replace(book, marks=(*book.marks, mark))


def without(book: Book, kind: str, names: str) -> Book:
    """Return the book without the tests that hold something."""
    marks = tuple(mark for mark in book.marks if (mark.kind, mark.names) != (kind, names))
    return msgspec.structs.replace(book, marks=marks)


def requiring(book: Book, **fields: object) -> Book:
    """Return the book with one requirement more."""
    one = msgspec.convert({"level": 2, "what": "planted", **fields}, Requirement)
    asvs = msgspec.structs.replace(book.asvs, requirement=(*book.asvs.requirement, one))
    return msgspec.structs.replace(book, asvs=asvs)


def attacked(book: Book, **fields: object) -> Book:
    """Return the book with attack 18 described otherwise."""
    changed = tuple(
        msgspec.convert({**msgspec.to_builtins(one), **fields}, type(one))
        if one.id == "18"
        else one
        for one in book.attacks.attack
    )
    return msgspec.structs.replace(book, attacks=Attacks(attack=changed))


FAULTS: dict[str, tuple[Callable[[Book], Book], str]] = {
    "an unknown requirement": (
        lambda book: planted(book, "asvs", "6.99.1"),
        "tests/test_a.py:7 names no asvs there is: 6.99.1",
    ),
    "an unknown attack": (
        lambda book: planted(book, "attack", "33"),
        "tests/test_a.py:7 names no attack there is: 33",
    ),
    "a requirement that does not concern us": (
        lambda book: planted(book, "asvs", "17.1.1"),
        "tests/test_a.py:7 holds 17.1.1, which is said not to concern us",
    ),
    "an attack on what is built without a test": (
        lambda book: without(book, "attack", "18"),
        "attack 18 touches api and has no test",
    ),
    "an attack that nobody looks at": (
        lambda book: attacked(book, touches=[], waits=None),
        "attack 18 touches nothing that is built and waits for nothing",
    ),
    "a requirement that nothing holds": (
        lambda book: without(book, "asvs", "6.5.1"),
        "6.5.1 is held by no test and no document, and is not said to be open",
    ),
    "a requirement that stands there twice": (
        lambda book: requiring(book, id="6.5.1"),
        "6.5.1 stands there twice",
    ),
    "a requirement that both concerns us and does not": (
        lambda book: requiring(book, id="17.1.1", remains="planted"),
        "17.1.1 both concerns us and does not",
    ),
    "a chapter that is not there": (
        lambda book: requiring(book, id="18.1.1", remains="planted"),
        "18.1.1 is of no chapter",
    ),
    "a document that is not there": (
        lambda book: requiring(book, id="6.9.9", documents=["nothing.md"]),
        "6.9.9 is said to be held by nothing.md, which is not there",
    ),
    "a heading that is not there": (
        lambda book: requiring(book, id="6.9.9", documents=["step-up.md#nothing"]),
        "6.9.9 is said to be held by step-up.md#nothing, which is not there",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    plant, expected = FAULTS[name]
    assert expected in faults_of(plant(read_book()))


def test_one_marker_more_is_another_page() -> None:
    book = read_book()
    assert render_asvs(planted(book, "asvs", "6.5.1")) != render_asvs(book)
    assert render_attacks(planted(book, "attack", "9")) != render_attacks(book)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('@pytest.mark.asvs("6.5.1")\ndef test_a(): ...', "names nothing that can be read"),
        ("@pytest.mark.asvs(NAME)\ndef test_a(): ...", "names nothing that can be read"),
        ('@pytest.mark.attack("9", "8")\ndef test_a(): ...', "names nothing that can be read"),
        ("@pytest.mark.attack(number=9)\ndef test_a(): ...", "names nothing that can be read"),
        ("@pytest.mark.attack\ndef test_a(): ...", "marks what is no test"),
        ("@pytest.mark.attack(9)\ndef helper(): ...", "marks what is no test"),
        ("marks = pytest.mark.attack(9)", "marks what is no test"),
        ("pytestmark = pytest.mark.attack\ndef test_a(): ...", "marks what is no test"),
        (
            "class A:\n    @pytest.mark.attack(9)\n    def test_a(self): ...",
            "marks what is no test",
        ),
        (
            "CASES = [pytest.param(1, marks=pytest.mark.attack(9))]\ndef test_a(a): ...",
            "marks what is no test",
        ),
    ],
)
def test_a_marker_that_the_pages_would_miss_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, problem: str
) -> None:
    monkeypatch.setattr("tests.security_tables.ROOT", tmp_path)
    path = tmp_path / "test_planted.py"
    path.write_text(source, encoding="utf-8")
    with pytest.raises(MarkerError, match=problem):
        list(read_marks(path))


def test_a_marker_of_a_whole_file_is_each_tests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.security_tables.ROOT", tmp_path)
    path = tmp_path / "test_planted.py"
    path.write_text(
        "pytestmark = [pytest.mark.attack(9), pytest.mark.asyncio]\n"
        "def test_a(): ...\ndef helper(): ...\nasync def test_b(): ...\n",
        encoding="utf-8",
    )
    assert [(mark.names, mark.line, mark.test) for mark in read_marks(path)] == [
        ("9", 1, "test_a"),
        ("9", 1, "test_b"),
    ]


def test_a_marker_is_read_with_its_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.security_tables.ROOT", tmp_path)
    path = tmp_path / "test_planted.py"
    path.write_text(
        '@pytest.mark.attack(9)\n@pytest.mark.attack("A2")\n@pytest.mark.asvs("v5.0.0-6.5.1")\n'
        "async def test_a() -> None: ...\n",
        encoding="utf-8",
    )
    assert list(read_marks(path)) == [
        Mark("attack", "9", "test_planted.py", 1, "test_a"),
        Mark("attack", "A2", "test_planted.py", 2, "test_a"),
        Mark("asvs", "6.5.1", "test_planted.py", 3, "test_a"),
    ]
