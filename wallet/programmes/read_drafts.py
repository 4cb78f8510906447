"""Read programmes from a TOML file or from JSON, with messages that a clerk can act on."""

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from wallet.core.refusals import RefusedError
from wallet.programmes.terms import ProgrammeDraft

NUMBER_MAX: Final = 10**15
"""More than any amount, and less than what some reader of JSON would round."""

_NO_TEXT: Final = frozenset({"Cc", "Cs"})
_LINE_BREAK: Final = "\n"

_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?$")

_PLAIN_WORDS: Final = (
    ("Object ", ""),
    ("`", ""),
    (r" \| null\b", ""),
    ("Invalid RFC3339 encoded date", "This is not a date like 2026-04-01"),
    (r"\bint\b", "a whole number"),
    (r"\bfloat\b", "a decimal number"),
    (r"\bstr\b", "text"),
    (r"\bbool\b", "true or false"),
    (r"\bdatetime\b", "a date with a time"),
    (r"\bExpected date\b", "Expected a date like 2026-04-01"),
    (r"\bobject\b", "a table"),
    (r"\barray\b", "a list"),
)


def read_drafts(toml: str) -> list[ProgrammeDraft]:
    """Return the ``[[programme]]`` tables of a TOML document.

    Names must be exactly those of :class:`ProgrammeDraft` and its parts, and types exactly
    theirs: a misspelt name is an error, never ignored. Raises :class:`RefusedError`
    ``programme_file_invalid`` saying which programme and which field.
    """
    return drafts_of(parse_toml(toml))


def parse_toml(toml: str) -> dict[str, Any]:
    """Return the document's tables; raises as :func:`read_drafts` does."""
    try:
        return tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise RefusedError(
            "programme_file_invalid", problem=f"This is not TOML: {error}."
        ) from None


def drafts_of(document: Mapping[str, Any]) -> list[ProgrammeDraft]:
    """Return the drafts in a parsed document; raises as :func:`read_drafts` does."""
    tables = document.get("programme")
    if not isinstance(tables, list) or not tables or set(document) != {"programme"}:
        problem = "Write one [[programme]] table for each programme, and nothing beside them."
        raise RefusedError("programme_file_invalid", problem=problem)
    return [_draft(number, table) for number, table in enumerate(tables, 1)]


def read_draft(table: Mapping[str, Any]) -> ProgrammeDraft:
    """Return the draft in an object that came as JSON.

    Raises :class:`RefusedError` ``programme_invalid`` with its ``problems``.
    """
    problems = sorted(set(_unkeepable(table)))
    if not problems:
        try:
            return msgspec.convert(table, ProgrammeDraft, strict=True)
        except msgspec.ValidationError as error:
            problems = [_sentence(str(error))]
    raise RefusedError("programme_invalid", problems=problems)


def _unkeepable(value: object) -> Iterator[str]:
    """Find what neither the database nor an answer could hold, wherever it stands."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _unkeepable(key)
            yield from _unkeepable(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _unkeepable(inner)
    elif isinstance(value, str):
        characters = (one for one in value if one != _LINE_BREAK)
        if any(unicodedata.category(one) in _NO_TEXT for one in characters):
            yield "A text holds a control character."
    elif isinstance(value, int) and not -NUMBER_MAX <= value <= NUMBER_MAX:
        yield f"A number is beyond {NUMBER_MAX:,}."


def _draft(number: int, table: object) -> ProgrammeDraft:
    try:
        return msgspec.convert(table, ProgrammeDraft, strict=True)
    except msgspec.ValidationError as error:
        code = table.get("code") if isinstance(table, dict) else None
        which = f"programme {number}" + (f" ({code})" if isinstance(code, str) else "")
        problem = f"{which}: {_sentence(str(error))}"
        raise RefusedError("programme_file_invalid", problem=problem) from None


def _sentence(message: str) -> str:
    """Turn ``Expected `int`, got `str` - at `$.frame.face_yen``` into words with the field first.

    Backquotes and a program's names for types mean nothing to the reader.
    """
    found = _AT.match(message)
    what, where = (found["what"], found["where"]) if found else (message, None)
    words = what
    for pattern, plain in _PLAIN_WORDS:
        words = re.sub(pattern, plain, words)
    return f"{where}: {words}." if where else f"{words}."
