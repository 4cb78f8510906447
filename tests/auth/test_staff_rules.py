"""Who may do what, who may approve whose, and whose own affair it is, without a database."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from tests.factories.moments import NOW, NOW_US
from tests.factories.staff import member
from wallet.auth.rules import Method, show
from wallet.auth.staff_policy import policy
from wallet.auth.staff_rules import (
    About,
    Action,
    Approval,
    Member,
    Permission,
    State,
    are_linked,
    check_access,
    check_reason,
    check_roles,
    hash_approval,
    is_own_affair,
    may_decide,
    refuse_decision,
    refuse_execution,
    refuse_request,
)
from wallet.core.clock import MICROSECONDS
from wallet.core.refusals import Refusal, RefusedError

ROLES = sorted(policy().roles)
PERSON, RELATIVE = uuid4(), uuid4()

CLERK, LEAD = member("counter_clerk"), member("counter_lead")
ADMINISTRATOR, SECOND_ADMINISTRATOR = member("administrator"), member("administrator")
CHIEF = member("chief")


def approval(**changes: Any) -> Approval:  # noqa: ANN401 - fields of many types
    """Return the clerk's request to unfreeze a person."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "action": Action.PERSON_UNFREEZE,
        "subject": f"per_{PERSON.hex}",
        "payload": {"document": "passport"},
        "payload_hash": bytes(32),
        "requested_by": CLERK.id,
        "reason": "本人が来庁",
        "requested_at": NOW,
        "expires_at": NOW + timedelta(hours=72),
    }
    return Approval(**{**fields, **changes})


def decided(**changes: Any) -> Approval:  # noqa: ANN401 - fields of many types
    """Return the request after the lead has approved it."""
    return approval(decided_by=LEAD.id, decision="approved", decided_at=NOW, **changes)


def access(holder: Member, permission: Permission, *, age_s: int = 0) -> Refusal | None:
    """Return what a door says to a member whose passkey was shown ``age_s`` seconds ago."""
    shown = show(Method.PASSKEY, at_us=NOW_US - age_s * MICROSECONDS)
    return check_access(policy(), member=holder, permission=permission, shown=shown, now_us=NOW_US)


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.asvs("v5.0.0-8.2.1")
def test_a_role_does_what_it_lists_and_nothing_else(role: str, permission: Permission) -> None:
    refusal = access(member(role), permission)
    if permission in policy().roles[role].permissions:
        assert refusal is None
    else:
        assert refusal == Refusal("permission_missing", {"permission": permission.value})


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.asvs("v5.0.0-7.5.3")
def test_a_passkey_shown_too_long_ago_is_asked_for_again(permission: Permission) -> None:
    rule = policy().permissions[permission]
    holder = member(
        next(one.name for one in policy().roles.values() if permission in one.permissions)
    )
    assert access(holder, permission, age_s=rule.max_age_s) is None
    refusal = access(holder, permission, age_s=rule.max_age_s + 1)
    assert refusal is not None
    assert refusal.code == "reauthentication_required"
    assert refusal.facts == {"acr_values": ["phr"], "max_age_s": rule.max_age_s}


@pytest.mark.parametrize("method", [one for one in Method if one is not Method.PASSKEY])
def test_nothing_less_than_a_passkey_opens_a_door_of_staff(method: Method) -> None:
    refusal = check_access(
        policy(),
        member=CLERK,
        permission=Permission.PERSON_SEARCH,
        shown=show(method, at_us=NOW_US),
        now_us=NOW_US,
    )
    satisfied = method in {Method.IDENTITY_APP, Method.COUNTER}  # Levels above a passkey.
    assert (refusal is None) == satisfied


@pytest.mark.parametrize("state", [State.INVITED, State.SUSPENDED])
def test_who_is_not_active_does_nothing(state: State) -> None:
    holder = member("counter_clerk", state=state)
    assert access(holder, Permission.PERSON_SEARCH) == Refusal("unauthenticated")


def test_a_role_that_is_gone_from_the_file_does_nothing() -> None:
    assert policy().permissions_of({"mayor"}) == frozenset()


@pytest.mark.parametrize(
    ("one", "other", "linked"),
    [
        ({}, {}, False),
        ({"person_id": PERSON}, {}, False),
        ({"person_id": PERSON}, {"person_id": RELATIVE}, False),
        ({"person_id": PERSON}, {"person_id": PERSON}, True),
        ({"person_id": PERSON}, {"family": frozenset({PERSON})}, True),
        ({"family": frozenset({PERSON})}, {"person_id": PERSON}, True),
        # Both are family of a third: of each other too, as far as anybody can tell.
        ({"family": frozenset({PERSON})}, {"family": frozenset({PERSON, RELATIVE})}, True),
        ({"family": frozenset({PERSON})}, {"family": frozenset({RELATIVE})}, False),
    ],
)
@pytest.mark.attack(28)
def test_accounts_of_one_person_or_one_family_are_one_pair_of_eyes(
    one: dict[str, Any], other: dict[str, Any], *, linked: bool
) -> None:
    clerk, lead = member("counter_clerk", **one), member("counter_lead", **other)
    assert are_linked(clerk, lead) == are_linked(lead, clerk) == linked
    refusal = refuse_decision(
        policy(),
        approval(requested_by=clerk.id),
        requester=clerk,
        approver=lead,
        about=About(persons=frozenset({uuid4()})),
        now=NOW,
    )
    assert refusal == (Refusal("four_eyes") if linked else None)


@pytest.mark.attack(28)
def test_an_account_is_linked_to_itself() -> None:
    assert are_linked(LEAD, LEAD)
    own = approval(requested_by=LEAD.id)
    assert refuse_decision(
        policy(), own, requester=LEAD, approver=LEAD, about=About(), now=NOW
    ) == Refusal("four_eyes")


@pytest.mark.parametrize(
    "about",
    [
        About(persons=frozenset({PERSON})),
        About(persons=frozenset({uuid4(), RELATIVE})),
        About(member=member("counter_lead", person_id=PERSON)),
        About(member=member("counter_lead", family=frozenset({RELATIVE}))),
    ],
    ids=["self", "family", "own second account", "colleague who is family"],
)
@pytest.mark.attack(28)
def test_nobody_asks_decides_or_acts_on_themselves_or_their_family(about: About) -> None:
    close = {"person_id": PERSON, "family": frozenset({RELATIVE})}
    clerk, lead = member("counter_clerk", **close), member("counter_lead", **close)
    assert is_own_affair(clerk, about)
    assert not is_own_affair(CLERK, about)
    action = Action.PERSON_UNFREEZE
    own = Refusal("own_affair")
    assert refuse_request(policy(), action, requester=clerk, about=about) == own
    assert (
        refuse_decision(policy(), approval(), requester=CLERK, approver=lead, about=about, now=NOW)
        == own
    )


def test_an_account_is_its_own_affair() -> None:
    assert is_own_affair(ADMINISTRATOR, About(member=ADMINISTRATOR))
    assert not is_own_affair(ADMINISTRATOR, About(member=SECOND_ADMINISTRATOR))


def pairs() -> set[tuple[Action, str, str]]:
    """Return which role may decide which role's requests, by action."""
    return {
        (action, asker, decider)
        for action in Action
        for asker in ROLES
        for decider in ROLES
        if may_decide(policy(), action, requester=member(asker), approver=member(decider))
    }


MATTERS = {
    "programme": {
        Action.PROGRAMME_APPROVE,
        Action.CAMPAIGN_APPROVE,
        Action.PURSE_EXTEND,
        Action.BUYER_REFUND,
        Action.SUSPENSE_SETTLE,
        Action.TAKINGS_ORDER,
        Action.CARD_BATCH,
    },
    "benefit": {
        Action.BENEFIT_GRANT,
        Action.BENEFIT_CLAW_BACK,
        Action.BENEFIT_KNOW,
        Action.CARD_BATCH,
    },
}
"""What is a matter of a department, by the department's roles that ask for it and decide on it."""


def test_who_may_approve_whose_is_what_the_file_says() -> None:
    at_the_counter = {
        (action, asker, "counter_lead")
        for action in Action
        if action.startswith("person.")
        for asker in ("counter_clerk", "counter_lead")
    }
    of_staff = {
        (action, "administrator", decider)
        for action in Action
        if action.startswith("staff.")
        for decider in ("administrator", "chief")
    }
    of_matters = {
        (action, f"{room}_{asker}", f"{room}_lead")
        for room, actions in MATTERS.items()
        for action in actions
        for asker in ("clerk", "lead")
    }
    assert pairs() == at_the_counter | of_staff | of_matters


@pytest.mark.parametrize(
    ("relation", "same", "fits"),
    [("same", True, True), ("same", False, False), ("other", True, False),
     ("other", False, True), ("any", True, True), ("any", False, True)],
)  # fmt: skip
def test_departments_are_compared_as_the_rule_says(
    relation: str, *, same: bool, fits: bool
) -> None:
    action = policy().actions[Action.PERSON_RAISE]
    rule = msgspec.structs.replace(action.approver[0], department=relation)
    changed = msgspec.structs.replace(action, approver=(rule,))
    made = msgspec.structs.replace(
        policy(), actions={**policy().actions, Action.PERSON_RAISE: changed}
    )
    lead = member("counter_lead", department="citizens" if same else "harbour")
    assert may_decide(made, Action.PERSON_RAISE, requester=CLERK, approver=lead) == fits


@pytest.mark.parametrize(
    ("changes", "now_h", "code"),
    [
        ({}, 71.9, None),
        ({}, 72, "approval_expired"),
        ({"decision": "approved", "decided_by": LEAD.id}, 0, "approval_decided"),
        ({"decision": "rejected", "decided_by": LEAD.id}, 0, "approval_decided"),
    ],
)
def test_a_request_is_decided_once_and_in_time(
    changes: dict[str, Any], now_h: float, code: str | None
) -> None:
    refusal = refuse_decision(
        policy(),
        approval(**changes),
        requester=CLERK,
        approver=LEAD,
        about=About(),
        now=NOW + timedelta(hours=now_h),
    )
    assert (refusal and refusal.code) == code


def test_who_has_no_say_in_it_decides_nothing() -> None:
    for role in set(ROLES) - {"counter_lead"}:
        refusal = refuse_decision(
            policy(), approval(), requester=CLERK, approver=member(role), about=About(), now=NOW
        )
        assert refusal == Refusal("approver_not_entitled"), role


def carry_out(
    request: Approval,
    *,
    requester: Member = CLERK,
    approver: Member | None = LEAD,
    about: About | None = None,
    now_h: float = 1,
) -> Refusal | None:
    """Return why a request is not carried out."""
    return refuse_execution(
        policy(),
        request,
        requester=requester,
        approver=approver,
        about=about or About(),
        now=NOW + timedelta(hours=now_h),
    )


def test_an_approved_request_is_carried_out() -> None:
    assert carry_out(decided()) is None


@pytest.mark.parametrize("decision", [None, "rejected"])
@pytest.mark.attack(28)
def test_what_nobody_approved_is_not_carried_out(decision: str | None) -> None:
    undecided = msgspec.structs.replace(decided(), decision=decision)
    assert carry_out(undecided) == Refusal("approval_missing")
    assert carry_out(decided(), approver=None) == Refusal("approval_missing")


@pytest.mark.attack(28)
def test_an_approval_is_not_replayed_and_grows_old() -> None:
    assert carry_out(decided(executed_at=NOW)) == Refusal("approval_executed")
    assert carry_out(decided(), now_h=72) == Refusal("approval_expired")


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"requester": member("counter_clerk", state=State.SUSPENDED)}, "permission_missing"),
        ({"requester": member("call_agent")}, "permission_missing"),
        ({"approver": member("counter_lead", state=State.SUSPENDED)}, "approver_not_entitled"),
        ({"approver": member("counter_clerk")}, "approver_not_entitled"),
        ({"approver": CLERK}, "four_eyes"),
        (
            {
                "requester": member("counter_clerk", person_id=PERSON),
                "approver": member("counter_lead", family=frozenset({PERSON})),
            },
            "four_eyes",
        ),
        (
            {
                "requester": member("counter_clerk", person_id=PERSON),
                "about": About(persons=frozenset({PERSON})),
            },
            "own_affair",
        ),
        (
            {
                "approver": member("counter_lead", family=frozenset({PERSON})),
                "about": About(persons=frozenset({PERSON})),
            },
            "own_affair",
        ),
    ],
)
@pytest.mark.attack(28)
def test_what_has_changed_since_the_approval_voids_it(
    changes: dict[str, Any], because: str
) -> None:
    assert carry_out(decided(), **changes) == Refusal("approval_void", {"because": because})


@pytest.mark.attack(28)
def test_the_hash_covers_everything_that_is_approved() -> None:
    first, key = approval(), b"k" * 32
    hashes = {hash_approval(first, key=key), hash_approval(first, key=b"another key " * 2)}
    changed: dict[str, Any] = {
        "id": uuid4(),
        "action": Action.PERSON_RAISE,
        "subject": f"per_{uuid4().hex}",
        "payload": {"document": "none"},
        "requested_by": uuid4(),
        "reason": "another reason",
        "expires_at": NOW + timedelta(hours=73),
    }
    for name, value in changed.items():
        hashes.add(hash_approval(msgspec.structs.replace(first, **{name: value}), key=key))
    assert len(hashes) == 2 + len(changed)
    # What is decided later is no part of what was approved.
    assert hash_approval(decided(id=first.id), key=key) == hash_approval(first, key=key)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("  本人が来庁  ", None),
        ("", "reason_missing"),
        (" \n ", "reason_missing"),
        ("abc", "reason_missing"),
        ("あ" * 501, "reason_missing"),
        ("090-1234-5678 の申し出", "reason_personal"),
        ("taro@example.jp から", "reason_personal"),
    ],
)
def test_a_reason_says_something_and_names_nobody(reason: str, code: str | None) -> None:
    if code is None:
        assert check_reason(reason) == reason.strip()
        return
    with pytest.raises(RefusedError) as caught:
        check_reason(reason)
    assert caught.value.refusal.code == code


@pytest.mark.parametrize(
    ("department", "roles", "code"),
    [
        ("citizens", {"counter_clerk"}, None),
        ("citizens", {"counter_clerk", "counter_lead"}, None),
        ("management", {"chief", "stop_officer"}, None),
        ("harbour", {"counter_clerk"}, "department_unknown"),
        ("citizens", set(), "role_unknown"),
        ("citizens", {"mayor"}, "role_unknown"),
        ("citizens", {"counter_clerk", "call_agent"}, "role_of_other_department"),
        ("systems", {"administrator", "stop_officer"}, "roles_incompatible"),
    ],
)
@pytest.mark.asvs("v5.0.0-8.2.1")
def test_roles_go_with_departments_and_with_each_other(
    department: str, roles: set[str], code: str | None
) -> None:
    if code is None:
        check_roles(policy(), department=department, roles=roles)
        return
    with pytest.raises(RefusedError) as caught:
        check_roles(policy(), department=department, roles=roles)
    assert caught.value.refusal.code == code
