"""The scrubber: no secret and nothing personal leaves in a log or is kept in the audit trail.

It is the second line of defence. Nothing here should ever be asked to write such a thing; what
does, by mistake or in the message of somebody else's exception, leaves as a mark in its place.
Names and postal addresses have no form to be known by, so no scrubber finds them.
"""

import logging
import re
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NamedTuple, TextIO

from wallet.core.my_number import TWELVE_DIGITS, is_my_number

LOG_FORMAT: Final = "%(levelname)s %(name)s: %(message)s"

# Each one-to-one, so that what is found can be cut out of the text as it was written.
_PLAIN: Final = str.maketrans(
    {code + 0xFEE0: code for code in range(0x21, 0x7F)}
    | {"　": " ", "\u00a0": " "}
    | dict.fromkeys("ー−‐‑‒–—―﹣", "-")
)

_BASE32: Final = "[a-z2-7]{20,64}"
_WORD: Final = "0-9A-Za-z"

# What is named first wins where two begin at the same place. ``id`` is for public ids and digests,
# which are names and no secrets, and whose digits mean nothing. Every repetition is bounded, so
# the time is linear in the text.
_FINDS: Final = re.compile(
    rf"""
    (?P<id> (?<![{_WORD}]) (?:
        [a-z]{{2,4}}_[0-9a-f]{{32}} (?![{_WORD}_])
        | [0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}} (?![{_WORD}])
        | (?=[0-9]{{0,63}}[a-f]) [0-9a-f]{{16,128}} (?![{_WORD}])
    ))
    | (?P<secret>
        (?<![{_WORD}]) sk_(?:test|live)_{_BASE32}
        | (?<![{_WORD}]) (?:code|card|claim|enrol|help|invite)_{_BASE32}
        | (?<![{_WORD}]) (?:at|rt)_[0-9a-f]{{32}}_[0-9]{{1,9}}_[0-9A-Za-z_-]{{8,64}}
        | (?i:\b(?:bearer|dpop|basic)\ {{1,8}}) [0-9A-Za-z._~+/=-]{{16,4096}}
        | otpauth://[!#-&(-;=?-~]{{1,2048}}
        | (?<![{_WORD}]) [A-Z2-7]{{32}} (?![{_WORD}])
        | (?<![{_WORD}-]) [0-9A-HJKMNP-TV-Z]{{4}} (?: -[0-9A-HJKMNP-TV-Z]{{4}} ){{5}} (?![{_WORD}-])
        | (?<![{_WORD}_.-]) eyJ[0-9A-Za-z_-]{{8,4096}} (?: \.[0-9A-Za-z_-]{{0,4096}} ){{2}}
        | -----BEGIN\ [A-Z\ ]{{0,32}}PRIVATE\ KEY----- (?s:.{{0,8192}}?)
          (?: -----END[A-Z\ ]{{0,40}}----- | \Z )
        | (?<=://) [^\s/:@]{{0,128}}:[^\s/@]{{1,256}}(?=@)
    )
    | (?P<email> (?<![{_WORD}._%+-])
        [{_WORD}.!\#$%&*+/=?^_`{{|}}~-]{{1,64}}@[{_WORD}][{_WORD}.-]{{0,252}}\.[A-Za-z]{{2,63}} )
    | (?P<phone>
        \+[1-9](?:[\ ()-]{{0,2}}[0-9]){{6,14}} (?![0-9])
        | (?<![0-9+]) (?<![0-9]\.) \(?0[1-9](?:[\ ()-]{{0,2}}[0-9]){{8,9}} (?![0-9])
    )
    | (?P<number> {TWELVE_DIGITS} )
    """,
    re.VERBOSE,
)

_MARKS: Final = {
    "secret": "[secret]",
    "email": "[e-mail]",
    "number": "[number]",
    "phone": "[phone]",
}


_ESCAPES: Final = str.maketrans(
    {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != ord("\t")}
    | {"\n": "\\n", "\r": "\\r", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


class _Find(NamedTuple):
    """Something to be masked, by its place in the text."""

    kind: str
    start: int
    end: int


def scrub(text: str) -> str:
    """Return ``text`` with a mark in the place of everything that must not be kept.

    Masked are My Numbers (by their check digit), e-mail addresses, telephone numbers, and our
    secrets: API keys, codes, card values, tokens, seeds of one-time codes, recovery codes, private
    keys, and the password in a URL. Ids of ours stay.
    """
    pieces: list[str] = []
    done = 0
    for find in _find(text):
        pieces += text[done : find.start], _MARKS[find.kind]
        done = find.end
    return "".join((*pieces, text[done:])) if pieces else text


def contains_personal(text: str) -> bool:
    """Whether there is anything in ``text`` that :func:`scrub` would mask."""
    return next(_find(text), None) is not None


def _find(text: str) -> Iterator[_Find]:
    plain = text.translate(_PLAIN)
    place = 0
    while found := _FINDS.search(plain, place):
        kind = str(found.lastgroup)
        start, end = found.span()
        if kind == "number":  # The digits are looked ahead at, for they may be no number.
            start, end = found.span(found.re.groupindex["number"] + 1)
            if not is_my_number(plain[start:end]):
                place = start + 1
                continue
        place = max(end, place + 1)
        if kind != "id":
            yield _Find(kind, start, end)


class ScrubbingFilter(logging.Filter):
    """Scrubs what a handler is about to write: the message, the traceback, the stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the scrubbed text in the record's place, and let it pass.

        A message is one line, whatever is quoted in it, so that nobody can write a line of theirs.
        """
        record.msg, record.args = scrub(record.getMessage()).translate(_ESCAPES), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        return True


def begin_logging(stream: TextIO | None = None) -> None:
    """Have the whole process log warnings and worse to ``stream`` (standard error), scrubbed.

    Every logger's lines come to this one handler, and so does the error that ends the process.
    Whoever brings handlers of its own, as a server does, must be told to leave that.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.addFilter(ScrubbingFilter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    sys.excepthook = _log_the_last_error


def _log_the_last_error(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("wallet").critical("ended by an error", exc_info=(kind, error, traceback))
