"""The law's policy is whole, or it is not used."""

import pytest

from wallet.programmes.legal_settings import (
    PATH,
    LegalSettingsError,
    legal_settings,
    read_legal_settings,
)

TOML = PATH.read_text(encoding="utf-8")


def test_the_policy_that_is_shipped_is_whole_and_assumes_nothing() -> None:
    law = legal_settings()
    assert len(law.rules) == 31
    assert not law.kyc_regime
    assurances = [one for one in law.settings.values() if one.value is None]
    assert assurances
    assert not any(one.confirmed for one in assurances)
    assert law.number("L-3.unused_yen") == 10_000_000


@pytest.mark.parametrize(
    ("written", "instead", "problem"),
    [
        ('id = "L-4"', 'id = "L-3"', "the rules are L-1 to L-31"),
        ('name = "L-4.deposit_arranged"', 'name = "L-5.registered"', "a setting is there twice"),
        ('name = "L-4.deposit_arranged"', 'name = "L-5.deposit"', "is of no rule"),
        ("value = 10_000_000\n", "", "L-3.unused_yen needs a value"),
        ("value = 10_000_000", "value = -1", "is negative"),
        ("value = 10_000_000", 'value = "much"', "cannot be read"),
        ("\nconfirmed = false", "\n", "cannot be read"),
        ("\n[[rule]]", "\n[[", "cannot be read"),
    ],
)
def test_a_policy_that_is_not_whole_is_not_used(written: str, instead: str, problem: str) -> None:
    with pytest.raises(LegalSettingsError, match=problem):
        read_legal_settings(TOML.replace(written, instead, 1))


def test_what_has_no_number_is_not_calculated_with() -> None:
    with pytest.raises(KeyError):
        legal_settings().number("L-5.registered")
