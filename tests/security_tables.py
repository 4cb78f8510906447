"""The tables of docs/security that tests fill: ``python -m tests.security_tables`` writes them.

A test says what it holds: ``@pytest.mark.asvs("v5.0.0-6.5.1")`` for a requirement of OWASP ASVS
5.0, ``@pytest.mark.attack(9)`` for an attack of our list. What no test can say stands in two files
beside this one: which document holds a requirement, why one does not concern us, what is still
open, and for which later feature an attack waits.

Markers are read from the source, so nothing of a test needs to run. One that stands where this
module would not see it is a fault, as is one that names nothing there is.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

ROOT: Final = Path(__file__).resolve().parents[1]
TESTS: Final = ROOT / "tests"
FOLDER: Final = ROOT / "docs" / "security"
ASVS_PAGE: Final = FOLDER / "asvs.md"
ATTACKS_PAGE: Final = FOLDER / "attacks.md"
ASVS_FILE: Final = TESTS / "security_asvs.toml"
ATTACKS_FILE: Final = TESTS / "security_attacks.toml"

COMMAND: Final = "python -m tests.security_tables"
VERSION: Final = "v5.0.0-"

_KINDS: Final = frozenset({"asvs", "attack"})
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_HEADING: Final = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)

Kind = Literal["asvs", "attack"]
Text = Annotated[str, msgspec.Meta(min_length=3)]
RequirementId = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]?\.[1-9][0-9]?\.[1-9][0-9]?\Z")]
AttackId = Annotated[str, msgspec.Meta(pattern=r"^A?[1-9][0-9]?\Z")]
Level = Annotated[int, msgspec.Meta(ge=1, le=3)]
Area = Literal["identity", "staff", "api"]


class _Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that is written in one of the two files."""


class Chapter(_Data, frozen=True):
    """A chapter of ASVS."""

    number: int
    name: Text


class Requirement(_Data, frozen=True):
    """A requirement that concerns us. ``documents`` are links as seen from docs/security.

    ``remains`` says what is not there, or not there yet: a test or a document may hold only a part.
    """

    id: RequirementId
    level: Level
    what: Text
    documents: tuple[Text, ...] = ()
    remains: Text | None = None


class Inapplicable(_Data, frozen=True):
    """Requirements that do not concern us; ``level`` is the highest among them."""

    ids: Annotated[tuple[RequirementId, ...], msgspec.Meta(min_length=1)]
    level: Level
    what: Text
    because: Text


class Asvs(_Data, frozen=True):
    """What there is to know about ASVS beside the markers."""

    chapter: tuple[Chapter, ...]
    requirement: tuple[Requirement, ...]
    inapplicable: tuple[Inapplicable, ...]


class Attack(_Data, frozen=True):
    """An attack and what we do about it.

    One that ``touches`` what is built has a test. ``waits`` names what is not built yet and will
    hold it, or the rest of it.
    """

    id: AttackId
    name: Text
    control: Text
    touches: tuple[Area, ...] = ()
    waits: Text | None = None


class Attacks(_Data, frozen=True):
    """Our list of attacks."""

    attack: tuple[Attack, ...]


class Mark(msgspec.Struct, frozen=True, order=True):
    """A test and one thing that it says it holds; ``path`` is as seen from the project's root."""

    kind: Kind
    names: str
    path: str
    line: int
    test: str


class MarkerError(Exception):
    """A marker that cannot be read: nothing may seem to be held that is not."""


class Book(msgspec.Struct, frozen=True):
    """Everything that the two pages are made of."""

    asvs: Asvs
    attacks: Attacks
    marks: tuple[Mark, ...]

    def tests_of(self, kind: Kind, names: str) -> list[Mark]:
        """Return the tests that hold something."""
        return [mark for mark in self.marks if (mark.kind, mark.names) == (kind, names)]


@cache
def read_book() -> Book:
    """Return what the files and the tests say; raises :class:`MarkerError`."""
    asvs = msgspec.toml.decode(ASVS_FILE.read_bytes(), type=Asvs)
    attacks = msgspec.toml.decode(ATTACKS_FILE.read_bytes(), type=Attacks)
    marks = [mark for path in sorted(TESTS.rglob("test_*.py")) for mark in read_marks(path)]
    return Book(asvs, attacks, tuple(sorted(marks)))


def read_marks(path: Path) -> Iterator[Mark]:
    """Yield what the tests of a file say they hold; raises :class:`MarkerError`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    short = path.relative_to(ROOT).as_posix()
    of_all = [call for node in tree.body for call in _marks_of_module(node)]
    read = {call.func for call in of_all}
    for node in tree.body:
        if isinstance(node, _FUNCTIONS) and node.name.startswith("test_"):
            own = [call for call in map(_marker, node.decorator_list) if call is not None]
            read.update(call.func for call in own)
            yield from (_mark(call, short, node.name) for call in (*of_all, *own))
    for marker in filter(_is_marker, ast.walk(tree)):
        if marker not in read:
            message = f"{short}:{getattr(marker, 'lineno', 0)} marks what is no test"
            raise MarkerError(message)


def _marks_of_module(node: ast.stmt) -> Iterator[ast.Call]:
    """Yield the markers of ``pytestmark``, which are those of every test of a file."""
    match node:
        case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
            several = value.elts if isinstance(value, ast.List) else [value]
            yield from (call for call in map(_marker, several) if call is not None)


def _marker(node: ast.expr) -> ast.Call | None:
    return node if isinstance(node, ast.Call) and _is_marker(node.func) else None


def _is_marker(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr in _KINDS
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "mark"
    )


def _mark(call: ast.Call, path: str, test: str) -> Mark:
    match call:
        case ast.Call(func=ast.Attribute(attr="attack"), args=[ast.Constant(value)], keywords=[]):
            return Mark("attack", str(value), path, call.lineno, test)
        case ast.Call(
            func=ast.Attribute(attr="asvs"), args=[ast.Constant(str(value))], keywords=[]
        ):
            if value.startswith(VERSION):
                return Mark("asvs", value.removeprefix(VERSION), path, call.lineno, test)
    message = f"{path}:{call.lineno} names nothing that can be read"
    raise MarkerError(message)


def faults_of(book: Book) -> list[str]:
    """Return what must not be: markers that name nothing, requirements that nothing holds."""
    return [
        *_repeated(one.id for one in book.asvs.requirement),
        *_repeated(names for one in book.asvs.inapplicable for names in one.ids),
        *_repeated(one.id for one in book.attacks.attack),
        *_lost_marks(book),
        *_unheld_requirements(book),
        *_unheld_attacks(book),
        *_lost_documents(book),
    ]


def _repeated(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{name} stands there twice"
        seen.add(name)


def _lost_marks(book: Book) -> Iterator[str]:
    inapplicable = {name for one in book.asvs.inapplicable for name in one.ids}
    known: Mapping[Kind, set[str]] = {
        "asvs": {one.id for one in book.asvs.requirement},
        "attack": {one.id for one in book.attacks.attack},
    }
    for mark in book.marks:
        place = f"{mark.path}:{mark.line}"
        if mark.kind == "asvs" and mark.names in inapplicable:
            yield f"{place} holds {mark.names}, which is said not to concern us"
        elif mark.names not in known[mark.kind]:
            yield f"{place} names no {mark.kind} there is: {mark.names}"


def _unheld_requirements(book: Book) -> Iterator[str]:
    inapplicable = {name for one in book.asvs.inapplicable for name in one.ids}
    chapters = {chapter.number for chapter in book.asvs.chapter}
    for one in book.asvs.requirement:
        if one.id in inapplicable:
            yield f"{one.id} both concerns us and does not"
        if not (book.tests_of("asvs", one.id) or one.documents or one.remains):
            yield f"{one.id} is held by no test and no document, and is not said to be open"
    for name in (*(one.id for one in book.asvs.requirement), *inapplicable):
        if _key(name)[0] not in chapters:
            yield f"{name} is of no chapter"


def _unheld_attacks(book: Book) -> Iterator[str]:
    for one in book.attacks.attack:
        is_held = bool(book.tests_of("attack", one.id))
        if one.touches and not is_held:
            yield f"attack {one.id} touches {', '.join(one.touches)} and has no test"
        if not one.touches and not one.waits:
            yield f"attack {one.id} touches nothing that is built and waits for nothing"


def _lost_documents(book: Book) -> Iterator[str]:
    for one in book.asvs.requirement:
        for link in one.documents:
            if not _leads_somewhere(link):
                yield f"{one.id} is said to be held by {link}, which is not there"


def _leads_somewhere(link: str) -> bool:
    place, _, anchor = link.partition("#")
    path = FOLDER / place
    if not path.is_file():
        return False
    return not anchor or anchor in map(_slug, _HEADING.findall(path.read_text(encoding="utf-8")))


def _slug(heading: str) -> str:
    """Return the anchor that a heading of a page is given."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _key(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("."))


class Tally(msgspec.Struct):
    """How many requirements are held by what; ``partly`` of the first two have a rest."""

    tests: int = 0
    documents: int = 0
    inapplicable: int = 0
    still_open: int = 0
    partly: int = 0

    def row(self) -> str:
        """Return the numbers as cells of a table."""
        total = self.tests + self.documents + self.inapplicable + self.still_open
        cells = (total, self.tests, self.documents, self.inapplicable, self.still_open, self.partly)
        return " | ".join(map(str, cells))


def tally(book: Book, chapter: int | None = None) -> Tally:
    """Count the requirements of a chapter, or of all."""
    numbers = Tally()
    for one in book.asvs.requirement:
        if chapter not in {None, _key(one.id)[0]}:
            continue
        if book.tests_of("asvs", one.id):
            numbers.tests += 1
        elif one.documents:
            numbers.documents += 1
        else:
            numbers.still_open += 1
            continue
        numbers.partly += one.remains is not None
    for group in book.asvs.inapplicable:
        numbers.inapplicable += sum(chapter in {None, _key(name)[0]} for name in group.ids)
    return numbers


_ASVS_HEAD: Final = """\
# OWASP ASVS 5.0, level 2

Written by `{command}` from the markers of the tests and from
`tests/security_asvs.toml`; do not edit this page. All requirements of levels 1 and 2 are here, in
our words, and those of level 3 that a wallet should hold as well; they are cited as
`v5.0.0-6.5.1`, and OWASP has the text.

**{tests} held by test, {documents} by document, {inapplicable} not applicable, {still_open} open.**
What is held in part says what is missing behind "open". A test is written here as the sentence that
its name is: *every code is good once* is `test_every_code_is_good_once`.

| chapter | requirements | by test | by document | not applicable | open | held in part |
| --- | --- | --- | --- | --- | --- | --- |
"""

_ATTACKS_HEAD: Final = """\
# Attacks, and the tests that hold them

Written by `{command}` from the markers of the tests and from
`tests/security_attacks.toml`; do not edit this page. An attack that touches what is built has a
test, or the build fails. A test is written here as the sentence that its name is.

**{held} of {all} attacks are held by {tests} tests; {waiting} wait for a later feature.**

| # | attack | what we do about it | tests |
| --- | --- | --- | --- |
"""


def render_asvs(book: Book) -> str:
    """Return the page of requirements."""
    total = tally(book)
    head = _ASVS_HEAD.format(
        command=COMMAND,
        **{name: getattr(total, name) for name in Tally.__struct_fields__},
    )
    counts = [
        f"| V{chapter.number} {chapter.name} | {tally(book, chapter.number).row()} |\n"
        for chapter in book.asvs.chapter
    ]
    pages = [_render_chapter(book, chapter) for chapter in book.asvs.chapter]
    return "".join((head, *counts, f"| **all** | {total.row()} |\n", *pages))


def _render_chapter(book: Book, chapter: Chapter) -> str:
    rows = {
        _key(one.id): f"| {one.id} | {one.level} | {one.what} | {_held_by(book, one)} |\n"
        for one in book.asvs.requirement
    } | {
        _key(one.ids[0]): f"| {_ids(one.ids)} | {one.level} | {one.what} | n/a: {one.because} |\n"
        for one in book.asvs.inapplicable
    }
    head = f"\n## V{chapter.number} {chapter.name}\n\n"
    columns = "| requirement | level | what | held by |\n| --- | --- | --- | --- |\n"
    own = [rows[key] for key in sorted(rows) if key[0] == chapter.number]
    return "".join((head, columns, *own))


def _held_by(book: Book, one: Requirement) -> str:
    parts = [*_tests(book.tests_of("asvs", one.id)), *map(_link, one.documents)]
    if one.remains:
        parts.append(f"**open**: {one.remains}")
    return "<br>".join(parts)


def _ids(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _link(link: str) -> str:
    place, _, anchor = link.partition("#")
    name = anchor.replace("-", " ") if anchor else Path(place).name
    return f"[{name}]({link})"


def _tests(marks: Iterable[Mark]) -> Iterator[str]:
    """Yield a line for each file: its tests as the sentences that their names are."""
    for path, group in groupby(sorted(marks), key=lambda mark: mark.path):
        sentences = "; ".join(mark.test.removeprefix("test_").replace("_", " ") for mark in group)
        yield f"[{path.removeprefix('tests/').removesuffix('.py')}](../../{path}): {sentences}"


def render_attacks(book: Book) -> str:
    """Return the page of attacks: a table, what waits, and the tests of each."""
    all_of_them = book.attacks.attack
    held = [one for one in all_of_them if book.tests_of("attack", one.id)]
    tests = {(mark.path, mark.test) for mark in book.marks if mark.kind == "attack"}
    head = _ATTACKS_HEAD.format(
        command=COMMAND,
        all=len(all_of_them),
        held=len(held),
        tests=len(tests),
        waiting=len(all_of_them) - len(held),
    )
    rows = [
        f"| {one.id} | {one.name} | {one.control} | {_count(book, one)} |\n" for one in all_of_them
    ]
    waiting = [one for one in all_of_them if one not in held]
    partly = [one for one in held if one.waits]
    return "".join(
        (
            head,
            *rows,
            *_waiting("Wait for a later feature", waiting),
            *_waiting("Held as far as there is something to hold", partly),
            *(_render_attack(book, one) for one in held),
        )
    )


def _count(book: Book, one: Attack) -> str:
    return str(len(book.tests_of("attack", one.id)) or "–")


def _render_attack(book: Book, one: Attack) -> str:
    lines = [f"- {line}\n" for line in _tests(book.tests_of("attack", one.id))]
    return "".join((f"\n## {one.id}: {one.name}\n\n", *lines))


def _waiting(title: str, attacks: Iterable[Attack]) -> Iterator[str]:
    yield f"\n## {title}\n\n| # | attack | waits for |\n| --- | --- | --- |\n"
    for one in attacks:
        yield f"| {one.id} | {one.name} | {one.waits} |\n"


def summary(book: Book) -> str:
    """Return the numbers in one line."""
    total = tally(book)
    return (
        f"ASVS 5.0: {total.tests} by test, {total.documents} by document,"
        f" {total.inapplicable} not applicable, {total.still_open} open"
    )


def main() -> int:
    """Write the pages, or say what is wrong; return the exit status."""
    book = read_book()
    faults = faults_of(book)
    if faults:
        sys.stderr.write("".join(f"{fault}\n" for fault in faults))
        return 1
    ASVS_PAGE.write_text(render_asvs(book), encoding="utf-8")
    ATTACKS_PAGE.write_text(render_attacks(book), encoding="utf-8")
    sys.stdout.write(f"{summary(book)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
