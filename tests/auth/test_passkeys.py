"""Passkeys: every lie an authenticator, a page or a thief could tell is refused in one way."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.factors import new_principal
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from tests.soft_authenticator import SoftAuthenticator, decode, encode
from wallet.auth.passkeys import (
    CEREMONY_S,
    PASSKEYS_MAX,
    REFUSED,
    Options,
    Passkey,
    Site,
    begin_passkey_assertion,
    begin_passkey_registration,
    begin_passkey_sign_in,
    finish_passkey_assertion,
    finish_passkey_registration,
    finish_passkey_sign_in,
    list_passkeys,
    revoke_passkey,
)
from wallet.core.clock import MICROSECONDS
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import Refusal, RefusedError
from wallet.settings import Settings

SITE = Site.of(Settings())
CHALLENGE = bytes(range(32))

EVENTS = text("""
SELECT body ->> 'change' FROM outbox
WHERE kind = 'security.factor_changed' AND body ->> 'principal_id' = :id ORDER BY seq
""")
SPENT = text("SELECT count(*) FROM used_proof")


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city."""
    engine = make_engine(module_database.application_url, pool_size=8, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.fixture
def holder() -> UUID:
    """Return somebody who wants a passkey."""
    return new_principal()


@pytest.fixture
async def phone(engine: AsyncEngine, holder: UUID) -> SoftAuthenticator:
    """Return the holder's phone, with a passkey."""
    phone = SoftAuthenticator()
    await register(engine, holder, phone)
    return phone


async def creation_options(
    engine: AsyncEngine, principal_id: UUID, *, at_us: int = NOW_US
) -> Options:
    """Begin a registration."""
    async with read(engine) as connection:
        return await begin_passkey_registration(
            connection,
            site=SITE,
            principal_id=principal_id,
            user_name="花子",
            pepper=PEPPER,
            now_us=at_us,
        )


async def keep(
    engine: AsyncEngine, principal_id: UUID, credential: str, *, name: str = "phone",
    at_us: int = NOW_US,
) -> Passkey:  # fmt: skip
    """Finish a registration."""
    work = partial(
        finish_passkey_registration,
        site=SITE,
        principal_id=principal_id,
        credential=credential,
        name=name,
        pepper=PEPPER,
        now_us=at_us,
    )
    return await write(engine, work)


async def register(engine: AsyncEngine, principal_id: UUID, phone: SoftAuthenticator) -> Passkey:
    """Register a passkey."""
    credential = phone.create(await creation_options(engine, principal_id))
    return await keep(engine, principal_id, credential)


async def request_options(engine: AsyncEngine, principal_id: UUID) -> Options:
    """Begin an assertion over the caller's challenge."""
    async with read(engine) as connection:
        return await begin_passkey_assertion(
            connection, site=SITE, principal_id=principal_id, challenge=CHALLENGE
        )


async def answer(
    engine: AsyncEngine, principal_id: UUID, credential: str, *, challenge: bytes = CHALLENGE
) -> Refusal | None:
    """Finish an assertion."""
    work = partial(
        finish_passkey_assertion,
        site=SITE,
        principal_id=principal_id,
        credential=credential,
        challenge=challenge,
        now_us=NOW_US,
    )
    return await write(engine, work)


async def sign_in(engine: AsyncEngine, credential: str, *, at_us: int = NOW_US) -> UUID | Refusal:
    """Finish a sign-in."""
    work = partial(
        finish_passkey_sign_in, site=SITE, credential=credential, pepper=PEPPER, now_us=at_us
    )
    return await write(engine, work)


def sign_in_options(*, at_us: int = NOW_US) -> Options:
    """Begin a sign-in."""
    return begin_passkey_sign_in(site=SITE, pepper=PEPPER, now_us=at_us)


async def told(engine: AsyncEngine, principal_id: UUID) -> list[str]:
    """Return what the owner has heard."""
    async with read(engine) as connection:
        rows = await connection.execute(EVENTS, {"id": str(principal_id)})
        return list(rows.scalars())


async def test_a_passkey_is_registered_and_answers_a_challenge(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    options = await request_options(engine, holder)
    assert options["userVerification"] == "required"
    assert [decode(each["id"]) for each in options["allowCredentials"]] == [phone.credential_id]
    assert await answer(engine, holder, phone.get(options)) is None
    assert await told(engine, holder) == ["set"]


async def test_a_passkey_signs_its_owner_in_without_a_name(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    assert await sign_in(engine, phone.get(sign_in_options())) == holder


@pytest.mark.attack(4)
def test_the_options_of_a_sign_in_name_nobody() -> None:
    options = sign_in_options()
    assert set(options) == {
        "challenge", "timeout", "rpId", "allowCredentials", "userVerification",
    }  # fmt: skip
    assert options["allowCredentials"] == []


async def test_registration_asks_for_verified_users_and_excludes_what_is_there(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    options = await creation_options(engine, holder)
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert [decode(each["id"]) for each in options["excludeCredentials"]] == [phone.credential_id]
    assert decode(options["user"]["id"]) == holder.bytes


LIES: dict[str, dict[str, Any]] = {
    "the page is another site's": {"origin": "https://city-wallet.example"},
    "the page is another port's": {"origin": "http://localhost:8001"},
    "the key is for another site": {"rp_id": "city-wallet.example"},
    "nobody looked who is there": {"verified": False},
    "the page was in a frame": {"framed": True},
}


@pytest.mark.attack(7)
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_no_lie_registers_a_passkey(
    engine: AsyncEngine, holder: UUID, lie: dict[str, Any]
) -> None:
    with pytest.raises(RefusedError, match="passkey_refused"):
        await register(engine, holder, SoftAuthenticator(**lie))


@pytest.mark.attack(7)
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_no_lie_answers_a_challenge_or_signs_in(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator, lie: dict[str, Any]
) -> None:
    for name, value in lie.items():
        setattr(phone, name, value)
    assert await answer(engine, holder, phone.get(await request_options(engine, holder))) == REFUSED
    assert await sign_in(engine, phone.get(sign_in_options())) == REFUSED


@pytest.mark.attack(20)
async def test_an_answer_to_another_challenge_is_refused(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    credential = phone.get(await request_options(engine, holder))
    other = bytes([CHALLENGE[0] ^ 1]) + CHALLENGE[1:]
    assert await answer(engine, holder, credential, challenge=other) == REFUSED


@pytest.mark.attack(19)
@pytest.mark.asvs("v5.0.0-6.7.2")
async def test_a_synced_passkeys_sign_in_is_good_once(engine: AsyncEngine, holder: UUID) -> None:
    synced = SoftAuthenticator(sign_count=None)
    passkey = await register(engine, holder, synced)
    assert passkey.backed_up
    credential = synced.get(sign_in_options())
    answers = await asyncio.gather(*(sign_in(engine, credential) for _ in range(20)))
    assert answers.count(holder) == 1
    assert answers.count(REFUSED) == 19
    assert await sign_in(engine, credential) == REFUSED
    assert await sign_in(engine, synced.get(sign_in_options())) == holder


@pytest.mark.attack(19)
async def test_a_registration_is_good_once(engine: AsyncEngine, holder: UUID) -> None:
    phone = SoftAuthenticator()
    credential = phone.create(await creation_options(engine, holder))
    await keep(engine, holder, credential)
    with pytest.raises(RefusedError, match="passkey_refused"):
        await keep(engine, holder, credential)


async def test_a_challenge_ends(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    end_us = NOW_US + CEREMONY_S * MICROSECONDS
    late = phone.get(sign_in_options())
    assert await sign_in(engine, late, at_us=end_us) == REFUSED
    assert await sign_in(engine, phone.get(sign_in_options()), at_us=end_us - 1) == holder


@pytest.mark.asvs("v5.0.0-9.2.2")
async def test_a_challenge_of_one_purpose_serves_no_other(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    other, new = new_principal(), SoftAuthenticator()
    others = await creation_options(engine, other)
    with pytest.raises(RefusedError, match="passkey_refused"):
        await keep(engine, holder, new.create(others))
    mixed = {**sign_in_options(), "challenge": others["challenge"]}
    assert await sign_in(engine, phone.get(mixed)) == REFUSED


async def test_a_challenge_that_somebody_made_up_is_refused(
    engine: AsyncEngine, phone: SoftAuthenticator
) -> None:
    genuine = decode(sign_in_options()["challenge"])
    for forged in (b"", bytes(56), genuine[:-1] + bytes([genuine[-1] ^ 1]), genuine + b"\0"):
        options = {**sign_in_options(), "challenge": encode(forged)}
        assert await sign_in(engine, phone.get(options)) == REFUSED


async def test_asking_for_challenges_writes_nothing(engine: AsyncEngine, holder: UUID) -> None:
    async with read(engine) as connection:
        before = (await connection.execute(SPENT)).scalar_one()
    challenges = {sign_in_options()["challenge"] for _ in range(100)}
    await creation_options(engine, holder)
    async with read(engine) as connection:
        assert (await connection.execute(SPENT)).scalar_one() == before
    assert len(challenges) == 100


@pytest.mark.asvs("v5.0.0-6.3.5")
async def test_a_count_that_goes_back_is_refused_and_its_owner_hears_of_a_copy(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    phone.sign_count = 7
    assert await answer(engine, holder, phone.get(await request_options(engine, holder))) is None
    for count in (7, 3, -1):  # The phone counts up before it answers: 8 again, 4 and 0.
        phone.sign_count = count
        credential = phone.get(await request_options(engine, holder))
        assert await answer(engine, holder, credential) == REFUSED
    assert await told(engine, holder) == ["set", "copied", "copied", "copied"]
    phone.sign_count = 8
    assert await answer(engine, holder, phone.get(await request_options(engine, holder))) is None


async def test_a_forged_answer_tells_of_no_copy(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    options = await request_options(engine, holder)
    assert await answer(engine, holder, phone.get(options)) is None
    thief = SoftAuthenticator(credential_id=phone.credential_id, user_handle=phone.user_handle)
    assert await answer(engine, holder, thief.get(options)) == REFUSED
    assert await told(engine, holder) == ["set"]


async def test_two_answers_with_one_count_at_once_are_one(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    credential = phone.get(await request_options(engine, holder))
    answers = await asyncio.gather(*(answer(engine, holder, credential) for _ in range(10)))
    assert answers.count(None) == 1


@pytest.mark.attack(25)
async def test_somebody_elses_passkey_is_nobodys_here(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    thief, own = new_principal(), SoftAuthenticator()
    await register(engine, thief, own)
    options = await request_options(engine, holder)
    assert await answer(engine, holder, own.get(options)) == REFUSED
    assert await answer(engine, thief, phone.get(options)) == REFUSED


async def test_a_passkey_that_claims_to_be_somebody_elses_is_refused(
    engine: AsyncEngine, phone: SoftAuthenticator
) -> None:
    phone.user_handle = new_principal().bytes
    assert await sign_in(engine, phone.get(sign_in_options())) == REFUSED


async def test_a_passkey_that_somebody_has_cannot_be_registered_by_another(
    engine: AsyncEngine, phone: SoftAuthenticator
) -> None:
    thief = new_principal()
    copied = SoftAuthenticator(credential_id=phone.credential_id)
    with pytest.raises(RefusedError, match="passkey_known"):
        await register(engine, thief, copied)


@pytest.mark.asvs("v5.0.0-6.5.6")
async def test_a_revoked_passkey_answers_nothing_and_comes_back_for_nobody(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    options = await request_options(engine, holder)
    revoke = partial(
        revoke_passkey,
        principal_id=holder,
        credential_id=phone.credential_id,
        now_us=NOW_US,
    )
    await write(engine, revoke)
    assert await answer(engine, holder, phone.get(options)) == REFUSED
    assert await sign_in(engine, phone.get(sign_in_options())) == REFUSED
    with pytest.raises(RefusedError, match="passkey_known"):
        await register(engine, holder, phone)
    with pytest.raises(RefusedError, match="passkey_unknown"):
        await write(engine, revoke)
    assert await told(engine, holder) == ["set", "removed"]


@pytest.mark.attack(25)
async def test_nobody_revokes_somebody_elses_passkey(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    revoke = partial(
        revoke_passkey,
        principal_id=new_principal(),
        credential_id=phone.credential_id,
        now_us=NOW_US,
    )
    with pytest.raises(RefusedError, match="passkey_unknown"):
        await write(engine, revoke)
    assert await answer(engine, holder, phone.get(await request_options(engine, holder))) is None


async def test_passkeys_are_listed_by_name_the_oldest_first(
    engine: AsyncEngine, holder: UUID
) -> None:
    for n, name in enumerate(("old phone", "   ", "長" * 80)):
        at_us = NOW_US + n
        credential = SoftAuthenticator().create(await creation_options(engine, holder))
        await keep(engine, holder, credential, name=name, at_us=at_us)
    async with read(engine) as connection:
        listed = await list_passkeys(connection, principal_id=holder)
    assert [passkey.name for passkey in listed] == ["old phone", "passkey", "長" * 64]


async def test_nobody_hoards_passkeys(engine: AsyncEngine, holder: UUID) -> None:
    for _ in range(PASSKEYS_MAX):
        await register(engine, holder, SoftAuthenticator())
    with pytest.raises(RefusedError, match="passkey_known"):
        await register(engine, holder, SoftAuthenticator())


async def test_nothing_enrolled_lets_nobody_in(engine: AsyncEngine, holder: UUID) -> None:
    options = await request_options(engine, holder)
    assert options["allowCredentials"] == []
    assert await answer(engine, holder, SoftAuthenticator().get(options)) == REFUSED


def spoilt(credential: str, data: st.DataObject) -> str:
    """Return a credential with one part of it changed in some way."""
    content = json.loads(credential)
    name = data.draw(st.sampled_from(sorted(content["response"])))
    raw = bytearray(decode(content["response"][name]))
    how = data.draw(st.sampled_from(["flip", "cut", "append", "replace"]))
    if how == "flip" and raw:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del raw[data.draw(st.integers(0, max(len(raw) - 1, 0))) :]
    elif how == "append":
        raw += data.draw(st.binary(min_size=1, max_size=40))
    else:
        raw = bytearray(data.draw(st.binary(max_size=80)))
    content["response"][name] = encode(bytes(raw))
    return json.dumps(content)


@pytest.mark.attack(7)
async def test_no_spoilt_answer_gets_in_or_does_more_than_be_refused(
    engine: AsyncEngine, holder: UUID, phone: SoftAuthenticator
) -> None:
    options = await request_options(engine, holder)
    good = phone.get(options)

    async def work(connection: AsyncConnection, credential: str) -> Refusal | None:
        return await finish_passkey_assertion(
            connection,
            site=SITE,
            principal_id=holder,
            credential=credential,
            challenge=CHALLENGE,
            now_us=NOW_US,
        )

    async with engine.connect() as connection:
        loop = asyncio.get_running_loop()

        @settings(max_examples=150, deadline=None, database=None)
        @given(data=st.data())
        def check(data: st.DataObject) -> None:
            credential = spoilt(good, data)
            future = asyncio.run_coroutine_threadsafe(work(connection, credential), loop)
            outcome = future.result(10)
            same = json.loads(credential)["response"] == json.loads(good)["response"]
            without_handle = decode(json.loads(credential)["response"]["userHandle"]) == b""
            assert outcome == REFUSED or same or without_handle

        await asyncio.to_thread(check)


def shell(said: str) -> str:
    """Return a credential that has every field, with the same in each."""
    names = ("clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle")
    response = dict.fromkeys(names, said)
    return json.dumps({"id": said, "rawId": said, "type": "public-key", "response": response})


@pytest.mark.parametrize(
    "credential",
    ["", "{}", "[]", "null", "{", "[" * 10_000, '{"id": 1}', "x" * 20_000, shell("AA"), shell("é")],
    ids=range(10),
)
async def test_what_is_no_credential_is_refused(
    engine: AsyncEngine, holder: UUID, credential: str
) -> None:
    assert await sign_in(engine, credential) == REFUSED
    assert await answer(engine, holder, credential) == REFUSED
    with pytest.raises(RefusedError, match="passkey_refused"):
        await keep(engine, holder, credential)
