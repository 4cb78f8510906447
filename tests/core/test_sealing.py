"""Sealed values open for the purpose, the owner and the pepper they were sealed for."""

import pytest

from tests.factories.moments import PEPPER
from wallet.core.sealing import BrokenSealError, derived_key, seal, unseal

PLAIN = b"twenty bytes of seed"


def sealed_plain() -> bytes:
    """Return the plain text sealed for one owner."""
    return seal(PLAIN, purpose="totp secret", owner=b"owner", pepper=PEPPER)


@pytest.mark.asvs("v5.0.0-11.3.2")
@pytest.mark.asvs("v5.0.0-13.3.1")
@pytest.mark.asvs("v5.0.0-11.3.1")
def test_what_was_sealed_opens_again_and_shows_nothing() -> None:
    sealed = sealed_plain()
    assert PLAIN not in sealed
    assert sealed != sealed_plain()
    assert unseal(sealed, purpose="totp secret", owner=b"owner", pepper=PEPPER) == PLAIN


@pytest.mark.parametrize(
    ("purpose", "owner", "pepper"),
    [
        ("contact", b"owner", PEPPER),
        ("totp secret", b"somebody else", PEPPER),
        ("totp secret", b"owner", PEPPER + b"!"),
    ],
)
def test_a_sealed_value_opens_nowhere_else(purpose: str, owner: bytes, pepper: bytes) -> None:
    with pytest.raises(BrokenSealError):
        unseal(sealed_plain(), purpose=purpose, owner=owner, pepper=pepper)


@pytest.mark.asvs("v5.0.0-11.3.3")
def test_one_changed_bit_anywhere_breaks_the_seal() -> None:
    sealed = sealed_plain()
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(BrokenSealError):
            unseal(bytes(changed), purpose="totp secret", owner=b"owner", pepper=PEPPER)


@pytest.mark.parametrize("length", [0, 1, 13, 28])
def test_a_sealed_value_that_was_cut_off_is_broken(length: int) -> None:
    with pytest.raises(BrokenSealError):
        unseal(sealed_plain()[:length], purpose="totp secret", owner=b"owner", pepper=PEPPER)


def test_every_purpose_has_a_key_of_its_own() -> None:
    keys = {derived_key(purpose=purpose, pepper=PEPPER) for purpose in ("pin", "seal pin", "otp")}
    assert {len(key) for key in keys} == {32}
    assert len(keys) == 3
