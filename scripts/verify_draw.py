#!/usr/bin/env python3
"""Recompute a draw of voucher units from what the city has published; Python 3.10 alone.

    python3 verify_draw.py DIRECTORY [--application app_...]

The directory holds the three published files: ``draw.json`` (the seed, the public value, how many
units there were, and the hashes of the other two), ``list.csv`` (who took part, by salted hashes)
and ``result.csv``. Whoever has kept the commitment and the list's hash from the days before the
draw should compare them with those in ``draw.json``: that is what makes the draw fair.

With the id of an application it also says what became of that one. Exit status 0: all is as it
must be; 1: it is not, and every fault is named; 2: the files cannot be read.
"""

import argparse
import csv
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

FORMAT = "wallet-draw/1"


def say(sentence: str) -> None:
    """Print a line."""
    sys.stdout.write(sentence + "\n")


def sha256(data: bytes) -> str:
    """Return the hash in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_rows(data: bytes, header: list[str]) -> list[list[str]]:
    """Return the rows below the header, which must be there; each as text, as it stands."""
    rows = list(csv.reader(data.decode("ascii").splitlines()))
    if not rows or rows[0] != header:
        raise ValueError("a file does not begin with " + ",".join(header))
    return rows[1:]


def deal(asked: list[int], units: int) -> list[int]:
    """Deal units out one by one, round after round, to those who still want one."""
    shares = [0] * len(asked)
    wanting = [place for place, wanted in enumerate(asked) if wanted > 0]
    while wanting and units > 0:
        still = []
        for place in wanting:
            if units == 0:
                break
            shares[place] += 1
            units -= 1
            if shares[place] < asked[place]:
                still.append(place)
        wanting = still
    return shares


def recompute(draw: dict[str, Any], rows: list[list[str]]) -> list[list[str]]:
    """Return the result that follows from the draw's values and the list."""
    key = hashlib.sha256(
        f"{FORMAT} key\n".encode()
        + bytes.fromhex(draw["seed"])
        + bytes.fromhex(draw["list_sha256"])
        + draw["public_value"].encode()
    ).digest()
    result = []
    for frame in sorted({row[0] for row in rows}):
        ones = sorted(row for row in rows if row[0] == frame)
        ranking = sorted(ones, key=lambda row: hashlib.sha256(key + bytes.fromhex(row[1])).digest())
        shares = deal([int(row[2]) for row in ranking], draw["units"].get(frame, 0))
        won = {row[1]: share for row, share in zip(ranking, shares, strict=True)}
        result += [[*row, str(won[row[1]])] for row in ones]
    return result


def find_faults(draw: dict[str, Any], listing: bytes, result: bytes) -> list[str]:
    """Return what is wrong, one sentence for each fault."""
    rows = read_rows(listing, ["frame", "entry", "units_asked"])
    published = read_rows(result, ["frame", "entry", "units_asked", "units_won"])
    moments = [draw[f"{name}_at"] for name in ("committed", "listed", "public_value", "revealed")]
    holds = {
        f"draw.json is not in the format {FORMAT}.": draw["format"] == FORMAT,
        "The seed is not the one that was committed to.": sha256(bytes.fromhex(draw["seed"]))
        == draw["commitment"],
        "The steps were not taken in their order.": moments == sorted(moments),
        "list.csv is not the list that was published.": sha256(listing) == draw["list_sha256"],
        "result.csv is not the published result.": sha256(result) == draw["result_sha256"],
        "An entry is listed twice.": len({row[1] for row in rows}) == len(rows),
        "The result does not follow from seed, value and list.": recompute(draw, rows) == published,
    }
    return [sentence for sentence, is_so in holds.items() if not is_so]


def find_application(draw: dict[str, Any], result: bytes, application: str) -> str:
    """Return in words what became of an application."""
    entry = sha256(f"{FORMAT} entry\n{draw['salt']}\n{application}".encode())
    for row in read_rows(result, ["frame", "entry", "units_asked", "units_won"]):
        if row[1] == entry:
            return f"{application}: frame {row[0]}, asked for {row[2]}, won {row[3]}."
    return f"{application}: is not in the list."


def main() -> int:
    """Check the files of the directory and say what was found."""
    parser = argparse.ArgumentParser(description="Recompute a published draw.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--application", help="say what became of this one")
    asked = parser.parse_args()
    try:
        draw = json.loads((asked.directory / "draw.json").read_text(encoding="utf-8"))
        listing = (asked.directory / "list.csv").read_bytes()
        result = (asked.directory / "result.csv").read_bytes()
        faults = find_faults(draw, listing, result)
        if asked.application:
            say(find_application(draw, result, asked.application))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        sys.stderr.write(f"The files cannot be read: {error!r}.\n")
        return 2
    for fault in faults:
        say(fault)
    if not faults:
        say(f"The draw is as it must be: list {draw['list_sha256']}, round {draw['round']}.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
