"""What a draw takes: a campaign's units dealt out among its applications, and checked by anybody.

The lots are drawn twice, which must give the same bytes, and a third time by the script that the
city ships, from the files alone. The yardstick, in the same run, is hashing alone: one SHA-256 for
each entry, which no draw of this kind can do without.

    python -m bench.draw [--quick]
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from wallet.vouchers.lottery import (
    FORMAT,
    Entry,
    commitment_of,
    draw_lots,
    entry_of,
    hash_of,
    key_of,
    list_text,
    listed,
    result_text,
)

SECONDS_TARGET: Final = 20.0
APPLICATIONS: Final = 300_000
UNITS: Final[Mapping[str, int]] = {"general": 350_000, "silver": 100_000, "child": 100_000}
"""Three frames of 550,000 sets in all, as in the campaign that `demo/` plays."""

QUICK_APPLICATIONS: Final = 3_000
QUICK_UNITS: Final[Mapping[str, int]] = {"general": 3_500, "silver": 1_000, "child": 1_000}

SALT: Final = bytes(range(16))
SEED: Final = bytes(range(32))
VALUE: Final = "38,123.45"
ASKS_MAX: Final = 10

SCRIPT: Final = Path(__file__).parents[1] / "scripts" / "verify_draw.py"


def make_entries(count: int) -> list[Entry]:
    """Return applications spread over the frames as their units are, for 1 to 10 units each."""
    rng = random.Random(20_261_125)  # noqa: S311 - the same every time
    frames, weights = list(UNITS), list(UNITS.values())
    return [
        Entry(frame, entry_of(UUID(int=number), salt=SALT), rng.randint(1, ASKS_MAX))
        for number, frame in enumerate(rng.choices(frames, weights, k=count))
    ]


def draw_once(entries: list[Entry], units: Mapping[str, int]) -> tuple[str, str]:
    """Return the list and the result of a whole draw, from unsorted entries to text."""
    listing = list_text(listed(entries))
    key = key_of(seed=SEED, list_hash=hash_of(listing), public_value=VALUE)
    return listing, result_text(draw_lots(entries, units=units, key=key))


def measure_draw(*, applications: int, units: Mapping[str, int]) -> dict[str, Any]:
    """Draw, draw again, have it verified, and return the times in seconds."""
    entries = make_entries(applications)
    started_at = time.perf_counter()
    listing, result = draw_once(entries, units)
    draw_s = time.perf_counter() - started_at
    again = draw_once(list(reversed(entries)), units)
    started_at = time.perf_counter()
    for entry in entries:
        hashlib.sha256(SEED + entry.entry).digest()
    hash_s = time.perf_counter() - started_at
    started_at = time.perf_counter()
    verified = _verify(listing, result, units)
    return {
        "benchmark": "draw",
        "applications": applications,
        "units": sum(units.values()),
        "draw_s": round(draw_s, 3),
        "draw_over_hashing": round(draw_s / hash_s, 1),
        "verify_s": round(time.perf_counter() - started_at, 3),
        "same_bytes": again == (listing, result),
        "verified": verified,
        "target_s": SECONDS_TARGET,
        "reached": draw_s <= SECONDS_TARGET and again == (listing, result) and verified,
    }


def _verify(listing: str, result: str, units: Mapping[str, int]) -> bool:
    document = {
        "format": FORMAT,
        "round": 1,
        "salt": SALT.hex(),
        "commitment": commitment_of(SEED).hex(),
        "seed": SEED.hex(),
        "public_value": VALUE,
        "units": dict(units),
        "list_sha256": hash_of(listing).hex(),
        "result_sha256": hash_of(result).hex(),
        **{f"{one}_at": "2026-11-25" for one in
           ("committed", "listed", "public_value", "revealed")},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="draw-") as directory:
        for name, content in {
            "draw.json": json.dumps(document),
            "list.csv": listing,
            "result.csv": result,
        }.items():
            Path(directory, name).write_text(content, encoding="utf-8")
        command = [sys.executable, "-I", str(SCRIPT), directory]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 - our own script


def main() -> int:
    """Measure, and print one line of JSON at the end."""
    parser = argparse.ArgumentParser(description="Measure a draw.")
    parser.add_argument("--quick", action="store_true", help="a hundredth of it")
    quick = parser.parse_args().quick
    found = measure_draw(
        applications=QUICK_APPLICATIONS if quick else APPLICATIONS,
        units=QUICK_UNITS if quick else UNITS,
    )
    print(
        f"{found['units']:,} units among {found['applications']:,} applications:"
        f" drawn in {found['draw_s']} s, recomputed from the files in {found['verify_s']} s"
    )
    print(json.dumps(found))
    return 0 if found["reached"] else 1


if __name__ == "__main__":
    sys.exit(main())
