"""The policy on staff is whole, keeps powers apart, and is refused when it does not."""

import pytest

from wallet.auth.staff_document import PATH as PAGE
from wallet.auth.staff_document import render_document
from wallet.auth.staff_policy import (
    APPROVALS_PATH,
    DANGEROUS,
    ROLES_PATH,
    PolicyError,
    policy,
    read_policy,
)
from wallet.auth.staff_rules import Permission

ROLES = ROLES_PATH.read_text(encoding="utf-8")
APPROVALS = APPROVALS_PATH.read_text(encoding="utf-8")

PERSONAL = {one for one in Permission if one.startswith("person.")}


def holders_of(*permissions: Permission) -> set[str]:
    """Return the roles that have any of the permissions."""
    return {role.name for role in policy().roles.values() if role.permissions & {*permissions}}


@pytest.mark.attack(28)
def test_powers_that_must_not_meet_are_in_no_role_together() -> None:
    assert not holders_of(*PERSONAL) & holders_of(Permission.STAFF_MANAGE, Permission.AUDIT_READ)
    # Who hands out roles or audits has no role beside that one.
    for name in holders_of(Permission.STAFF_MANAGE, Permission.AUDIT_READ, Permission.AUDIT_EXPORT):
        assert policy().roles[name].alone, name


@pytest.mark.asvs("v5.0.0-8.2.3")
def test_who_only_telephones_sees_no_contact() -> None:
    assert holders_of(Permission.PERSON_REVEAL) == {"counter_clerk", "counter_lead"}


def test_what_is_dangerous_asks_for_the_passkey_within_a_quarter_of_an_hour() -> None:
    assert all(policy().permissions[one].max_age_s <= 900 for one in DANGEROUS)


def test_every_permission_is_some_roles() -> None:
    assert {one for role in policy().roles.values() for one in role.permissions} == {*Permission}


def planted(old: str, new: str) -> tuple[str, str]:
    """Return both documents with a mistake in one of them."""
    assert (ROLES + APPROVALS).count(old) >= 1
    return ROLES.replace(old, new, 1), APPROVALS.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "stop.read"', 'name = "stop.reading"', "cannot be read"),
        ("[[department]]", "[[departement]]", "cannot be read"),
        ('label = "市民課"', 'label = "市民課"\nhead = "somebody"', "cannot be read"),
        ("max_age_s = 86_400", "max_age_s = 86_401", "max_age_s is not from 1 to 86400"),
        ("max_age_s = 300", "max_age_s = 901", "max_age_s is not from 1 to 900"),
        ("max_age_s = 300", "max_age_s = 0", "max_age_s is not from 1 to 900"),
        ('departments = ["support"]', 'departments = ["supports"]', "departments are not all"),
        ('departments = ["support"]', "departments = []", "departments are not all"),
        ('name = "auditor"', 'name = "chief"', "named twice: chief"),
        ("expires_h = 72", "expires_h = 73", "expires_h is not from 1 to 72"),
        ('role = "counter_lead", of', 'role = "counter_clerk", of', "counter_clerk decides"),
        ('role = "counter_lead", of', 'role = "mayor", of', "mayor decides nothing"),
        ('"counter_clerk", "counter_lead"], dep', '"call_agent"], dep', "can ask for it"),
        ('of = ["counter_clerk", "counter_lead"]', 'of = ["counter_lead"]', "nobody decides what"),
        ('name = "staff.add"', 'name = "staff.change_roles"', "named twice"),
    ],
)
def test_a_policy_with_a_mistake_in_it_starts_nothing(old: str, new: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        read_policy(*planted(old, new))


def test_a_permission_or_an_action_that_is_not_described_is_missed() -> None:
    start = ROLES.index('[[permission]]\nname = "session.revoke_all"')
    end = ROLES.index("# --- who can do it")
    with pytest.raises(PolicyError, match=r"session\.revoke_all is not described"):
        read_policy(ROLES[:start] + ROLES[end:], APPROVALS)
    cut = APPROVALS.index("# Who of the staff is which resident")
    with pytest.raises(PolicyError, match=r"staff\.change_family is not described"):
        read_policy(ROLES, APPROVALS[:cut])


def test_a_role_that_may_do_nothing_is_a_mistake() -> None:
    nothing = (
        ROLES + '\n[[role]]\nname = "x"\nlabel = "x"\ndepartments = ["audit"]\npermissions = []'
    )
    with pytest.raises(PolicyError, match="x may do nothing"):
        read_policy(nothing, APPROVALS)


@pytest.mark.asvs("v5.0.0-8.1.1")
def test_the_page_says_what_the_files_say() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == render_document(), "run `python -m wallet.auth.staff_document`"
