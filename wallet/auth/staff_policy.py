"""The policy on staff: ``roles.toml`` and ``approvals.toml``, read once and checked.

The files are the policy. What is checked here is that they are whole: that nothing can be asked
for which nobody could ever approve, and that no name leads nowhere.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from wallet.auth.staff_rules import (
    Action,
    ActionRule,
    DepartmentRule,
    Permission,
    PermissionRule,
    Policy,
    RoleRule,
)

ROLES_PATH: Final = Path(__file__).with_name("roles.toml")
APPROVALS_PATH: Final = Path(__file__).with_name("approvals.toml")

MAX_AGE_S_MAX: Final = 86_400
"""No session of staff lasts longer (NIST SP 800-63B-4, AAL2)."""

DANGEROUS_MAX_AGE_S: Final = 900
"""Deciding, handing out power, ending a stop: for those somebody has just been there."""

DANGEROUS: Final = frozenset(
    {
        Permission.PERSON_REVEAL,
        Permission.APPROVAL_DECIDE,
        Permission.AUDIT_EXPORT,
        Permission.STAFF_MANAGE,
        Permission.STAFF_SUSPEND,
        Permission.STOP_RELEASE,
        Permission.SESSION_REVOKE_ALL,
    }
)

EXPIRES_H_MAX: Final = 72


class _Roles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    department: tuple[DepartmentRule, ...]
    permission: tuple[PermissionRule, ...]
    role: tuple[RoleRule, ...]


class _Approvals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: tuple[ActionRule, ...]


class PolicyError(ValueError):
    """The policy cannot be used; the message says where and why. No process starts on it."""


@cache
def policy() -> Policy:
    """Return the policy; reads the files on the first call only."""
    return read_policy(
        ROLES_PATH.read_text(encoding="utf-8"), APPROVALS_PATH.read_text(encoding="utf-8")
    )


def read_policy(roles_toml: str, approvals_toml: str) -> Policy:
    """Return the policy of two TOML documents; raises :class:`PolicyError`."""
    try:
        roles = msgspec.convert(tomllib.loads(roles_toml), _Roles)
        approvals = msgspec.convert(tomllib.loads(approvals_toml), _Approvals)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"the policy on staff cannot be read: {error}"
        raise PolicyError(message) from None
    twice = [*_twice(roles.department), *_twice(roles.permission), *_twice(roles.role)]
    twice += _twice(approvals.action)
    if twice:
        message = f"named twice: {', '.join(twice)}"
        raise PolicyError(message)
    made = Policy(
        departments=MappingProxyType({one.name: one for one in roles.department}),
        permissions=MappingProxyType({one.name: one for one in roles.permission}),
        roles=MappingProxyType({one.name: one for one in roles.role}),
        actions=MappingProxyType({one.name: one for one in approvals.action}),
    )
    problems = [*_problems_of_roles(made), *_problems_of_actions(made)]
    if problems:
        raise PolicyError("; ".join(problems))
    return made


def _twice(
    named: tuple[DepartmentRule | PermissionRule | RoleRule | ActionRule, ...],
) -> list[str]:
    names = [one.name for one in named]
    return sorted({name for name in names if names.count(name) > 1})


def _problems_of_roles(made: Policy) -> Iterator[str]:
    yield from (f"{one} is not described" for one in Permission if one not in made.permissions)
    for permission in made.permissions.values():
        most = DANGEROUS_MAX_AGE_S if permission.name in DANGEROUS else MAX_AGE_S_MAX
        if not 0 < permission.max_age_s <= most:
            yield f"{permission.name}: max_age_s is not from 1 to {most}"
    for role in made.roles.values():
        if not role.departments or not role.departments <= made.departments.keys():
            yield f"{role.name}: its departments are not all known"
        if not role.permissions:
            yield f"{role.name} may do nothing"


def _problems_of_actions(made: Policy) -> Iterator[str]:
    yield from (f"{one} is not described" for one in Action if one not in made.actions)
    for action in made.actions.values():
        if not 0 < action.expires_h <= EXPIRES_H_MAX:
            yield f"{action.name}: expires_h is not from 1 to {EXPIRES_H_MAX}"
        yield from _problems_of_approvers(made, action)


def _problems_of_approvers(made: Policy, action: ActionRule) -> Iterator[str]:
    """Say which approvers could never decide, and whose requests nobody ever could."""
    askers = {role.name for role in made.roles.values() if action.permission in role.permissions}
    heard: set[str] = set()
    for approver in action.approver:
        role = made.roles.get(approver.role)
        if role is None or Permission.APPROVAL_DECIDE not in role.permissions:
            yield f"{action.name}: {approver.role} decides nothing"
        if not approver.of <= askers:
            yield f"{action.name}: not all of {sorted(approver.of)} can ask for it"
        heard |= approver.of
    if askers - heard:
        yield f"{action.name}: nobody decides what {sorted(askers - heard)} ask for"
