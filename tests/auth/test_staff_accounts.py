"""Accounts of staff: one an employee, enrolled by three people, ended by one."""

from collections.abc import Awaitable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.staff import SITE, add, enrol, make_colleague, member_of
from tests.factories.staff import sign_in_with as sign_in
from tests.soft_authenticator import SoftAuthenticator
from wallet.auth import staff_accounts
from wallet.auth.staff_accounts import Codes, NewMember, add_member, login_hash
from wallet.auth.staff_queries import list_members
from wallet.auth.staff_rules import State
from wallet.auth.staff_sign_in import begin_enrolment, finish_enrolment
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError

DAY_US = 86_400 * MICROSECONDS


async def refused(work: Awaitable[Any]) -> str:
    """Return the code of a refusal, or fail the test."""
    with pytest.raises(RefusedError) as caught:
        await work
    return caught.value.refusal.code


async def call(
    engine: AsyncEngine,
    verb: str,
    **values: Any,  # noqa: ANN401 - arguments of many types
) -> Any:  # noqa: ANN401 - as above
    """Run a verb in a transaction of its own."""
    work = getattr(staff_accounts, verb)
    arguments = {"now_us": NOW_US, **values}
    return await write(engine, lambda connection: work(connection, **arguments))


def new(**changes: Any) -> NewMember:  # noqa: ANN401 - as above
    """Return somebody who is to join the counter."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "login_hash": login_hash(uuid4().hex, pepper=PEPPER),
        "display_name": "山田",
        "department": "citizens",
        "roles": frozenset({"counter_clerk"}),
    }
    return NewMember(**{**fields, **changes})


async def begin(engine: AsyncEngine, codes: Codes, *, now_us: int = NOW_US) -> dict[str, Any]:
    """Return the options for a first passkey."""
    return await write(
        engine,
        lambda connection: begin_enrolment(
            connection, site=SITE, codes=codes, pepper=PEPPER, now_us=now_us
        ),
    )


async def finish(engine: AsyncEngine, codes: Codes, credential: str) -> None:
    """Register a first passkey."""

    async def work(connection: AsyncConnection) -> None:
        await finish_enrolment(
            connection,
            site=SITE,
            codes=codes,
            credential=credential,
            name="鍵",
            pepper=PEPPER,
            now_us=NOW_US,
        )

    await write(engine, work)


async def invited(engine: AsyncEngine, approver_id: UUID | None) -> tuple[UUID, str]:
    """Return a new member and the first half of their code."""
    staff_id = await add(engine, "counter_clerk")
    first = await call(
        engine, "issue_code", staff_id=staff_id, approved_by=approver_id, pepper=PEPPER
    )
    return staff_id, first


async def second_half(engine: AsyncEngine, staff_id: UUID, approver_id: UUID) -> str:
    """Return the second half, as whoever approved takes it."""
    code: str = await call(
        engine, "take_second_code", staff_id=staff_id, approver_id=approver_id, pepper=PEPPER
    )
    return code


@pytest.mark.attack(28)
async def test_one_employee_has_one_account_however_the_number_is_typed(
    engine: AsyncEngine,
) -> None:
    first = new(login_hash=login_hash("A-1024", pepper=PEPPER))
    await call(engine, "add_member", new=first)
    again = new(login_hash=login_hash(" a-1024 ", pepper=PEPPER), display_name="別名")
    assert await refused(call(engine, "add_member", new=again)) == "staff_exists"


async def test_a_new_member_has_no_passkey_and_is_only_invited(engine: AsyncEngine) -> None:
    joining = new()
    await call(engine, "add_member", new=joining)
    found = await member_of(engine, joining.id)
    assert found.state is State.INVITED
    assert found.roles == {"counter_clerk"}


async def test_a_member_cannot_join_with_roles_of_another_department(engine: AsyncEngine) -> None:
    mistaken = new(roles=frozenset({"auditor"}))
    code = await refused(call(engine, "add_member", new=mistaken))
    assert code == "role_of_other_department"


async def test_with_both_halves_a_colleague_enrols_and_signs_in(engine: AsyncEngine) -> None:
    approver = await make_colleague(engine, "administrator")
    staff_id, first = await invited(engine, approver.id)
    codes = Codes(first, await second_half(engine, staff_id, approver.id))
    passkey = SoftAuthenticator()
    await finish(engine, codes, passkey.create(await begin(engine, codes)))
    assert (await member_of(engine, staff_id)).state is State.ACTIVE
    assert (await sign_in(engine, passkey)).tokens is not None


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-6.4.1")
async def test_neither_half_alone_enrols_anybody(engine: AsyncEngine) -> None:
    approver = await make_colleague(engine, "administrator")
    staff_id, first = await invited(engine, approver.id)
    # Who asked has the first half, and nobody has taken the second one yet.
    for codes in (Codes(first), Codes(first, ""), Codes(first, first)):
        assert await refused(begin(engine, codes)) == "enrolment_refused"
    second = await second_half(engine, staff_id, approver.id)
    for codes in (Codes(first), Codes(second), Codes(second, first), Codes(first, second + "a")):
        assert await refused(begin(engine, codes)) == "enrolment_refused"
        assert await refused(finish(engine, codes, "{}")) == "enrolment_refused"


@pytest.mark.attack(28)
async def test_the_second_half_is_given_once_and_only_to_who_approved(engine: AsyncEngine) -> None:
    approver = await make_colleague(engine, "administrator")
    requester = await make_colleague(engine, "administrator")
    staff_id, _ = await invited(engine, approver.id)
    assert await refused(second_half(engine, staff_id, requester.id)) == "enrolment_unknown"
    await second_half(engine, staff_id, approver.id)
    assert await refused(second_half(engine, staff_id, approver.id)) == "enrolment_unknown"
    from_the_shell, _ = await invited(engine, None)
    assert await refused(second_half(engine, from_the_shell, approver.id)) == "enrolment_unknown"


@pytest.mark.asvs("v5.0.0-6.4.1")
async def test_a_code_enrols_once_and_for_a_day(engine: AsyncEngine) -> None:
    _, first = await invited(engine, None)
    assert await refused(begin(engine, Codes(first), now_us=NOW_US + DAY_US)) == "enrolment_refused"
    passkey = SoftAuthenticator()
    credential = passkey.create(await begin(engine, Codes(first), now_us=NOW_US + DAY_US - 1))
    _, another = await invited(engine, None)
    # A registration belongs to who began it.
    assert await refused(finish(engine, Codes(another), credential)) == "passkey_refused"
    await finish(
        engine, Codes(first), SoftAuthenticator().create(await begin(engine, Codes(first)))
    )
    assert await refused(begin(engine, Codes(first))) == "enrolment_refused"


async def test_a_passkey_that_is_refused_leaves_the_code_as_it_was(engine: AsyncEngine) -> None:
    staff_id, first = await invited(engine, None)
    elsewhere = SoftAuthenticator(origin="https://evil.example")
    credential = elsewhere.create(await begin(engine, Codes(first)))
    assert await refused(finish(engine, Codes(first), credential)) == "passkey_refused"
    assert (await member_of(engine, staff_id)).state is State.INVITED
    await finish(
        engine, Codes(first), SoftAuthenticator().create(await begin(engine, Codes(first)))
    )
    assert (await member_of(engine, staff_id)).state is State.ACTIVE


async def test_a_new_code_voids_the_one_before(engine: AsyncEngine) -> None:
    approver = await make_colleague(engine, "administrator")
    staff_id, first = await invited(engine, approver.id)
    second = await second_half(engine, staff_id, approver.id)
    await call(engine, "issue_code", staff_id=staff_id, approved_by=None, pepper=PEPPER)
    assert await refused(begin(engine, Codes(first, second))) == "enrolment_refused"


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-7.4.2")
@pytest.mark.asvs("v5.0.0-8.3.2")
async def test_whoever_is_suspended_can_do_nothing_any_more(engine: AsyncEngine) -> None:
    colleague = await make_colleague(engine, "counter_clerk")
    assert await call(engine, "suspend_member", staff_id=colleague.id, because="left") is True
    assert (await member_of(engine, colleague.id)).state is State.SUSPENDED
    attempt = await sign_in(engine, colleague.passkey)
    assert (attempt.tokens, attempt.staff_id) == (None, colleague.id)
    assert await call(engine, "suspend_member", staff_id=colleague.id, because="left") is False


async def test_a_code_of_who_is_suspended_enrols_nobody(engine: AsyncEngine) -> None:
    staff_id, first = await invited(engine, None)
    await call(engine, "suspend_member", staff_id=staff_id, because="mistake")
    assert await refused(begin(engine, Codes(first))) == "enrolment_refused"


@pytest.mark.asvs("v5.0.0-6.4.6")
async def test_enrolling_again_voids_the_old_passkeys_and_opens_a_new_way(
    engine: AsyncEngine,
) -> None:
    colleague = await make_colleague(engine, "counter_clerk")
    first = await call(
        engine, "enrol_again", staff_id=colleague.id, approved_by=None, pepper=PEPPER
    )
    assert (await sign_in(engine, colleague.passkey)).tokens is None
    passkey = SoftAuthenticator()
    await finish(engine, Codes(first), passkey.create(await begin(engine, Codes(first))))
    assert (await sign_in(engine, passkey)).tokens is not None
    assert (await sign_in(engine, colleague.passkey)).tokens is None


async def test_roles_are_set_as_a_whole(engine: AsyncEngine) -> None:
    staff_id = await add(engine, "counter_clerk")

    async def change(*roles: str) -> None:
        await call(engine, "change_roles", staff_id=staff_id, roles=frozenset(roles))

    await change("counter_clerk", "counter_lead")
    assert (await member_of(engine, staff_id)).roles == {"counter_clerk", "counter_lead"}
    await change("counter_lead")
    assert (await member_of(engine, staff_id)).roles == {"counter_lead"}
    assert await refused(change("chief")) == "role_of_other_department"
    assert await refused(change()) == "role_unknown"
    assert (await member_of(engine, staff_id)).roles == {"counter_lead"}


async def test_family_is_set_as_a_whole(engine: AsyncEngine) -> None:
    own, child, parent = uuid4(), uuid4(), uuid4()
    staff_id = await add(engine, "counter_clerk", person_id=own, family=frozenset({child}))
    assert (await member_of(engine, staff_id)).circle == {own, child}
    await call(
        engine, "change_family", staff_id=staff_id, person_id=None, family=frozenset({parent})
    )
    assert (await member_of(engine, staff_id)).circle == {parent}


@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("change_roles", {"roles": frozenset({"counter_clerk"})}),
        ("change_family", {"person_id": None, "family": frozenset()}),
        ("suspend_member", {"because": "left"}),
        ("enrol_again", {"approved_by": None, "pepper": PEPPER}),
    ],
)
async def test_nothing_is_done_to_who_is_not_on_the_staff(
    engine: AsyncEngine, verb: str, values: dict[str, Any]
) -> None:
    assert await refused(call(engine, verb, staff_id=uuid4(), **values)) == "staff_unknown"


async def test_administrators_are_counted_whether_enrolled_or_only_invited(
    engine: AsyncEngine,
) -> None:
    async def count(**values: Any) -> int:  # noqa: ANN401 - arguments of many types
        async with read(engine) as connection:
            return await staff_accounts.count_administrators(connection, **values)

    before = await count()
    invited_id = await add(engine, "administrator")
    enrolled = await make_colleague(engine, "administrator")
    await make_colleague(engine, "counter_lead")
    assert await count() == before + 2
    assert await count(but=invited_id) == before + 1
    await call(engine, "suspend_member", staff_id=enrolled.id, because="left")
    assert await count() == before + 1


async def test_the_staff_are_listed_a_page_at_a_time(engine: AsyncEngine) -> None:
    added = [await add(engine, "counter_clerk") for _ in range(3)]
    async with read(engine) as connection:
        page = await list_members(connection, after=None, limit=2)
        rest = await list_members(connection, after=page[-1].id, limit=100)
    ids = [one.id for one in (*page, *rest)]
    assert len(page) == 2
    assert ids == sorted(ids)
    assert set(added) <= set(ids)


@pytest.mark.asvs("v5.0.0-14.2.4")
async def test_only_a_hash_of_the_employee_number_is_kept(engine: AsyncEngine) -> None:
    kept = login_hash("A-2048", pepper=PEPPER)
    assert len(kept) == 32
    assert kept != login_hash("A-2048", pepper=b"another pepper, of 32 bytes at least")
    await write(
        engine,
        lambda connection: add_member(connection, new=new(login_hash=kept), now_us=NOW_US),
    )


async def test_who_is_active_already_is_not_enrolled_again_by_an_old_code(
    engine: AsyncEngine,
) -> None:
    staff_id, first = await invited(engine, None)
    await enrol(engine, staff_id)
    assert await refused(begin(engine, Codes(first))) == "enrolment_refused"
