"""The policy on staff as a page: ``python -m wallet.auth.staff_document`` writes it.

Whom the city lets do what with residents' money and data is public.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wallet.auth.staff_policy import policy
from wallet.auth.staff_rules import ApproverRule, Permission

PATH: Final = Path(__file__).parents[2] / "docs" / "security" / "staff.md"

_HEAD: Final = """\
# Staff: who may do what, and who approves whose

Written by `python -m wallet.auth.staff_document` from `wallet/auth/roles.toml` and
`wallet/auth/approvals.toml`, which are the policy itself; do not edit this page. Why it is so:
[ADR 16](../adr/0016-staff-roles-are-data-and-danger-takes-two.md).

Staff sign in with a passkey, for 24 hours at most and an hour without doing anything. An age is how
many seconds ago, at most, the passkey must have been shown: 86,400 is as long as the session lasts,
anything less is asked for again. Whatever a role permits, nobody acts on themselves, on their
family, or on whoever stands by either as a guardian or a helper.

## Roles

| role | | departments | with others |
| --- | --- | --- | --- |
"""

_PERMISSIONS: Final = "\n## Permissions\n\n"

_APPROVALS: Final = """
## What takes two people

Nobody decides their own request, nor that of another account of theirs or of their family. A
request is decided once, on the hash of what was seen, and carried out once, by the one who asked;
everything is looked at again then.

| action | | asked by | approved by | hours |
| --- | --- | --- | --- | --- |
"""

_TAIL: Final = """
A stop is engaged by one person and released by two, see
[ADR 15](../adr/0015-who-stops-and-who-releases.md). One person also freezes a resident, suspends a
colleague, and ends all sessions: what only takes something away must not wait.
"""


def render_document() -> str:
    """Return the page."""
    parts = (_HEAD, *_roles(), _PERMISSIONS, *_permissions(), _APPROVALS, *_actions(), _TAIL)
    return "".join(parts)


def _roles() -> Iterator[str]:
    for role in policy().roles.values():
        departments = ", ".join(
            f"{name} {policy().departments[name].label}" for name in sorted(role.departments)
        )
        others = "alone" if role.alone else "yes"
        yield f"| `{role.name}` | {role.label} | {departments} | {others} |\n"


def _permissions() -> Iterator[str]:
    roles = policy().roles.values()
    yield f"| permission | | age | {' | '.join(role.name for role in roles)} |\n"
    yield f"|{' --- |' * (3 + len(roles))}\n"
    for permission in Permission:
        rule = policy().permissions[permission]
        marks = " | ".join("yes" if permission in role.permissions else "–" for role in roles)
        yield f"| `{permission}` | {rule.label} | {rule.max_age_s:,} | {marks} |\n"


def _actions() -> Iterator[str]:
    for action in policy().actions.values():
        askers = sorted(
            role.name for role in policy().roles.values() if action.permission in role.permissions
        )
        approvers = "; ".join(_approver(rule) for rule in action.approver)
        yield (
            f"| `{action.name}` | {action.label} | {', '.join(askers)} | {approvers}"
            f" | {action.expires_h} |\n"
        )


def _approver(rule: ApproverRule) -> str:
    where = {
        "same": "of the same department",
        "other": "of another department",
        "any": "of any department",
    }[rule.department]
    return f"{rule.role}, for {' and '.join(sorted(rule.of))} {where}"


if __name__ == "__main__":
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(render_document(), encoding="utf-8")
    sys.stdout.write(f"{PATH}\n")
