"""The identity app raises a person once, lets them back in, and approves one operation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.identity import Identities, open_identities
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import Phone, call, caller_of, events_of, open_engine, refresh
from tests.factories.residents import Resident, make_resident, person_of, row_of, within
from tests.servers import Database
from tests.soft_device import SoftDevice
from wallet.auth.create_challenge import create_challenge, make_challenge
from wallet.auth.enrol_device import DEVICES_MAX
from wallet.auth.pass_challenge import Passed
from wallet.auth.proofs import thumbprint_of
from wallet.auth.rules import Acr, Operation, Requirement
from wallet.auth.step_up_storage import Challenge
from wallet.core.clock import MICROSECONDS
from wallet.core.database import metadata, read
from wallet.core.refusals import Refusal, RefusedError
from wallet.demo.fake_identity_app import Mode
from wallet.people.id_tokens import IdentityFault, IdentityNotAcceptedError
from wallet.people.identity import (
    Begun,
    City,
    Flow,
    Raised,
    Returned,
    begin_identity,
    pass_by_identity_app,
    raise_by_identity_app,
    recover_by_identity_app,
)
from wallet.people.identity_app import IdentityAppAwayError
from wallet.people.rules import SET_UP_S, Tier
from wallet.people.sign_in import SignedIn
from wallet.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIMEJI = City.of(Settings())
LONG_AGO_US = NOW_US - 2 * SET_UP_S * MICROSECONDS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Identities]:
    """Yield one provider for the module."""
    async with open_identities() as identities:
        yield identities


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield the module's city; each citizen can be raised once in it."""
    async with open_engine(module_database.application_url) as engine:
        yield engine


async def no_trail(connection: AsyncConnection, person_id: UUID) -> None:
    """Write nothing more."""
    del connection, person_id


def thumbprint(soft: SoftDevice) -> bytes:
    """Return what a flow is bound to."""
    return thumbprint_of(soft.key.public_key)


async def visited(
    engine: AsyncEngine, identities: Identities, flow: Flow, citizen: str
) -> Returned:
    """Begin a flow, visit the identity app, and return what comes back."""
    begun = await begin_identity(engine, identities.app, flow=flow, pepper=PEPPER, now_us=NOW_US)
    assert isinstance(begun, Begun), begun
    back = await identities.visit(begun.url, citizen)
    assert (back.state, back.issuer) == (begun.state, identities.provider.issuer)
    assert back.code is not None
    return Returned(back.state, back.code, back.issuer)


async def raised(
    engine: AsyncEngine,
    identities: Identities,
    resident: Resident,
    citizen: str,
    *,
    returned: Returned | None = None,
) -> Raised:
    """Raise somebody who is this citizen."""
    phone = resident.phone
    flow = Flow(purpose="raise", thumbprint=thumbprint(phone.soft), person_id=resident.id)
    return await raise_by_identity_app(
        engine,
        identities.app,
        caller=await caller_of(engine, phone),
        thumbprint=thumbprint(phone.soft),
        returned=returned or await visited(engine, identities, flow, citizen),
        city=HIMEJI,
        record=no_trail,
        pepper=PEPPER,
        now_us=NOW_US,
    )


async def recovered(
    engine: AsyncEngine,
    identities: Identities,
    soft: SoftDevice,
    citizen: str,
    **changes: Any,  # noqa: ANN401 - arguments of many types
) -> SignedIn:
    """Let a citizen back in on a new phone."""
    flow = Flow(purpose="recover", thumbprint=thumbprint(soft))
    arguments: dict[str, Any] = {
        "new": soft.new_device(),
        "thumbprint": thumbprint(soft),
        "returned": await visited(engine, identities, flow, citizen),
        "revoke_others": False,
        "record": no_trail,
        **changes,
    }
    return await recover_by_identity_app(
        engine, identities.app, pepper=PEPPER, now_us=NOW_US, **arguments
    )


async def test_a_resident_is_raised_with_their_wallet(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    answer = await raised(city, served, resident, taro)
    assert (answer.tier, answer.resident) == (Tier.RESIDENT, True)
    person = await person_of(city, resident.id)
    assert (person.tier, person.resident) == (Tier.RESIDENT, True)
    wallet = await row_of(
        city,
        "SELECT holder, tier, payment_limit_yen, daily_limit_yen FROM wallet WHERE id = :id",
        id=resident.wallet_id,
    )
    assert tuple(wallet.values()) == ("resident", "T2", 100_000, 300_000)


async def test_who_lives_elsewhere_is_raised_and_is_no_resident(
    city: AsyncEngine, served: Identities
) -> None:
    visitor = await make_resident(city)
    answer = await raised(city, served, visitor, served.born("jiro"))
    assert (answer.tier, answer.resident) == (Tier.RESIDENT, False)
    wallet = await row_of(
        city, "SELECT holder, tier FROM wallet WHERE id = :id", id=visitor.wallet_id
    )
    assert tuple(wallet.values()) == ("visitor", "T2")


async def test_a_limit_that_its_holder_has_lowered_stays_low(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    lower = text("UPDATE wallet SET payment_limit_yen = 2000 WHERE id = :id")
    await within(city, lambda connection: connection.execute(lower, {"id": resident.wallet_id}))
    await raised(city, served, resident, taro)
    wallet = await row_of(
        city,
        "SELECT payment_limit_yen, daily_limit_yen FROM wallet WHERE id = :id",
        id=resident.wallet_id,
    )
    assert tuple(wallet.values()) == (2_000, 300_000)


@pytest.mark.attack(14)
async def test_a_citizen_raises_one_account_and_no_other(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    first, second = await make_resident(city), await make_resident(city)
    await raised(city, served, first, taro)
    with pytest.raises(RefusedError, match="identity_already_used"):
        await raised(city, served, second, taro)
    assert (await person_of(city, second.id)).tier is Tier.DEVICE
    again = await raised(city, served, first, taro)
    assert again.tier is Tier.RESIDENT


@pytest.mark.attack(14)
async def test_of_two_accounts_raised_at_once_one_is(city: AsyncEngine, served: Identities) -> None:
    taro = served.born()
    pair = await make_resident(city), await make_resident(city)
    answers = await asyncio.gather(
        *(raised(city, served, one, taro) for one in pair), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in answers) == ["Raised", "RefusedError"]


@pytest.mark.asvs("v5.0.0-10.5.2")
async def test_an_account_cannot_become_somebody_elses(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    hanako = served.born("hanako")
    resident = await make_resident(city)
    await raised(city, served, resident, taro)
    with pytest.raises(RefusedError, match="identity_other_person"):
        await raised(city, served, resident, hanako)


@pytest.mark.asvs("v5.0.0-14.2.6")
async def test_all_that_is_kept_of_the_identity_app_is_a_keyed_hash(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    await raised(city, served, resident, taro)
    subject = served.provider.subject_of(taro)
    async with read(city) as connection:
        for table in metadata.tables:
            rows = (await connection.execute(text(f"SELECT t::text FROM {table} AS t"))).scalars()  # noqa: S608 - our tables
            told = " ".join(rows)
            assert subject not in told
            for word in ("安田四丁目", "見本", subject.encode().hex()):
                assert word not in told


async def test_who_is_raised_long_after_enrolling_cools_off(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    fresh, old = await make_resident(city), await make_resident(city, now_us=LONG_AGO_US)
    await raised(city, served, fresh, taro)
    assert not (await person_of(city, fresh.id)).cools_off(now_us=NOW_US)
    signed = await raised_later(city, served, old)
    assert signed.tier is Tier.RESIDENT
    assert (await person_of(city, old.id)).cools_off(now_us=NOW_US)
    kinds = [kind for kind, _ in await events_of(city, old.id)]
    assert {"security.sign_in_changed", "person.raised"} <= set(kinds)


async def raised_later(engine: AsyncEngine, identities: Identities, old: Resident) -> Raised:
    """Raise somebody whose tokens have grown old and were renewed."""
    tokens = await refresh(engine, old.phone)
    assert not isinstance(tokens, Refusal)
    phone = Phone(
        principal_id=old.id, device_id=old.phone.device_id, tokens=tokens, soft=old.phone.soft
    )
    later = Resident(phone=phone, wallet_id=old.wallet_id, tier=old.tier)
    return await raised(engine, identities, later, identities.born())


@pytest.mark.asvs("v5.0.0-7.2.4")
async def test_more_was_shown_so_the_tokens_are_new(city: AsyncEngine, served: Identities) -> None:
    taro = served.born()
    resident = await make_resident(city)
    answer = await raised(city, served, resident, taro)
    assert answer.tokens.access_token != resident.phone.tokens.access_token
    caller = await call(city, resident.phone, token=answer.tokens.access_token)
    assert not isinstance(caller, Refusal)
    assert "proofing" in {one.factor_class for one in caller.classes}


@pytest.mark.attack(7)
@pytest.mark.asvs("v5.0.0-10.1.2")
@pytest.mark.asvs("v5.0.0-10.2.1")
async def test_a_flow_comes_back_once_to_the_phone_and_the_person_that_began_it(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident, other = await make_resident(city), await make_resident(city)
    phone = resident.phone
    flow = Flow(purpose="raise", thumbprint=thumbprint(phone.soft), person_id=resident.id)
    returned = await visited(city, served, flow, taro)
    with pytest.raises(RefusedError, match="identity_flow_unknown"):
        await raised(city, served, other, taro, returned=returned)
    await raised(city, served, resident, taro, returned=returned)
    with pytest.raises(RefusedError, match="identity_flow_unknown"):
        await raised(city, served, resident, taro, returned=returned)


async def test_a_flow_of_one_purpose_serves_no_other(city: AsyncEngine, served: Identities) -> None:
    taro = served.born()
    soft = SoftDevice()
    flow = Flow(purpose="recover", thumbprint=thumbprint(soft))
    returned = await visited(city, served, flow, taro)
    resident = await make_resident(city)
    with pytest.raises(RefusedError, match="identity_flow_unknown"):
        await raised(city, served, resident, taro, returned=returned)


@pytest.mark.asvs("v5.0.0-10.2.2")
async def test_an_answer_of_another_issuer_is_not_redeemed(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    flow = Flow(purpose="raise", thumbprint=thumbprint(resident.phone.soft), person_id=resident.id)
    returned = await visited(city, served, flow, taro)
    mixed_up = Returned(returned.state, returned.code, "https://op.example")
    asked = served.provider.calls.get("token", 0)
    with pytest.raises(IdentityNotAcceptedError) as caught:
        await raised(city, served, resident, taro, returned=mixed_up)
    assert caught.value.fault is IdentityFault.ISSUER
    assert served.provider.calls.get("token", 0) == asked


@pytest.mark.attack("A2")
@pytest.mark.attack(6)
@pytest.mark.asvs("v5.0.0-6.4.4")
@pytest.mark.asvs("v5.0.0-6.3.7")
async def test_who_lost_the_phone_comes_back_cooled_off_and_the_old_phone_hears_of_it(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    await raised(city, served, resident, taro)
    soft = SoftDevice()
    signed = await recovered(city, served, soft, taro)
    assert signed.person_id == resident.id
    assert signed.device_id != resident.phone.device_id
    assert (await person_of(city, resident.id)).cools_off(now_us=NOW_US)
    events = dict(await events_of(city, resident.id))
    assert events["security.device_added"]["told_device_ids"] == [str(resident.phone.device_id)]
    assert "security.recovered" in events
    assert not isinstance(await call(city, resident.phone), Refusal)


async def test_who_comes_back_may_end_the_phone_that_was_lost(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    answer = await raised(city, served, resident, taro)
    await recovered(city, served, SoftDevice(), taro, revoke_others=True)
    gone = await call(city, resident.phone, token=answer.tokens.access_token)
    assert gone == Refusal("unauthenticated")


async def test_who_has_as_many_phones_as_there_may_be_comes_back_by_ending_them(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    await raised(city, served, resident, taro)
    for _ in range(DEVICES_MAX - 1):
        await recovered(city, served, SoftDevice(), taro)
    with pytest.raises(RefusedError, match="devices_too_many"):
        await recovered(city, served, SoftDevice(), taro)
    signed = await recovered(city, served, SoftDevice(), taro, revoke_others=True)
    assert signed.person_id == resident.id


async def test_nobody_comes_back_who_was_never_here(city: AsyncEngine, served: Identities) -> None:
    hanako = served.born("hanako")
    with pytest.raises(RefusedError, match="identity_unknown"):
        await recovered(city, served, SoftDevice(), hanako)


async def challenged(engine: AsyncEngine, resident: Resident) -> Challenge:
    """Write a challenge that only the identity app satisfies."""
    challenge = make_challenge(
        principal_id=resident.id,
        device_id=resident.phone.device_id,
        operation=Operation.CHANGE_SIGN_IN,
        fields={"op": "change_sign_in"},
        summary={},
        requirement=Requirement(require=(Acr.JPKI,), max_age_s=600),
        now_us=NOW_US,
    )
    return await within(
        engine,
        lambda connection: create_challenge(
            connection, challenge=challenge, now_us=NOW_US, offered=frozenset({Acr.JPKI})
        ),
    )


async def passed(
    engine: AsyncEngine,
    identities: Identities,
    resident: Resident,
    challenge: Challenge,
    citizen: str,
) -> Passed | Refusal:
    """Answer a challenge by the identity app."""
    flow = Flow(
        purpose="step_up",
        thumbprint=thumbprint(resident.phone.soft),
        person_id=resident.id,
        challenge_id=challenge.id,
    )
    returned = await visited(engine, identities, flow, citizen)
    return await pass_by_identity_app(
        engine,
        identities.app,
        caller=await caller_of(engine, resident.phone),
        thumbprint=thumbprint(resident.phone.soft),
        returned=returned,
        pepper=PEPPER,
        now_us=NOW_US,
    )


async def test_the_identity_app_approves_the_operation_it_was_asked_for(
    city: AsyncEngine, served: Identities
) -> None:
    taro = served.born()
    resident = await make_resident(city)
    await raised(city, served, resident, taro)
    challenge = await challenged(city, resident)
    answer = await passed(city, served, resident, challenge, taro)
    assert isinstance(answer, Passed), answer
    assert answer.acr is Acr.JPKI


async def test_somebody_elses_card_approves_nothing(city: AsyncEngine, served: Identities) -> None:
    taro = served.born()
    hanako = served.born("hanako")
    resident, other = await make_resident(city), await make_resident(city)
    await raised(city, served, resident, taro)
    await raised(city, served, other, hanako)
    challenge = await challenged(city, resident)
    with pytest.raises(RefusedError, match="identity_other_person"):
        await passed(city, served, resident, challenge, hanako)


@pytest.mark.attack(25)
async def test_somebody_elses_challenge_cannot_be_answered(
    city: AsyncEngine, served: Identities
) -> None:
    resident, other = await make_resident(city), await make_resident(city)
    challenge = await challenged(city, resident)
    flow = Flow(
        purpose="step_up",
        thumbprint=thumbprint(other.phone.soft),
        person_id=other.id,
        challenge_id=challenge.id,
    )
    refusal = await begin_identity(city, served.app, flow=flow, pepper=PEPPER, now_us=NOW_US)
    assert refusal == Refusal("step_up_unknown")


IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""


@pytest.mark.asvs("v5.0.0-15.4.4")
async def test_a_slow_provider_holds_no_transaction(database: Database) -> None:
    async with (
        open_identities(slow_s=20.0, timeout_s=1.0) as slow,
        open_engine(database.application_url) as engine,
    ):
        taro = slow.born()
        resident = await make_resident(engine)
        phone = resident.phone
        flow = Flow(purpose="raise", thumbprint=thumbprint(phone.soft), person_id=resident.id)
        returned = await visited(engine, slow, flow, taro)
        slow.provider.mode = Mode.SLOW
        waiting = asyncio.ensure_future(raised(engine, slow, resident, taro, returned=returned))
        while not slow.provider.calls.get("token"):  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0.01)
        assert (await row_of(engine, IN_TRANSACTION))["count"] == 0
        with pytest.raises(IdentityAppAwayError):
            await waiting
        slow.provider.mode = Mode.HONEST
        assert (await person_of(engine, resident.id)).tier is Tier.DEVICE
