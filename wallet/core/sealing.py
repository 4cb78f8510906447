"""Sealing: what must be read again and is kept encrypted, such as seeds of one-time codes.

AES-256-GCM under keys drawn from the pepper by HKDF-SHA256 (RFC 5869), one for each purpose, so
that a value of one table can never be opened as one of another. Whoever holds a copy of the
database, and not the pepper, holds nothing.
"""

import os
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PURPOSES_MAX: Final = 64


class BrokenSealError(Exception):
    """A sealed value was changed, moved to another row, or sealed under another pepper."""


@lru_cache(maxsize=_PURPOSES_MAX)
def derived_key(*, purpose: str, pepper: bytes) -> bytes:
    """Return the 32-byte key of a purpose such as ``totp secret``; no key tells another one."""
    kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"wallet " + purpose.encode())
    return kdf.derive(pepper)


def seal(plain: bytes, *, purpose: str, owner: bytes, pepper: bytes) -> bytes:
    """Return ``plain`` encrypted; it opens again only for the same purpose, owner and pepper.

    ``owner`` names the row it is kept in, such as the id of a person: a value copied into
    somebody else's row does not open there. The nonce is random, which is safe for 2^32 values
    of one purpose (NIST SP 800-38D section 8.3).
    """
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + _cipher(purpose, pepper).encrypt(nonce, plain, _VERSION + owner)


def unseal(sealed: bytes, *, purpose: str, owner: bytes, pepper: bytes) -> bytes:
    """Return what :func:`seal` was given; raises :class:`BrokenSealError`."""
    head, nonce = sealed[:1], sealed[1 : 1 + _NONCE_BYTES]
    if head != _VERSION or len(sealed) < 1 + _NONCE_BYTES + _TAG_BYTES:
        raise BrokenSealError
    try:
        return _cipher(purpose, pepper).decrypt(nonce, sealed[1 + _NONCE_BYTES :], head + owner)
    except InvalidTag:
        raise BrokenSealError from None


@lru_cache(maxsize=_PURPOSES_MAX)
def _cipher(purpose: str, pepper: bytes) -> AESGCM:
    return AESGCM(derived_key(purpose=f"seal {purpose}", pepper=pepper))
