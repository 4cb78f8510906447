"""Whether a new password will do: long, not known to have leaked, not about its owner.

No rule asks for digits or signs: they make passwords predictable, and NIST SP 800-63B-4 section
3.1.1.2 forbids them. Length, guessability (zxcvbn) and lists of leaked passwords take their place.
"""

import hashlib
import re
import unicodedata
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

import msgspec
from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # Nor is its stub package locked.
from zxcvbn.matching import RANKED_DICTIONARIES  # type: ignore[import-untyped]  # As above.

from wallet.core.refusals import Refusal

CHARACTERS_MIN: Final = 15
CHARACTERS_MIN_WITH_SECOND_FACTOR: Final = 8
CHARACTERS_MAX: Final = 128

GUESSES_MIN: Final = 10**8
"""zxcvbn's score 3. At the cost of a hash, that many guesses take 20 days of a core."""

_SERVICE_WORDS: Final = ("wallet", "voucher", "ウォレット", "商品券", "市役所")
_WORD_CHARACTERS_MIN: Final = 3
_LOOKS: Final = str.maketrans("@430157!|$+89", "aaeoistiistbg")

# zxcvbn tries every reading of a text full of signs that look like letters: 24 of them cost it
# half a second, 120 five seconds. It sees this many characters, and no more kinds of such signs.
_JUDGED_CHARACTERS: Final = 48
_SIGNS: Final = re.compile(r"[@({\[<!|$+%]")
_KINDS_OF_SIGNS_MAX: Final = 3

_SHA1_DIGITS: Final = 40

_one_at_a_time = Lock()


class Owner(msgspec.Struct, frozen=True):
    """Whose password it is to be.

    ``known`` is what others know of them: names, address, phone, date of birth. With a
    ``second_factor`` the password never signs in alone, and a shorter one is enough.
    """

    known: tuple[str, ...]
    second_factor: bool


class BreachList:
    """The operator's copy of Pwned Passwords: lines ``SHA-1:count`` in order, as downloaded.

    A look-up reads some forty lines of a file that may have a thousand million.
    """

    def __init__(self, path: Path) -> None:
        """Raise OSError or ValueError when it is not such a file: better now than never."""
        self._path = path
        with path.open("rb") as file:
            if not re.match(rb"[0-9A-F]{40}:[0-9]+\r?\n", file.readline()):
                message = f"{path} does not begin with a line SHA-1:count in capital letters"
                raise ValueError(message)

    def __contains__(self, password: str) -> bool:
        hashed = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest()
        needle = hashed.upper().encode()
        with self._path.open("rb") as file:
            low, high = 0, file.seek(0, 2)
            while low < high:
                middle = (low + high) // 2
                line = _line_from(file, middle)
                if not line or line[:_SHA1_DIGITS] >= needle:
                    high = middle
                else:
                    low = middle + 1
            return _line_from(file, low)[:_SHA1_DIGITS] == needle


def normalised(password: str) -> str | None:
    """Return the form that is hashed, None when nobody's password can look like that.

    NFKC, so that the same keys give the same password on every phone and keyboard (NIST SP
    800-63B-4 section 3.1.1.2). At most :data:`CHARACTERS_MAX` code points go in and come out.
    """
    if len(password) > CHARACTERS_MAX:
        return None
    normal = unicodedata.normalize("NFKC", password)
    if len(normal) > CHARACTERS_MAX or any(unicodedata.category(c) == "Cs" for c in normal):
        return None
    return normal


def judge(password: str, *, owner: Owner, breached: BreachList | None) -> Refusal | None:
    """Return why a normalised password will not do, None when it will.

    Takes milliseconds: not for the event loop.
    """
    least = CHARACTERS_MIN_WITH_SECOND_FACTOR if owner.second_factor else CHARACTERS_MIN
    if len(password) < least:
        return Refusal("password_too_short", {"characters_min": least})
    if breached is not None and password in breached:
        return Refusal("password_leaked")
    if _is_about_its_owner(password, owner) or _guesses(password, owner) < GUESSES_MIN:
        return Refusal("password_guessable")
    return None


def _is_about_its_owner(password: str, owner: Owner) -> bool:
    """Whether little of a password is left without words that anybody would try first."""
    whole = _folded(password)
    rest = whole
    for word in sorted(_words(owner), key=len, reverse=True):
        rest = rest.replace(word, "")
    return rest != whole and len(re.sub(r"\W", "", rest)) < CHARACTERS_MIN_WITH_SECOND_FACTOR


def _words(owner: Owner) -> set[str]:
    texts = (*owner.known, *_SERVICE_WORDS)
    parts = {part for text in texts for part in re.split(r"[\W_]+", text)}
    folded = {_folded(part) for part in parts}
    return {word for word in folded if len(word) >= (_WORD_CHARACTERS_MIN if word.isascii() else 2)}


def _folded(text: str) -> str:
    """Return ``text`` in small letters, signs and digits read as the letters they look like."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_LOOKS)


def _guesses(password: str, owner: Owner) -> int:
    """Return how many guesses zxcvbn thinks it takes; the beginning stands for the whole."""
    kinds = list(dict.fromkeys(_SIGNS.findall(password)))
    shown = password[:_JUDGED_CHARACTERS].translate(
        {ord(sign): "~" for sign in kinds[_KINDS_OF_SIGNS_MAX:]}
    )
    with _one_at_a_time:  # It puts the words into a global of its own,
        found = zxcvbn(shown, user_inputs=[*owner.known, *_SERVICE_WORDS])
        del RANKED_DICTIONARIES["user_inputs"]  # and would leave them there.
    return int(found["guesses"])


def _line_from(file: BinaryIO, position: int) -> bytes:
    """Return the first line that begins at ``position`` or later, empty after the last one."""
    file.seek(max(position - 1, 0))
    if position:
        file.readline()
    return file.readline()
