"""The first two administrators come from the shell, and on live money nobody after them."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import open_engine
from tests.factories.staff import SITE, member_of
from tests.servers import Database
from tests.soft_authenticator import SoftAuthenticator
from wallet.auth.staff_accounts import Codes, NewMember, login_hash, suspend_member
from wallet.auth.staff_bootstrap import bootstrap_again, bootstrap_member
from wallet.auth.staff_rules import State
from wallet.auth.staff_sign_in import begin_enrolment, finish_enrolment
from wallet.core.database import write
from wallet.core.refusals import RefusedError


@pytest.fixture
async def empty(database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on a city without any staff."""
    async with open_engine(database.application_url, pool_size=2) as engine:
        yield engine


async def begin(
    engine: AsyncEngine, role: str = "administrator", *, livemode: bool = True
) -> tuple[UUID, str]:
    """Add a member from the shell and return their id and code."""
    new = NewMember(
        id=uuid4(),
        login_hash=login_hash(uuid4().hex, pepper=PEPPER),
        display_name="管理者",
        department="systems" if role == "administrator" else "citizens",
        roles=frozenset({role}),
    )
    code = await write(
        engine,
        lambda connection: bootstrap_member(
            connection, new=new, livemode=livemode, pepper=PEPPER, now_us=NOW_US
        ),
    )
    return new.id, code


async def again(engine: AsyncEngine, staff_id: UUID, *, livemode: bool = True) -> str:
    """Return a new code for a member."""
    return await write(
        engine,
        lambda connection: bootstrap_again(
            connection, staff_id=staff_id, livemode=livemode, pepper=PEPPER, now_us=NOW_US
        ),
    )


async def enrol(engine: AsyncEngine, code: str) -> UUID:
    """Enrol with a code that needs no second half."""
    options = await write(
        engine,
        lambda connection: begin_enrolment(
            connection, site=SITE, codes=Codes(code), pepper=PEPPER, now_us=NOW_US
        ),
    )
    credential = SoftAuthenticator().create(options)
    member, _ = await write(
        engine,
        lambda connection: finish_enrolment(
            connection,
            site=SITE,
            codes=Codes(code),
            credential=credential,
            name="鍵",
            pepper=PEPPER,
            now_us=NOW_US,
        ),
    )
    return member.id


async def refused(engine: AsyncEngine, role: str = "administrator") -> str:
    """Return why nobody more is added."""
    with pytest.raises(RefusedError) as caught:
        await begin(engine, role)
    return caught.value.refusal.code


async def test_two_administrators_begin_and_nobody_after_them(empty: AsyncEngine) -> None:
    for _ in range(2):
        staff_id, code = await begin(empty)
        assert await enrol(empty, code) == staff_id
        assert (await member_of(empty, staff_id)).state is State.ACTIVE
    assert await refused(empty) == "bootstrap_over"


@pytest.mark.attack(28)
async def test_codes_that_nobody_has_used_count_as_administrators(empty: AsyncEngine) -> None:
    await begin(empty)
    await begin(empty)
    assert await refused(empty) == "bootstrap_over"


@pytest.mark.attack(28)
async def test_the_shell_gives_no_other_power_on_live_money(empty: AsyncEngine) -> None:
    assert await refused(empty, "counter_lead") == "bootstrap_role"
    await begin(empty, "counter_lead", livemode=False)


async def test_an_administrator_who_lost_the_key_begins_again_while_there_are_not_two_others(
    empty: AsyncEngine,
) -> None:
    first, code = await begin(empty)
    await enrol(empty, code)
    second, _ = await begin(empty)
    assert await enrol(empty, await again(empty, first)) == first
    await write(
        empty,
        lambda connection: suspend_member(
            connection, staff_id=first, because="lost", now_us=NOW_US
        ),
    )
    third, _ = await begin(empty)
    # Now there are two others, so the way back for the first leads through them.
    with pytest.raises(RefusedError, match="bootstrap_over"):
        await again(empty, first)
    assert {await enrol(empty, await again(empty, one)) for one in (second, third)} == {
        second,
        third,
    }


async def test_nobody_unknown_and_nobody_else_begins_again(empty: AsyncEngine) -> None:
    with pytest.raises(RefusedError, match="staff_unknown"):
        await again(empty, uuid4())
    clerk, _ = await begin(empty, "counter_clerk", livemode=False)
    with pytest.raises(RefusedError, match="bootstrap_role"):
        await again(empty, clerk)
    assert await enrol(empty, await again(empty, clerk, livemode=False)) == clerk
