"""The pure part of staff: who may do what, who may approve whose, and whose own affair it is.

Roles, permissions and approvers are data (``roles.toml``, ``approvals.toml``). What is not data
is what no city may change: nobody approves their own request, and nobody acts on themselves or on
their family, whatever account they use for it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
import rfc8785

from wallet.auth.rules import Acr, Shown, reached, satisfies
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.scrub import contains_personal

REASON_CHARACTERS: Final = range(4, 501)
"""A reason is read by whoever approves and by whoever audits; one word tells neither anything."""

_HASH_BYTES: Final = 32
_PERSON: Final = b"staff approval"


class Permission(StrEnum):
    """What a door asks of whoever comes through it."""

    PERSON_SEARCH = "person.search"
    PERSON_READ = "person.read"
    PERSON_REVEAL = "person.reveal"
    PERSON_FREEZE = "person.freeze"
    PERSON_UNFREEZE = "person.unfreeze"
    PERSON_RAISE = "person.raise"
    APPROVAL_READ = "approval.read"
    APPROVAL_DECIDE = "approval.decide"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"
    STAFF_READ = "staff.read"
    STAFF_MANAGE = "staff.manage"
    STAFF_SUSPEND = "staff.suspend"
    STOP_READ = "stop.read"
    STOP_ENGAGE = "stop.engage"
    STOP_RELEASE = "stop.release"
    INCIDENT_READ = "incident.read"
    INCIDENT_WRITE = "incident.write"
    SESSION_REVOKE_ALL = "session.revoke_all"
    PROGRAMME_READ = "programme.read"
    PROGRAMME_WRITE = "programme.write"
    CAMPAIGN_READ = "campaign.read"
    CAMPAIGN_WRITE = "campaign.write"
    RECEIPT_READ = "receipt.read"
    RECEIPT_WRITE = "receipt.write"
    POINTS_READ = "points.read"
    POINTS_WRITE = "points.write"
    BENEFIT_READ = "benefit.read"
    BENEFIT_WRITE = "benefit.write"
    CARD_READ = "card.read"
    CARD_WRITE = "card.write"
    NUMBERS_READ = "numbers.read"


class Action(StrEnum):
    """What one member of staff asks for and another one approves."""

    PERSON_UNFREEZE = "person.unfreeze"
    PERSON_RAISE = "person.raise"
    PERSON_INVITE_DEVICE = "person.invite_device"
    STAFF_ADD = "staff.add"
    STAFF_CHANGE_ROLES = "staff.change_roles"
    STAFF_ENROL_AGAIN = "staff.enrol_again"
    STAFF_CHANGE_FAMILY = "staff.change_family"
    PROGRAMME_APPROVE = "programme.approve"
    CAMPAIGN_APPROVE = "campaign.approve"
    PURSE_EXTEND = "purse.extend"
    BUYER_REFUND = "buyer.refund"
    SUSPENSE_SETTLE = "suspense.settle"
    TAKINGS_ORDER = "takings.order"
    BENEFIT_GRANT = "benefit.grant"
    BENEFIT_CLAW_BACK = "benefit.claw_back"
    BENEFIT_KNOW = "benefit.know"
    CARD_BATCH = "card.batch"


class State(StrEnum):
    """Of a member of staff. Only ``active`` ones do anything."""

    INVITED = "invited"
    ACTIVE = "active"
    SUSPENDED = "suspended"


class DepartmentRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A department of the city."""

    name: str
    label: str


class PermissionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A permission, and how many seconds ago a passkey must have been shown at most."""

    name: Permission
    label: str
    max_age_s: int


class RoleRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role: the departments that can have it, what it may do, whether it stands alone."""

    name: str
    label: str
    departments: frozenset[str]
    permissions: frozenset[Permission]
    alone: bool = False


class ApproverRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holders of ``role`` may decide what holders of one of the roles ``of`` ask for."""

    role: str
    of: frozenset[str]
    department: Literal["same", "other", "any"]


class ActionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What needs two people; ``about`` says what sort of id its subject is.

    A matter is neither a resident nor a colleague: a programme, a run, a batch.
    """

    name: Action
    label: str
    about: Literal["person", "staff", "matter"]
    permission: Permission
    expires_h: int
    approver: tuple[ApproverRule, ...]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the two files say."""

    departments: Mapping[str, DepartmentRule]
    permissions: Mapping[Permission, PermissionRule]
    roles: Mapping[str, RoleRule]
    actions: Mapping[Action, ActionRule]

    def permissions_of(self, roles: Iterable[str]) -> frozenset[Permission]:
        """Return what the roles may do together; a role that is gone from the file does nothing."""
        known = (self.roles[role] for role in roles if role in self.roles)
        return frozenset().union(*(role.permissions for role in known))


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of staff, with who they are as a resident and whose family they are."""

    id: UUID
    display_name: str
    department: str
    state: State
    roles: frozenset[str]
    person_id: UUID | None = None
    family: frozenset[UUID] = frozenset()

    @property
    def circle(self) -> frozenset[UUID]:
        """The residents whose affairs are this member's own."""
        own = frozenset() if self.person_id is None else frozenset({self.person_id})
        return self.family | own


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Whom something is about: residents, with those who stand by them, or a member of staff."""

    persons: frozenset[UUID] = frozenset()
    member: Member | None = None


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A request for approval as it stands. ``subject`` is a public id, ``payload`` plain JSON."""

    id: UUID
    action: Action
    subject: str
    payload: dict[str, Any]
    payload_hash: bytes
    requested_by: UUID
    reason: str
    requested_at: datetime
    expires_at: datetime
    decided_by: UUID | None = None
    decision: Literal["approved", "rejected"] | None = None
    decided_because: str | None = None
    decided_at: datetime | None = None
    executed_at: datetime | None = None


def hash_approval(approval: Approval, *, key: bytes) -> bytes:
    """Return the keyed hash of everything that is approved, in canonical JSON (RFC 8785).

    Who can write to the database, and does not know the key, cannot put another request under an
    approval.
    """
    content: dict[str, Any] = {
        "id": approval.id.hex,
        "action": approval.action,
        "subject": approval.subject,
        "payload": approval.payload,
        "requested_by": approval.requested_by.hex,
        "reason": approval.reason,
        "expires_at": approval.expires_at.isoformat(),
    }
    return hashlib.blake2b(
        rfc8785.dumps(content), key=key, digest_size=_HASH_BYTES, person=_PERSON
    ).digest()


def are_linked(one: Member, other: Member) -> bool:
    """Whether two accounts are of one person, or of one family: they are no two pairs of eyes."""
    return one.id == other.id or not one.circle.isdisjoint(other.circle)


def is_own_affair(member: Member, about: About) -> bool:
    """Whether something is about the member, their family, or a colleague who is either."""
    if about.member is not None and are_linked(member, about.member):
        return True
    return not member.circle.isdisjoint(about.persons)


def check_access(
    policy: Policy,
    *,
    member: Member,
    permission: Permission,
    shown: Iterable[Shown],
    now_us: int,
) -> Refusal | None:
    """Return why a door does not open, None when it does.

    ``permission_missing`` comes first: nobody is asked for their passkey in vain. Then
    ``reauthentication_required``, with what would satisfy it.
    """
    if member.state is not State.ACTIVE:
        return Refusal("unauthenticated")
    if permission not in policy.permissions_of(member.roles):
        return Refusal("permission_missing", {"permission": str(permission)})
    return check_age(shown, max_age_s=policy.permissions[permission].max_age_s, now_us=now_us)


def check_age(shown: Iterable[Shown], *, max_age_s: int, now_us: int) -> Refusal | None:
    """Return ``reauthentication_required`` unless a passkey was shown within ``max_age_s``."""
    if satisfies(reached(shown, now_us=now_us, max_age_s=max_age_s), {Acr.PHR}):
        return None
    facts = {"acr_values": [str(Acr.PHR)], "max_age_s": max_age_s}
    return Refusal("reauthentication_required", facts)


def check_reason(reason: str) -> str:
    """Return the reason without blanks around it.

    Raises ``reason_missing``, and ``reason_personal`` for one that names somebody's number or
    address: reasons are kept for ever, and a case is named by its number in the city's files.
    """
    stripped = reason.strip()
    if len(stripped) not in REASON_CHARACTERS:
        raise RefusedError("reason_missing", characters_max=REASON_CHARACTERS[-1])
    if contains_personal(stripped):
        raise RefusedError("reason_personal")
    return stripped


def check_roles(policy: Policy, *, department: str, roles: Collection[str]) -> None:
    """Raise when a member of the department cannot hold exactly these roles.

    ``department_unknown``, ``role_unknown``, ``role_of_other_department``, or
    ``roles_incompatible`` for one that stands alone beside another one.
    """
    if department not in policy.departments:
        raise RefusedError("department_unknown")
    unknown = sorted(set(roles) - policy.roles.keys())
    if unknown or not roles:
        raise RefusedError("role_unknown")
    rules = [policy.roles[role] for role in roles]
    foreign = sorted(rule.name for rule in rules if department not in rule.departments)
    if foreign:
        raise RefusedError("role_of_other_department", roles=foreign)
    alone = sorted(rule.name for rule in rules if rule.alone)
    if alone and len(rules) > 1:
        raise RefusedError("roles_incompatible", roles=alone)


def may_decide(policy: Policy, action: Action, *, requester: Member, approver: Member) -> bool:
    """Whether the files let the approver decide what the requester asks for."""
    return any(
        rule.role in approver.roles
        and not rule.of.isdisjoint(requester.roles)
        and _fits(rule.department, requester, approver)
        for rule in policy.actions[action].approver
    )


def _fits(department: Literal["same", "other", "any"], requester: Member, approver: Member) -> bool:
    if department == "any":
        return True
    return (requester.department == approver.department) == (department == "same")


def visible_actions(policy: Policy, member: Member) -> frozenset[Action]:
    """Return the actions whose requests a member sees: may make or decide, or audits all of."""
    permissions = policy.permissions_of(member.roles)
    if Permission.AUDIT_READ in permissions:
        return frozenset(policy.actions)
    return frozenset(
        rule.name
        for rule in policy.actions.values()
        if rule.permission in permissions
        or any(approver.role in member.roles for approver in rule.approver)
    )


def refuse_decision(
    policy: Policy,
    approval: Approval,
    *,
    requester: Member,
    approver: Member,
    about: About,
    now: datetime,
) -> Refusal | None:
    """Return why the approver cannot decide the request now, for yes or for no.

    ``approval_decided``, ``approval_expired``; ``four_eyes`` for one's own request or one of
    somebody linked; ``own_affair``; ``approver_not_entitled`` when the files do not let this one
    decide that one's approval.
    """
    if approval.decision is not None:
        return Refusal("approval_decided")
    if approval.expires_at <= now:
        return Refusal("approval_expired")
    return _refuse_approver(policy, approval.action, requester, approver, about)


def refuse_execution(
    policy: Policy,
    approval: Approval,
    *,
    requester: Member,
    approver: Member | None,
    about: About,
    now: datetime,
) -> Refusal | None:
    """Return why an approved request cannot be carried out now.

    Everything is looked at again, since hours may have passed: whoever asked or approved may have
    lost the role, been suspended, or turned out to be family. ``approval_missing``,
    ``approval_executed``, ``approval_expired``, ``approval_void``.
    """
    if approval.decision != "approved" or approver is None:
        return Refusal("approval_missing")
    if approval.executed_at is not None:
        return Refusal("approval_executed")
    if approval.expires_at <= now:
        return Refusal("approval_expired")
    refusal = refuse_request(
        policy, approval.action, requester=requester, about=about
    ) or _refuse_approver(policy, approval.action, requester, approver, about)
    return None if refusal is None else Refusal("approval_void", {"because": refusal.code})


def refuse_request(
    policy: Policy, action: Action, *, requester: Member, about: About
) -> Refusal | None:
    """Return why a member cannot ask for this: ``permission_missing`` or ``own_affair``."""
    permission = policy.actions[action].permission
    is_active = requester.state is State.ACTIVE
    if not is_active or permission not in policy.permissions_of(requester.roles):
        return Refusal("permission_missing", {"permission": str(permission)})
    return Refusal("own_affair") if is_own_affair(requester, about) else None


def _refuse_approver(
    policy: Policy, action: Action, requester: Member, approver: Member, about: About
) -> Refusal | None:
    if are_linked(requester, approver):
        return Refusal("four_eyes")
    if is_own_affair(approver, about):
        return Refusal("own_affair")
    is_active = approver.state is State.ACTIVE
    if not is_active or not may_decide(policy, action, requester=requester, approver=approver):
        return Refusal("approver_not_entitled")
    return None
