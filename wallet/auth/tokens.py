"""Tokens: computed from a session's row and the pepper whenever they are needed, and kept nowhere.

``at_<session>_<generation>_<mac>`` opens doors for a few minutes, ``rt_…`` gets the next pair. The
mac is a keyed BLAKE2b (RFC 7693) of kind, session, generation and the session's salt. A stolen
table makes no token, a stolen pepper makes none without the table, and the same generation always
has the same tokens, which is how a repeated refresh gets the very answer that was lost.
"""

import hashlib
import hmac
import re
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from wallet.auth.proofs import base64url

SALT_BYTES: Final = 16
MAC_BYTES: Final = 32

TOKEN_CHARACTERS_MAX: Final = 128
_FORMAT: Final = re.compile(r"(at|rt)_([0-9a-f]{32})_([1-9][0-9]{0,8})_([A-Za-z0-9_-]{43})")
_PERSON: Final = b"session token"


class TokenKind(StrEnum):
    """What a token is for; one is never taken for the other."""

    ACCESS = "at"
    REFRESH = "rt"


class Token(msgspec.Struct, frozen=True, gc=False):
    """What a token says of itself, before anybody has looked whether it is genuine."""

    kind: TokenKind
    session_id: UUID
    generation: int
    mac: str


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """The pair of a session's generation; seconds are from the moment of the answer."""

    session_id: UUID
    access_token: str
    refresh_token: str
    expires_in_s: int
    refresh_expires_in_s: int


def parse_token(text: str, *, kind: TokenKind) -> Token | None:
    """Return what a token of this kind says, None when it is not even the form of one."""
    found = _FORMAT.fullmatch(text) if len(text) <= TOKEN_CHARACTERS_MAX else None
    if found is None or found[1] != kind:
        return None
    return Token(kind, UUID(hex=found[2]), int(found[3]), found[4])


def make_token(
    kind: TokenKind, *, session_id: UUID, generation: int, salt: bytes, pepper: bytes
) -> str:
    """Return the token of a session's generation."""
    mac = _mac(kind, session_id, generation, salt, pepper)
    return f"{kind}_{session_id.hex}_{generation}_{mac}"


def is_genuine(token: Token, *, salt: bytes, pepper: bytes) -> bool:
    """Whether we made the token; compared in constant time."""
    mac = _mac(token.kind, token.session_id, token.generation, salt, pepper)
    return hmac.compare_digest(mac, token.mac)


def _mac(kind: TokenKind, session_id: UUID, generation: int, salt: bytes, pepper: bytes) -> str:
    """Every part has a fixed length, so no two sets of parts read the same."""
    content = kind.encode() + session_id.bytes + generation.to_bytes(4, "big") + salt
    return base64url(
        hashlib.blake2b(content, key=pepper, digest_size=MAC_BYTES, person=_PERSON).digest()
    )
