"""What the demonstration must be able to say again: a key and a card, in a file of the owner.

Only in test mode. Anywhere else such values are told once and never kept.
"""

import os
from pathlib import Path

import msgspec


class DemoSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """The demonstration merchant's key and the demonstration resident's card.

    ``seed``, ``wallets`` and ``shops`` say which city they are of.
    """

    seed: int
    wallets: int
    shops: int
    merchant_id: str
    terminal_id: str
    wallet_id: str
    api_key: str
    card_number: str
    card_value: str


def read_secrets(path: Path) -> DemoSecrets | None:
    """Return what is kept, or None when there is nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=DemoSecrets)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_secrets(path: Path, secrets: DemoSecrets) -> None:
    """Keep ``secrets`` in a file that only its owner may read; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(secrets)))
    unfinished.replace(path)
