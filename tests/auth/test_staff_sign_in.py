"""Staff sign in with a passkey, for a day at most and an hour idle, and show it again."""

from dataclasses import dataclass
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import call, make_phone
from tests.factories.phones import sign_in as open_session
from tests.factories.staff import (
    SITE,
    Colleague,
    add,
    enrol,
    make_colleague,
    sign_in_with,
)
from tests.soft_authenticator import SoftAuthenticator
from wallet.auth.passkeys import (
    begin_passkey_registration,
    begin_passkey_sign_in,
    finish_passkey_registration,
)
from wallet.auth.proofs import UNAUTHENTICATED
from wallet.auth.refresh_session import Request, refresh_session
from wallet.auth.revoke_sessions import revoke_all_sessions
from wallet.auth.rules import Method
from wallet.auth.staff_accounts import suspend_member
from wallet.auth.staff_sign_in import StaffCaller, authenticate_staff, reauthenticate
from wallet.auth.tokens import Tokens
from wallet.core.clock import MICROSECONDS
from wallet.core.database import write
from wallet.core.refusals import Refusal

MIN_US = 60 * MICROSECONDS
H_US = 60 * MIN_US


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A colleague and the tokens they have."""

    colleague: Colleague
    tokens: Tokens


@pytest.fixture
async def clerk(engine: AsyncEngine) -> SignedIn:
    """Return somebody at the counter who has just signed in."""
    colleague = await make_colleague(engine, "counter_clerk")
    attempt = await sign_in_with(engine, colleague.passkey)
    assert attempt.tokens is not None
    return SignedIn(colleague=colleague, tokens=attempt.tokens)


async def asked(
    engine: AsyncEngine, tokens: Tokens, *, now_us: int = NOW_US, scheme: str = "Bearer"
) -> StaffCaller | Refusal:
    """Return who a request with these tokens comes from."""
    return await authenticate_staff(
        engine,
        authorization=f"{scheme} {tokens.access_token}",
        method="GET",
        path="/office/v1/me",
        pepper=PEPPER,
        now_us=now_us,
    )


async def renew(engine: AsyncEngine, tokens: Tokens, *, now_us: int) -> Tokens | Refusal:
    """Ask for the next tokens."""
    request = Request(
        refresh_token=tokens.refresh_token,
        proof=None,
        method="POST",
        path="/office/v1/refresh",
        body=b"",
    )
    return await refresh_session(engine, request=request, pepper=PEPPER, now_us=now_us)


async def show_again(
    engine: AsyncEngine, caller: StaffCaller, passkey: SoftAuthenticator, *, now_us: int = NOW_US
) -> Tokens | Refusal:
    """Show a passkey in the caller's session."""
    credential = passkey.get(begin_passkey_sign_in(site=SITE, pepper=PEPPER, now_us=now_us))

    async def work(connection: AsyncConnection) -> Tokens | Refusal:
        return await reauthenticate(
            connection,
            site=SITE,
            caller=caller,
            credential=credential,
            pepper=PEPPER,
            now_us=now_us,
        )

    return await write(engine, work)


async def test_a_passkey_opens_a_session_that_knows_who_it_is(
    engine: AsyncEngine, clerk: SignedIn
) -> None:
    caller = await asked(engine, clerk.tokens)
    assert isinstance(caller, StaffCaller)
    assert caller.member.id == clerk.colleague.id
    assert caller.member.roles == {"counter_clerk"}
    assert {one.method for one in caller.session.classes} == {Method.PASSKEY}


@pytest.mark.asvs("v5.0.0-7.3.1")
@pytest.mark.asvs("v5.0.0-7.3.2")
async def test_a_session_lasts_an_hour_idle_and_a_day_in_all(
    engine: AsyncEngine, clerk: SignedIn
) -> None:
    assert clerk.tokens.refresh_expires_in_s == 3_600
    assert isinstance(await renew(engine, clerk.tokens, now_us=NOW_US + H_US), Refusal)
    tokens = clerk.tokens
    for minutes in (*range(50, 24 * 60 - 1, 50), 24 * 60 - 1):
        renewed = await renew(engine, tokens, now_us=NOW_US + minutes * MIN_US)
        assert isinstance(renewed, Tokens)
        tokens = renewed
    assert isinstance(await asked(engine, tokens, now_us=NOW_US + 24 * H_US - 1), StaffCaller)
    assert await asked(engine, tokens, now_us=NOW_US + 24 * H_US) == UNAUTHENTICATED
    assert isinstance(await renew(engine, tokens, now_us=NOW_US + 24 * H_US), Refusal)


async def test_an_access_token_lasts_ten_minutes(engine: AsyncEngine, clerk: SignedIn) -> None:
    assert isinstance(
        await asked(engine, clerk.tokens, now_us=NOW_US + 10 * MIN_US - 1), StaffCaller
    )
    assert await asked(engine, clerk.tokens, now_us=NOW_US + 10 * MIN_US) == UNAUTHENTICATED


@pytest.mark.parametrize("scheme", ["DPoP", "Basic", ""])
async def test_a_token_comes_as_a_bearer_token_or_not_at_all(
    engine: AsyncEngine, clerk: SignedIn, scheme: str
) -> None:
    assert await asked(engine, clerk.tokens, scheme=scheme) == UNAUTHENTICATED


async def test_without_a_session_nobody_is_anybody(engine: AsyncEngine) -> None:
    caller = await authenticate_staff(
        engine,
        authorization=None,
        method="GET",
        path="/office/v1/me",
        pepper=PEPPER,
        now_us=NOW_US,
    )
    assert caller == UNAUTHENTICATED


@pytest.mark.attack(28)
@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-8.2.1")
@pytest.mark.asvs("v5.0.0-10.3.1")
async def test_a_residents_phone_opens_no_door_of_staff(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    assert not isinstance(await call(engine, phone), Refusal)
    for scheme in ("Bearer", "DPoP"):
        assert await asked(engine, phone.tokens, scheme=scheme) == UNAUTHENTICATED


@pytest.mark.attack(28)
async def test_a_residents_passkey_signs_nobody_in_here(engine: AsyncEngine) -> None:
    resident, passkey = uuid4(), SoftAuthenticator()

    async def register(connection: AsyncConnection) -> None:
        options = await begin_passkey_registration(
            connection,
            site=SITE,
            principal_id=resident,
            user_name="someone",
            pepper=PEPPER,
            now_us=NOW_US,
        )
        await finish_passkey_registration(
            connection,
            site=SITE,
            principal_id=resident,
            credential=passkey.create(options),
            name="phone",
            pepper=PEPPER,
            now_us=NOW_US,
        )

    await write(engine, register)
    attempt = await sign_in_with(engine, passkey)
    assert (attempt.tokens, attempt.staff_id) == (None, None)
    # And a session that some door gave them without a device opens none of these.
    tokens = await open_session(engine, resident, None)
    assert await asked(engine, tokens) == UNAUTHENTICATED


@pytest.mark.parametrize(
    "changed",
    [{"origin": "https://evil.example"}, {"verified": False}, {"framed": True}],
    ids=["another site", "no finger", "in a frame"],
)
@pytest.mark.attack(7)
async def test_a_passkey_that_was_phished_or_not_unlocked_is_refused(
    engine: AsyncEngine, clerk: SignedIn, changed: dict[str, object]
) -> None:
    passkey = clerk.colleague.passkey
    for name, value in changed.items():
        setattr(passkey, name, value)
    attempt = await sign_in_with(engine, passkey)
    assert (attempt.tokens, attempt.staff_id) == (None, None)


async def test_who_has_only_been_invited_cannot_sign_in(engine: AsyncEngine) -> None:
    await add(engine, "counter_clerk")
    assert (await sign_in_with(engine, SoftAuthenticator())).tokens is None


@pytest.mark.asvs("v5.0.0-7.4.2")
async def test_whoever_is_suspended_is_out_at_once(engine: AsyncEngine, clerk: SignedIn) -> None:
    await write(
        engine,
        lambda connection: suspend_member(
            connection, staff_id=clerk.colleague.id, because="left", now_us=NOW_US
        ),
    )
    assert await asked(engine, clerk.tokens) == UNAUTHENTICATED
    assert isinstance(await renew(engine, clerk.tokens, now_us=NOW_US), Refusal)


@pytest.mark.asvs("v5.0.0-7.2.4")
@pytest.mark.asvs("v5.0.0-7.5.3")
async def test_showing_the_passkey_again_gives_new_tokens_and_a_new_age(
    engine: AsyncEngine, clerk: SignedIn
) -> None:
    later_us = NOW_US + 9 * MIN_US
    caller = await asked(engine, clerk.tokens, now_us=later_us)
    assert isinstance(caller, StaffCaller)
    tokens = await show_again(engine, caller, clerk.colleague.passkey, now_us=later_us)
    assert isinstance(tokens, Tokens)
    assert tokens.access_token != clerk.tokens.access_token
    shown = await asked(engine, tokens, now_us=later_us)
    assert isinstance(shown, StaffCaller)
    assert {one.at_us for one in shown.session.classes} == {later_us}
    # The old ones end once no answer can be under way any more.
    assert await asked(engine, clerk.tokens, now_us=later_us + MIN_US) == UNAUTHENTICATED


@pytest.mark.attack(28)
@pytest.mark.attack(5)
async def test_a_colleagues_passkey_raises_nobody_elses_session(
    engine: AsyncEngine, clerk: SignedIn
) -> None:
    caller = await asked(engine, clerk.tokens)
    assert isinstance(caller, StaffCaller)
    colleague = await make_colleague(engine, "counter_lead")
    refusal = await show_again(engine, caller, colleague.passkey)
    assert refusal == Refusal("passkey_refused")


@pytest.mark.attack(19)
async def test_an_assertion_signs_in_once(engine: AsyncEngine) -> None:
    colleague = await enrol(engine, await add(engine, "counter_clerk"))
    options = begin_passkey_sign_in(site=SITE, pepper=PEPPER, now_us=NOW_US)

    class Recorded(SoftAuthenticator):
        """Sends the same bytes whenever it is asked."""

        def get(self, _: dict[str, object]) -> str:
            return credential

    credential = colleague.passkey.get(options)
    recorded = Recorded()
    assert (await sign_in_with(engine, recorded)).tokens is not None
    assert (await sign_in_with(engine, recorded)).tokens is None


@pytest.mark.asvs("v5.0.0-7.4.5")
@pytest.mark.attack(28)
async def test_revoking_all_sessions_leaves_nobody_signed_in(
    engine: AsyncEngine, clerk: SignedIn
) -> None:
    phone = await make_phone(engine)
    assert await revoke_all_sessions(engine, because="incident", now_us=NOW_US) >= 2
    assert await asked(engine, clerk.tokens) == UNAUTHENTICATED
    assert await call(engine, phone) == UNAUTHENTICATED
    assert (await sign_in_with(engine, clerk.colleague.passkey)).tokens is not None
