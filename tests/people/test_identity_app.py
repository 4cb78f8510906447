"""The identity app's client believes only what was said to it, just now, by the right key."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.factories.identity import Identities, open_identities
from wallet.demo.fake_identity_app import CITIZENS, Mode
from wallet.people.circuit import FAILURES_MAX, OPEN_S
from wallet.people.id_tokens import IdentityFault, IdentityNotAcceptedError
from wallet.people.identity_app import (
    SCOPE_ONLY_WHO,
    SCOPE_WITH_ADDRESS,
    UNDER_WAY_MAX,
    Identity,
    IdentityAppAwayError,
    Secrets,
    new_secrets,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Identities]:
    """Yield one provider for the module."""
    async with open_identities(slow_s=0.6) as identities:
        yield identities


@pytest.fixture
def identities(served: Identities) -> Identities:
    """Return the provider, honest again."""
    served.provider.mode = Mode.HONEST
    served.app.circuit.succeeded()
    return served


async def begun(
    identities: Identities, citizen: str = "taro", *, scope: str = SCOPE_ONLY_WHO
) -> tuple[str, Secrets]:
    """Begin a flow, visit the provider, and return the code with the flow's secrets."""
    secret = new_secrets()
    url = await identities.app.authorization_url(state="s" * 20, secret=secret, scope=scope)
    visited = await identities.visit(url, citizen)
    assert visited.code is not None
    return visited.code, secret


async def redeemed(
    identities: Identities, code: str, secret: Secrets, *, with_address: bool = False
) -> Identity:
    """Redeem a code."""
    return await identities.app.redeem(
        code=code, secret=secret, with_address=with_address, now_us=identities.clock()
    )


async def fault_of(identities: Identities, mode: Mode) -> IdentityFault:
    """Return what the client finds wrong when the provider behaves so."""
    code, secret = await begun(identities, scope=SCOPE_WITH_ADDRESS)
    identities.provider.mode = mode
    with pytest.raises(IdentityNotAcceptedError) as caught:
        await redeemed(identities, code, secret, with_address=True)
    assert caught.value.refusal.code == "identity_not_accepted"
    assert not caught.value.refusal.facts
    return caught.value.fault


async def test_a_code_leads_to_who_somebody_is(identities: Identities) -> None:
    code, secret = await begun(identities)
    identity = await redeemed(identities, code, secret)
    assert identity == Identity(identities.provider.subject_of("taro"), None)


async def test_the_address_comes_only_when_it_was_asked_for(identities: Identities) -> None:
    code, secret = await begun(identities, "jiro", scope=SCOPE_WITH_ADDRESS)
    identity = await redeemed(identities, code, secret, with_address=True)
    assert identity.address == CITIZENS["jiro"].address


async def test_who_gives_up_comes_back_without_a_code(identities: Identities) -> None:
    url = await identities.app.authorization_url(
        state="s" * 20, secret=new_secrets(), scope=SCOPE_ONLY_WHO
    )
    visited = await identities.visit(url, "")
    assert (visited.code, visited.error) == (None, "access_denied")


@pytest.mark.attack(24)
@pytest.mark.asvs("v5.0.0-9.1.1")
@pytest.mark.asvs("v5.0.0-9.1.2")
@pytest.mark.asvs("v5.0.0-9.1.3")
@pytest.mark.asvs("v5.0.0-9.2.1")
@pytest.mark.asvs("v5.0.0-9.2.3")
@pytest.mark.asvs("v5.0.0-6.8.2")
@pytest.mark.asvs("v5.0.0-10.5.1")
@pytest.mark.asvs("v5.0.0-10.5.4")
@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        (Mode.WRONG_ISSUER, IdentityFault.ISSUER),
        (Mode.WRONG_AUDIENCE, IdentityFault.AUDIENCE),
        (Mode.WRONG_NONCE, IdentityFault.NONCE),
        (Mode.ALG_NONE, IdentityFault.ALGORITHM),
        (Mode.ALG_HS256, IdentityFault.ALGORITHM),
        (Mode.OTHER_KEY, IdentityFault.SIGNATURE),
        (Mode.OWN_JWK, IdentityFault.SIGNATURE),
        (Mode.UNKNOWN_KID, IdentityFault.KEY),
        (Mode.EXPIRED, IdentityFault.EXPIRED),
        (Mode.FROM_THE_FUTURE, IdentityFault.MOMENT),
        (Mode.OLD_AUTHENTICATION, IdentityFault.MOMENT),
        (Mode.LOW_LEVEL, IdentityFault.LEVEL),
        (Mode.OTHER_PERSON, IdentityFault.SUBJECT),
        (Mode.GARBLED, IdentityFault.ANSWER),
        (Mode.ENDLESS, IdentityFault.ANSWER),
    ],
)
async def test_a_token_that_was_bent_is_refused(
    identities: Identities, mode: Mode, fault: IdentityFault
) -> None:
    assert await fault_of(identities, mode) is fault


@pytest.mark.asvs("v5.0.0-6.8.4")
async def test_a_card_that_was_not_read_is_not_believed(identities: Identities) -> None:
    assert await fault_of(identities, Mode.LOW_LEVEL) is IdentityFault.LEVEL


@pytest.mark.asvs("v5.0.0-10.1.2")
@pytest.mark.asvs("v5.0.0-10.2.1")
async def test_a_code_works_once_and_only_with_its_verifier(identities: Identities) -> None:
    code, secret = await begun(identities)
    with pytest.raises(IdentityNotAcceptedError) as caught:
        await redeemed(identities, code, Secrets(new_secrets().verifier, secret.nonce))
    assert caught.value.fault is IdentityFault.GRANT
    with pytest.raises(IdentityNotAcceptedError):
        await redeemed(identities, code, secret)


async def test_a_code_is_too_old_after_a_minute(identities: Identities) -> None:
    code, secret = await begun(identities)
    identities.clock.advance(seconds=61)
    with pytest.raises(IdentityNotAcceptedError) as caught:
        await redeemed(identities, code, secret)
    assert caught.value.fault is IdentityFault.GRANT


@pytest.mark.asvs("v5.0.0-10.1.2")
async def test_a_code_of_another_flow_is_refused(identities: Identities) -> None:
    code, secret = await begun(identities)
    _, other = await begun(identities, "hanako")
    with pytest.raises(IdentityNotAcceptedError):
        await redeemed(identities, code, Secrets(secret.verifier, other.nonce))


async def test_only_the_client_with_the_key_is_answered(identities: Identities) -> None:
    code, secret = await begun(identities)
    async with open_identities(clock=identities.clock, issuer=identities.provider.issuer) as other:
        with pytest.raises(IdentityNotAcceptedError) as caught:
            await redeemed(other, code, secret)
    assert caught.value.fault is IdentityFault.GRANT


@pytest.mark.asvs("v5.0.0-10.5.3")
async def test_an_issuer_that_differs_by_a_slash_is_another_one(identities: Identities) -> None:
    issuer = f"{identities.provider.issuer}/"
    async with open_identities(clock=identities.clock, issuer=issuer) as strict:
        with pytest.raises(IdentityNotAcceptedError) as caught:
            await strict.app.authorization_url(
                state="s" * 20, secret=new_secrets(), scope=SCOPE_ONLY_WHO
            )
    assert caught.value.fault is IdentityFault.ISSUER


async def test_the_directory_and_the_keys_are_asked_for_once() -> None:
    async with open_identities() as identities:
        for _ in range(2):
            code, secret = await begun(identities)
            await redeemed(identities, code, secret)
        assert identities.provider.calls == {"discovery": 1, "certs": 1, "token": 2}


@pytest.mark.asvs("v5.0.0-16.5.2")
@pytest.mark.parametrize("mode", [Mode.BUSY, Mode.DOWN])
async def test_a_provider_that_fails_is_told_as_away(identities: Identities, mode: Mode) -> None:
    code, secret = await begun(identities)
    identities.provider.mode = mode
    with pytest.raises(IdentityAppAwayError) as caught:
        await redeemed(identities, code, secret)
    assert caught.value.refusal.code == "identity_app_unavailable"
    assert caught.value.refusal.facts["retry_after_s"] > 0


@pytest.mark.asvs("v5.0.0-16.5.2")
async def test_nobody_waits_for_a_slow_provider_beyond_the_limit() -> None:
    async with open_identities(slow_s=20.0, timeout_s=0.3) as slow:
        code, secret = await begun(slow)
        slow.provider.mode = Mode.SLOW
        async with asyncio.timeout(2):
            with pytest.raises(IdentityAppAwayError):
                await redeemed(slow, code, secret)
        slow.provider.mode = Mode.HONEST


async def test_after_failures_in_a_row_nobody_waits_and_then_one_tries() -> None:
    now_s = [1_000.0]
    async with open_identities(seconds=lambda: now_s[0]) as identities:
        code, secret = await begun(identities)
        identities.provider.mode = Mode.DOWN
        for _ in range(FAILURES_MAX + 3):
            with pytest.raises(IdentityAppAwayError):
                await redeemed(identities, code, secret)
        assert identities.provider.calls["token"] == FAILURES_MAX
        identities.provider.mode = Mode.HONEST
        now_s[0] += OPEN_S
        assert (await redeemed(identities, code, secret)).subject


async def test_only_a_few_calls_are_under_way_at_once(identities: Identities) -> None:
    flows = [await begun(identities) for _ in range(UNDER_WAY_MAX + 4)]
    identities.provider.mode = Mode.SLOW
    answers = await asyncio.gather(
        *(redeemed(identities, code, secret) for code, secret in flows), return_exceptions=True
    )
    away = [one for one in answers if isinstance(one, IdentityAppAwayError)]
    assert len(away) == 4
    assert len([one for one in answers if isinstance(one, Identity)]) == UNDER_WAY_MAX
