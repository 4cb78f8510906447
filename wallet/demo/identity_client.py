"""How the demonstration city is registered with its made-up identity app."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joserfc.jwk import ECKey

from wallet.people.identity_app import read_key

CLIENT_ID: Final = "RP00000001"
REDIRECT_URL: Final = "city-wallet:/identity"
"""Leads back into the app on the phone."""


def client_key(path: Path) -> ECKey:
    """Return the city's key, made on first use in a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_key(path)
    with os.fdopen(descriptor, "wb") as file:
        file.write(ECKey.generate_key("P-256").as_pem(private=True))
    return read_key(path)


def settings_of(*, issuer: str, key_path: Path) -> Mapping[str, str]:
    """Return the environment in which a plane knows the identity app at ``issuer``."""
    return {
        "WALLET_IDENTITY_ISSUER": issuer,
        "WALLET_IDENTITY_CLIENT_ID": CLIENT_ID,
        "WALLET_IDENTITY_KEY": str(key_path.resolve()),
        "WALLET_IDENTITY_REDIRECT_URL": REDIRECT_URL,
    }
