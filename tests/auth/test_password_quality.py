"""What makes a password good enough: length, not leaked, not obvious; never its composition."""

import hashlib
import unicodedata
from itertools import pairwise
from pathlib import Path
from time import thread_time

import pytest

from wallet.auth.password_quality import BreachList, Owner, judge, normalised
from wallet.core.refusals import Refusal

ALONE = Owner(known=(), second_factor=False)
BESIDE_ANOTHER = Owner(known=(), second_factor=True)
HANAKO = Owner(
    known=("Tanaka Hanako", "田中花子", "hanako.tanaka@example.jp", "090-1234-5678", "1980-05-03"),
    second_factor=True,
)


def code_of(refusal: Refusal | None) -> str | None:
    """Return what is wrong in a word."""
    return None if refusal is None else refusal.code


@pytest.mark.asvs("v5.0.0-6.2.1")
@pytest.mark.parametrize(
    ("password", "owner", "expected"),
    [
        ("kq8#vLw2", BESIDE_ANOTHER, None),
        ("kq8#vLw", BESIDE_ANOTHER, "password_too_short"),
        ("kq8#vLw2xT!m5zR", ALONE, None),
        ("kq8#vLw2xT!m5z", ALONE, "password_too_short"),
        ("", ALONE, "password_too_short"),
    ],
)
def test_fifteen_characters_or_eight_beside_another_factor(
    password: str, owner: Owner, expected: str | None
) -> None:
    assert code_of(judge(password, owner=owner, breached=None)) == expected


@pytest.mark.asvs("v5.0.0-6.2.5")
@pytest.mark.parametrize(
    "password",
    [
        "kuroneko yamato no sora",
        "nine brown herons wading",
        "春はあけぼのやうやう白くなりゆく山ぎは",
        "48205117396620594",
        "____quxblorf____zhem",
        "🦊🌸🚲🍙🎏🏯🐢🎐🍵🌊🎋🪁🍡🎎🪭",
    ],
)
def test_no_composition_is_asked_for(password: str) -> None:
    assert judge(password, owner=ALONE, breached=None) is None


@pytest.mark.asvs("v5.0.0-6.2.4")
@pytest.mark.parametrize(
    "password",
    [
        "password123456789", "qwertyuiopasdfgh", "aaaaaaaaaaaaaaaaaaaa", "abcdefghijklmnop",
        "1234567890123456", "P@ssw0rd!P@ssw0rd!", "passwordpassword", "iloveyouiloveyou",
        "19800503198005031980",
    ],
)  # fmt: skip
def test_what_everybody_tries_first_is_refused(password: str) -> None:
    assert code_of(judge(password, owner=ALONE, breached=None)) == "password_guessable"


@pytest.mark.asvs("v5.0.0-6.2.11")
@pytest.mark.parametrize(
    "password",
    [
        "tanaka-hanako-1980", "T4naka_H@nako!xy", "田中花子田中花子", "090-1234-5678",
        "09012345678", "hanako.tanaka@example.jp", "HANAKO19800503",
        "City Wallet wallet", "ウォレットウォレット",
    ],
)  # fmt: skip
def test_words_about_the_owner_and_the_service_do_not_count(password: str) -> None:
    assert code_of(judge(password, owner=HANAKO, breached=None)) == "password_guessable"


def test_a_word_about_the_owner_beside_enough_else_is_allowed() -> None:
    password = "hanako rows nine herons"
    assert judge(password, owner=HANAKO, breached=None) is None


def test_what_is_known_of_one_owner_is_forgotten_before_the_next() -> None:
    secret = Owner(known=("zhemblorfqux", "quxzhemblorf"), second_factor=True)
    assert judge("nine brown herons", owner=secret, breached=None) is None
    assert judge("zhemblorfquxquxzhemblorf", owner=secret, breached=None) is not None
    assert judge("zhemblorfquxquxzhemblorf", owner=BESIDE_ANOTHER, breached=None) is None


@pytest.mark.parametrize(
    "password",
    [
        "4@8({[<3691!|70$5+%2" * 6 + "12345678",
        "4836917052@!$" * 9,
        "[({<4@831!|7" * 10,
        "a1@b2!c3$d4" * 11,
        "1" * 128,
    ],
)
def test_a_password_made_to_take_long_takes_no_time_to_judge(password: str) -> None:
    began_s = thread_time()
    judge(password, owner=ALONE, breached=None)
    assert thread_time() - began_s < 0.5


@pytest.mark.asvs("v5.0.0-6.2.9")
def test_128_characters_are_taken_and_one_more_is_not() -> None:
    assert normalised("長" * 128) == "長" * 128
    assert normalised("長" * 129) is None


def test_the_same_keys_give_the_same_password_on_every_phone() -> None:
    composed, decomposed = "がぎぐげご パスワードのうた", "か\u3099き\u3099く\u3099け\u3099こ\u3099"
    assert normalised(unicodedata.normalize("NFD", composed)) == composed
    assert normalised(decomposed) == "がぎぐげご"
    assert normalised("ｗｉｄｅ　１２３") == "wide 123"


def test_a_password_that_grows_beyond_the_limit_in_its_normal_form_is_not_taken() -> None:
    assert normalised("\ufdfa" * 8) is None


def test_half_a_character_is_no_password() -> None:
    assert normalised("abc\ud83d") is None


@pytest.fixture
def breached(tmp_path: Path) -> BreachList:
    """Return a list of 2,000 leaked passwords in the form of the Pwned Passwords download."""
    hashes = sorted(hashlib.sha1(f"leaked {n}".encode()).hexdigest().upper() for n in range(2_000))  # noqa: S324 - the list's own form
    lines = [f"{hashed}:{n % 977 + 1}" for n, hashed in enumerate(hashes)]
    path = tmp_path / "pwned.txt"
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())
    return BreachList(path)


@pytest.mark.asvs("v5.0.0-6.2.12")
def test_every_leaked_password_is_found_and_no_other(breached: BreachList) -> None:
    assert all(f"leaked {n}" in breached for n in range(2_000))
    assert not any(f"not leaked {n}" in breached for n in range(500))


@pytest.mark.asvs("v5.0.0-6.2.12")
def test_a_leaked_password_is_refused_however_long_it_is(tmp_path: Path) -> None:
    password = "nine brown herons wading"
    hashed = hashlib.sha1(password.encode()).hexdigest().upper()  # noqa: S324 - the list's own form
    path = tmp_path / "one.txt"
    path.write_text(f"{hashed}:3\n")
    answer = judge(password, owner=ALONE, breached=BreachList(path))
    assert code_of(answer) == "password_leaked"


@pytest.mark.parametrize("content", ["", "password\n", "5BAA61E4C9B93F3F:3\n"])
def test_a_file_that_is_no_such_list_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match="SHA-1:count"):
        BreachList(path)


@pytest.mark.asvs("v5.0.0-16.5.3")
def test_a_list_that_has_gone_away_lets_no_password_through(
    breached: BreachList, tmp_path: Path
) -> None:
    (tmp_path / "pwned.txt").unlink()
    with pytest.raises(FileNotFoundError):
        judge("nine brown herons wading", owner=ALONE, breached=breached)


def test_lengths_of_lines_differ_in_the_list(breached: BreachList, tmp_path: Path) -> None:
    lengths = [len(line) for line in (tmp_path / "pwned.txt").read_bytes().splitlines()]
    assert any(one != other for one, other in pairwise(lengths))
    assert "leaked 0" in breached
