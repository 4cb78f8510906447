"""The lottery: fair, whole, the same each time, and the same by the script that we ship."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.vouchers.lottery import (
    FORMAT,
    Entry,
    Outcome,
    commitment_of,
    deal,
    draw_lots,
    entry_of,
    hash_of,
    key_of,
    list_text,
    listed,
    result_text,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_draw.py"
PINNED_LIST = "c0858dc1a8505d8de15ead977c03c57b95484417d3124cc29b479fd9923fafa9"
PINNED_RESULT = "fa1ed0170a2b1dc1736621a50ea9dea3afa4781e925aa8e8fbab52fe61dd3e65"

SALT = bytes(range(16))
SEED = bytes(range(32))
VALUE = "日経平均 38,123.45"

ASKS = st.lists(st.integers(1, 10), max_size=60)


def entries_of(asks: list[int], frame: str = "voucher") -> list[Entry]:
    """Return one entry for each ask; each frame has ids of its own."""
    first = int.from_bytes(frame.encode())
    return [
        Entry(frame, entry_of(UUID(int=first + number), salt=SALT), asked)
        for number, asked in enumerate(asks)
    ]


@given(ASKS, st.integers(0, 200))
def test_everybody_gets_a_unit_before_anybody_gets_another(asks: list[int], units: int) -> None:
    shares = deal(asks, units=units)
    assert sum(shares) == min(units, sum(asks))
    assert all(0 <= share <= asked for share, asked in zip(shares, asks, strict=True))
    # Whoever has less than they asked for is at most one unit behind the luckiest.
    short = [share for share, asked in zip(shares, asks, strict=True) if share < asked]
    assert not short or max(shares) - min(short) <= 1


@given(ASKS, st.integers(0, 200))
def test_who_comes_first_in_the_ranking_is_never_worse_off(asks: list[int], units: int) -> None:
    shares = deal(asks, units=units)
    for first in range(len(asks)):
        for second in range(first + 1, len(asks)):
            assert shares[first] >= min(shares[second], asks[first])


@given(ASKS, st.integers(0, 200), st.randoms())
def test_the_order_in_which_applications_came_changes_nothing(
    asks: list[int],
    units: int,
    shuffler: Any,  # noqa: ANN401 - Hypothesis's own generator
) -> None:
    entries = entries_of(asks)
    drawn = draw_lots(entries, units={"voucher": units}, key=SEED)
    shuffler.shuffle(entries)
    assert draw_lots(entries, units={"voucher": units}, key=SEED) == drawn


def test_each_frame_is_drawn_for_itself() -> None:
    entries = entries_of([2, 2], "general") + entries_of([1], "child") + entries_of([1], "none")
    drawn = draw_lots(entries, units={"general": 3, "child": 5}, key=SEED)
    won: dict[str, list[int]] = {}
    for one in drawn:
        won.setdefault(one.entry.frame, []).append(one.units_won)
    assert {frame: sorted(units) for frame, units in won.items()} == {
        "child": [1],
        "general": [1, 2],
        "none": [0],
    }


def test_every_place_in_the_ranking_is_as_likely() -> None:
    entries = entries_of([1] * 10)
    wins = dict.fromkeys((one.entry for one in entries), 0)
    for number in range(2_000):
        key = hashlib.sha256(number.to_bytes(4)).digest()
        for outcome in draw_lots(entries, units={"voucher": 3}, key=key):
            wins[outcome.entry.entry] += outcome.units_won
    # Each wins 600 times of 2,000; five standard deviations are 103.
    assert all(497 <= won <= 703 for won in wins.values()), wins


def test_seed_list_and_value_each_change_the_key() -> None:
    key = key_of(seed=SEED, list_hash=SEED, public_value=VALUE)
    other = bytes(reversed(SEED))
    assert key != key_of(seed=other, list_hash=SEED, public_value=VALUE)
    assert key != key_of(seed=SEED, list_hash=other, public_value=VALUE)
    assert key != key_of(seed=SEED, list_hash=SEED, public_value=VALUE + " ")


def test_the_same_draw_is_the_same_bytes_on_every_machine_and_for_ever() -> None:
    entries = listed(entries_of([1, 2, 3, 4, 5]))
    text = list_text(entries)
    key = key_of(seed=SEED, list_hash=hash_of(text), public_value=VALUE)
    drawn = result_text(draw_lots(entries, units={"voucher": 7}, key=key))
    assert hash_of(text).hex() == PINNED_LIST
    assert hash_of(drawn).hex() == PINNED_RESULT


def write_draw(
    directory: Path, *, asks: Mapping[str, list[int]], units: Mapping[str, int]
) -> dict[str, Any]:
    """Write the published files of a draw, and return its document."""
    entries = listed(one for frame, ones in asks.items() for one in entries_of(ones, frame))
    listing = list_text(entries)
    key = key_of(seed=SEED, list_hash=hash_of(listing), public_value=VALUE)
    result = result_text(draw_lots(entries, units=units, key=key))
    document = {
        "format": FORMAT,
        "round": 1,
        "salt": SALT.hex(),
        "commitment": commitment_of(SEED).hex(),
        "committed_at": "2026-11-25T03:00:00.000Z",
        "listed_at": "2026-11-26T03:00:00.000Z",
        "public_value_at": "2026-11-27T03:00:00.000Z",
        "revealed_at": "2026-11-27T03:00:00.000Z",
        "public_value": VALUE,
        "seed": SEED.hex(),
        "units": dict(units),
        "list_sha256": hash_of(listing).hex(),
        "result_sha256": hash_of(result).hex(),
    }
    files = {"draw.json": json.dumps(document), "list.csv": listing, "result.csv": result}
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8")
    return document


def verify(directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the script, isolated from everything of ours."""
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(directory), *more],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_finds_what_the_city_has_found(tmp_path: Path) -> None:
    asks = {"general": [10, 1, 4, 4, 2] * 40, "child": [2] * 30, "empty": []}
    write_draw(tmp_path, asks=asks, units={"general": 333, "child": 100, "empty": 5})
    name = f"app_{UUID(int=int.from_bytes(b'child')).hex}"
    run = verify(tmp_path, "--application", name)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{name}: frame child, asked for 2, won 2." in run.stdout
    unknown = verify(tmp_path, "--application", "app_nobody")
    assert "app_nobody: is not in the list." in unknown.stdout


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("seed", "00" * 32, "The seed is not the one"),
        ("public_value", "38,123.46", "The result does not follow"),
        ("units", {"general": 8}, "The result does not follow"),
        ("list_sha256", "00" * 32, "not the list that was published"),
        ("result_sha256", "00" * 32, "not the published result"),
        ("listed_at", "2026-11-27T03:00:00.001Z", "not taken in their order"),
        ("format", "wallet-draw/2", "not in the format"),
    ],
)
def test_the_script_sees_a_document_that_was_changed(
    tmp_path: Path, name: str, value: object, sentence: str
) -> None:
    document = write_draw(tmp_path, asks={"general": [3] * 9}, units={"general": 7})
    (tmp_path / "draw.json").write_text(json.dumps({**document, name: value}), encoding="utf-8")
    run = verify(tmp_path)
    assert run.returncode == 1
    assert sentence in run.stdout


def test_the_script_sees_an_entry_that_was_let_in_twice(tmp_path: Path) -> None:
    write_draw(tmp_path, asks={"general": [3] * 9}, units={"general": 7})
    listing = tmp_path / "list.csv"
    lines = listing.read_text(encoding="ascii").splitlines(keepends=True)
    listing.write_text("".join([*lines, lines[-1]]), encoding="ascii")
    run = verify(tmp_path)
    assert run.returncode == 1
    assert "An entry is listed twice." in run.stdout


def test_the_script_says_that_files_are_missing(tmp_path: Path) -> None:
    run = verify(tmp_path)
    assert run.returncode == 2
    assert "cannot be read" in run.stderr


def test_an_outcome_is_listed_in_the_order_of_the_list() -> None:
    drawn = draw_lots(entries_of([1, 1, 1]), units={"voucher": 1}, key=SEED)
    assert [one.entry for one in drawn] == listed(one.entry for one in drawn)
    assert isinstance(drawn[0], Outcome)
