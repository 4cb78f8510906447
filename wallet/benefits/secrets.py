"""What is kept of references, birthdays and letters' codes: keyed hashes, and nothing else."""

import hashlib
import secrets
from datetime import date
from uuid import UUID

from wallet.benefits.rules import CODE_ALPHABET, CODE_CHARACTERS
from wallet.core.ids import keyed_hash
from wallet.core.sealing import derived_key

_MAC_BYTES = 32


def beneficiary_hash(ref: str, *, pepper: bytes) -> bytes:
    """Return the keyed hash by which a reference of the city's is found again."""
    return keyed_hash(f"beneficiary {ref}", pepper=pepper)


def birth_mac(grant_id: UUID, birthdate: date, *, pepper: bytes) -> bytes:
    """Return what is kept of a birthday, for one grant: equal days do not show as equal.

    There are few birthdays, so this is worth as much as the key.
    """
    key = derived_key(purpose="benefit birthday", pepper=pepper)
    content = grant_id.bytes + birthdate.isoformat().encode()
    return hashlib.blake2b(content, key=key, digest_size=_MAC_BYTES).digest()


def new_claim_code() -> str:
    """Return a code for a letter; it is told once and kept as :func:`code_mac`."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_CHARACTERS))


def code_mac(code: str, *, pepper: bytes) -> bytes:
    """Return what is kept of a letter's code: a MAC under a key of its own, as it has 60 bits."""
    key = derived_key(purpose="benefit claim code", pepper=pepper)
    return hashlib.blake2b(code.encode(), key=key, digest_size=_MAC_BYTES).digest()
