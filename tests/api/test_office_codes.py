"""What staff's doors refuse is in the catalogue, and each of its codes is met in some test here."""

from pathlib import Path

import pytest

from tests.architecture.sources import python_files, short
from tests.architecture.test_doors import codes_in
from wallet.api.catalogue import CATALOGUE
from wallet.api.catalogue_staff import STAFF_CODES

# Those of the shell alone, such as the first administrators', are told at the shell.
RAISED_BY = (
    "wallet/auth/staff_accounts.py",
    "wallet/auth/staff_approvals.py",
    "wallet/auth/staff_rules.py",
    "wallet/auth/staff_sign_in.py",
    "wallet/ops/stop.py",
    "wallet/ops/queries.py",
    "wallet/people/activate_cards.py",
    "wallet/people/card_batches.py",
    "wallet/people/cards.py",
    "wallet/people/freeze.py",
    "wallet/people/persons.py",
    "wallet/vouchers/paper_batches.py",
    "wallet/vouchers/paper_entries.py",
    "wallet/vouchers/paper_rules.py",
)


def test_every_code_is_met_in_a_test_of_the_doors() -> None:
    here = Path(__file__).parent
    texts = [path.read_text() for path in (*here.glob("test_office_*"), *here.glob("test_ops_*"))]
    unmet = [code for code in STAFF_CODES if not any(f'"{code}"' in text for text in texts)]
    assert not unmet, sorted(unmet)


def test_every_code_that_the_verbs_raise_has_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.architecture.test_doors.REFUSALS", {"Refusal", "RefusedError"})
    paths = [path for path in python_files("wallet") if short(path).startswith(RAISED_BY)]
    raised = {code for path in paths for _, code in codes_in(path)}
    assert "approval_void" in raised
    assert raised <= CATALOGUE.keys(), sorted(raised - CATALOGUE.keys())
