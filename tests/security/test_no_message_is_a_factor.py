"""What is sent to somebody shows that it arrived, and nothing about who reads it."""

import pytest

from wallet.auth.rules import CLASSES_OF, Acr, Method, Risk, reached, show
from wallet.auth.step_up_table import table
from wallet.people.rules import ContactKind

NOW_US = 1_764_000_000_000_000


@pytest.mark.attack(6)
@pytest.mark.asvs("v5.0.0-6.3.6")
@pytest.mark.asvs("v5.0.0-6.6.1")
def test_no_method_of_signing_in_is_a_message() -> None:
    assert {str(method) for method in Method}.isdisjoint({*ContactKind, "sms", "mail", "message"})
    assert CLASSES_OF.keys() == set(Method)


@pytest.mark.attack(6)
@pytest.mark.asvs("v5.0.0-6.6.1")
def test_every_level_that_is_asked_for_can_be_reached_without_one() -> None:
    asked = {acr for row in table() for cell in map(row.cell, Risk) for acr in cell.require}
    shown = show(*Method, at_us=NOW_US)
    assert asked <= reached(shown, now_us=NOW_US, max_age_s=300) == set(Acr)
