"""Who is let in: a phone with its session and its key, and nobody who lacks one of the two."""

import asyncio
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import (
    Phone,
    call,
    caller_of,
    make_phone,
    open_engine,
    refresh,
    sign_in,
)
from tests.servers import Database
from tests.soft_device import SoftDevice
from wallet.auth.authenticate import Caller, authenticate
from wallet.auth.enrol_device import COOLING_S
from wallet.auth.open_session import ACCESS_S, note_shown
from wallet.auth.proofs import PROOF_REPLAYED, UNAUTHENTICATED
from wallet.auth.revoke_device import revoke_device
from wallet.auth.revoke_sessions import revoke_all_sessions, revoke_session, revoke_sessions
from wallet.auth.rules import Acr, Method, reached, show
from wallet.auth.tokens import Tokens
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.refusals import Refusal, RefusedError

BODY = b'{"amount":1200}'


def later(seconds: float) -> int:
    """Return a moment after the tests' own."""
    return NOW_US + int(seconds * MICROSECONDS)


def another(text: str) -> str:
    """Return a text with its last character changed."""
    return text[:-1] + ("A" if text[-1] != "A" else "B")


async def test_a_phone_is_known_by_its_session_and_its_key(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    caller = await caller_of(engine, phone, now_us=later(5))
    assert (caller.principal_id, caller.device_id) == (phone.principal_id, phone.device_id)
    assert caller.session_id == phone.tokens.session_id
    assert (caller.app_version, caller.cooling_until_us) == ("1.0.0", None)
    assert set(caller.classes) == {
        *show(Method.DEVICE_KEY, at_us=later(5)),
        *show(Method.PIN, at_us=NOW_US),
    }


async def test_a_write_is_let_in_once(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    answer = await call(engine, phone, method="POST", body=BODY)
    assert isinstance(answer, Caller)


@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-10.3.5")
async def test_a_stolen_token_opens_nothing_without_the_key(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    token, thief = phone.tokens.access_token, SoftDevice()
    forged = thief.headers("GET", "/app/v1/home", access_token=token, now_us=NOW_US)["dpop"]
    for changes in (
        {"proof": None},
        {"proof": ""},
        {"proof": forged},
        {"authorization": f"Bearer {token}"},
        {"authorization": f"Bearer {token}", "proof": None},
        {"authorization": token},
    ):
        assert await call(engine, phone, **changes) == UNAUTHENTICATED, changes


@pytest.mark.attack(4)
@pytest.mark.asvs("v5.0.0-6.3.8")
@pytest.mark.asvs("v5.0.0-7.2.1")
async def test_whatever_is_wrong_is_refused_in_the_same_words(engine: AsyncEngine) -> None:
    phone, other = await make_phone(engine), await make_phone(engine)
    token = phone.tokens.access_token
    kind, session, generation, mac = token.split("_", 3)
    spoilt = [
        None,
        "",
        "DPoP",
        "DPoP ",
        f"DPoP  {token}",
        f"Basic {token}",
        f"DPoP {another(token)}",
        f"DPoP {phone.tokens.refresh_token}",
        f"DPoP rt_{session}_{generation}_{mac}",
        f"DPoP {kind}_{session}_2_{mac}",
        f"DPoP {kind}_{session}_0{generation}_{mac}",
        f"DPoP {kind}_{uuid4().hex}_{generation}_{mac}",
        f"DPoP {kind}_{other.tokens.session_id.hex}_{generation}_{mac}",
        f"DPoP {token}\n",
        f"DPoP {'x' * 10_000}",
        "DPoP at_\ud800",
    ]
    answers = [await call(engine, phone, authorization=header) for header in spoilt]
    wrong: list[dict[str, Any]] = [
        {"method": "DELETE", "proof": phone.soft.proof("GET", "/app/v1/home", now_us=NOW_US)},
        {"path": "/app/v1/home2", "proof": "x"},
        {"now_us": later(ACCESS_S), "proof": "x"},
    ]
    answers += [await call(engine, phone, **changes) for changes in wrong]
    assert answers == [Refusal("unauthenticated")] * len(answers)


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
async def test_the_scheme_is_read_in_any_case(engine: AsyncEngine, scheme: str) -> None:
    phone = await make_phone(engine)
    authorization = f"{scheme} {phone.tokens.access_token}"
    assert isinstance(await call(engine, phone, authorization=authorization), Caller)


@pytest.mark.attack(19)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_that_is_sent_again_with_its_proof_is_refused(
    engine: AsyncEngine, method: str
) -> None:
    phone = await make_phone(engine)
    token = phone.tokens.access_token
    body = None if method == "DELETE" else BODY
    proof = phone.soft.proof(
        method, "/app/v1/x", now_us=NOW_US, access_token=token, body=body or b""
    )
    sent: dict[str, Any] = {"method": method, "path": "/app/v1/x", "body": body, "proof": proof}
    assert isinstance(await call(engine, phone, **sent), Caller)
    assert await call(engine, phone, **sent) == PROOF_REPLAYED
    assert await call(engine, phone, **sent, now_us=later(59)) == PROOF_REPLAYED


@pytest.mark.attack(19)
@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_of_a_write_sent_twenty_times_at_once_one_is_let_in(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    proof = phone.soft.proof(
        "POST", "/app/v1/x", now_us=NOW_US, access_token=phone.tokens.access_token, body=BODY
    )
    sent: dict[str, Any] = {"method": "POST", "path": "/app/v1/x", "body": BODY, "proof": proof}
    answers = await asyncio.gather(*[call(engine, phone, **sent) for _ in range(20)])
    assert sum(isinstance(answer, Caller) for answer in answers) == 1
    assert answers.count(PROOF_REPLAYED) == 19


@pytest.mark.attack(20)
async def test_a_write_whose_body_was_changed_is_refused_and_its_proof_is_not_used_up(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    token = phone.tokens.access_token
    proof = phone.soft.proof("POST", "/app/v1/x", now_us=NOW_US, access_token=token, body=BODY)
    sent: dict[str, Any] = {"method": "POST", "path": "/app/v1/x", "proof": proof}
    assert await call(engine, phone, **sent, body=b'{"amount":1201}') == UNAUTHENTICATED
    assert await call(engine, phone, **sent, body=None) == UNAUTHENTICATED
    assert isinstance(await call(engine, phone, **sent, body=BODY), Caller)


@pytest.mark.asvs("v5.0.0-14.2.7")
async def test_used_proofs_are_swept_by_the_writes_that_follow(database: Database) -> None:
    async with open_engine(database.application_url) as engine:
        phone = await make_phone(engine)
        for _ in range(6):
            assert isinstance(await call(engine, phone, method="POST", body=BODY), Caller)
        for second in range(3):
            now_us = later(181 + second)
            answer = await call(engine, phone, method="POST", body=BODY, now_us=now_us)
            assert isinstance(answer, Caller)
        async with read(engine) as connection:
            left = (await connection.execute(text("SELECT count(*) FROM used_proof"))).scalar_one()
    assert left == 3


@pytest.mark.asvs("v5.0.0-7.3.1")
@pytest.mark.parametrize(("seconds", "good"), [(ACCESS_S - 1, True), (ACCESS_S, False)])
async def test_an_access_token_lives_ten_minutes(
    engine: AsyncEngine, seconds: int, *, good: bool
) -> None:
    phone = await make_phone(engine)
    assert phone.tokens.expires_in_s == ACCESS_S
    answer = await call(engine, phone, now_us=later(seconds))
    assert isinstance(answer, Caller) is good


async def test_the_access_token_before_a_refresh_lives_on_while_answers_cross(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    assert isinstance(await refresh(engine, phone, now_us=later(300)), Tokens)
    assert isinstance(await call(engine, phone, now_us=later(359)), Caller)
    assert await call(engine, phone, now_us=later(360)) == UNAUTHENTICATED


@pytest.mark.asvs("v5.0.0-7.2.4")
async def test_what_is_shown_later_comes_with_new_tokens_and_grows_old(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    tokens = await write(
        engine,
        lambda connection: note_shown(
            connection,
            session_id=phone.tokens.session_id,
            shown=show(Method.PASSKEY, at_us=later(100)),
            pepper=PEPPER,
            now_us=later(100),
        ),
    )
    assert tokens.access_token != phone.tokens.access_token
    caller = await call(engine, phone, token=tokens.access_token, now_us=later(350))
    assert isinstance(caller, Caller)
    assert Acr.PHR in reached(caller.classes, now_us=later(350), max_age_s=300)
    # The PIN of signing in is too old by now; the passkey will be, in a minute.
    assert Acr.PHR not in reached(caller.classes, now_us=later(401), max_age_s=300)
    assert await call(engine, phone, now_us=later(161)) == UNAUTHENTICATED


async def test_a_session_that_has_ended_is_not_raised(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    await revoke_all_sessions(engine, because="stop", now_us=NOW_US)
    raise_it = partial(
        note_shown,
        session_id=phone.tokens.session_id,
        shown=show(Method.PASSKEY, at_us=NOW_US),
        pepper=PEPPER,
        now_us=NOW_US,
    )
    with pytest.raises(RefusedError, match="unauthenticated"):
        await write(engine, raise_it)


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-6.7.1")
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("device", "principal_id"),
        ("device", "public_key"),
        ("device", "thumbprint"),
        ("session", "principal_id"),
        ("session", "device_id"),
        ("session", "salt"),
        ("session", "expires_at"),
        ("step_up", "principal_id"),
        ("step_up", "op_hash"),
        ("step_up", "required"),
    ],
)
async def test_the_application_may_not_change_what_a_key_or_a_challenge_is_of(
    engine: AsyncEngine, table: str, column: str
) -> None:
    change = text(f"UPDATE {table} SET {column} = {column}")  # noqa: S608 - names from above
    with pytest.raises(ProgrammingError, match="permission denied"):
        await write(engine, lambda connection: connection.execute(change))


@pytest.mark.asvs("v5.0.0-7.4.1")
@pytest.mark.asvs("v5.0.0-8.3.2")
async def test_a_session_that_was_ended_opens_nothing_from_the_next_request_on(
    engine: AsyncEngine,
) -> None:
    phone, other = await make_phone(engine), await make_phone(engine)

    async def end(one: Phone) -> bool:
        return await write(
            engine,
            lambda connection: revoke_session(
                connection,
                principal_id=phone.principal_id,
                session_id=one.tokens.session_id,
                because="sign_out",
                now_us=NOW_US,
            ),
        )

    assert isinstance(await call(engine, phone), Caller)
    assert await end(phone)
    assert not await end(phone)
    assert await call(engine, phone) == UNAUTHENTICATED
    # Somebody else's session is none of one's own.
    assert not await end(other)
    assert isinstance(await call(engine, other), Caller)


@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-6.5.6")
@pytest.mark.asvs("v5.0.0-7.5.2")
async def test_a_phone_that_is_revoked_in_the_middle_is_out_at_once(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    await caller_of(engine, phone)
    await write(
        engine,
        lambda connection: revoke_device(
            connection,
            principal_id=phone.principal_id,
            device_id=phone.device_id,
            because="lost",
            now_us=NOW_US,
        ),
    )
    assert await call(engine, phone) == UNAUTHENTICATED
    assert await refresh(engine, phone) == UNAUTHENTICATED


@pytest.mark.asvs("v5.0.0-7.4.2")
@pytest.mark.asvs("v5.0.0-7.4.3")
@pytest.mark.asvs("v5.0.0-10.4.9")
async def test_all_sessions_of_one_person_end_together_but_one(engine: AsyncEngine) -> None:
    principal_id = uuid4()
    phones = [await make_phone(engine, principal_id=principal_id) for _ in range(3)]
    stranger = await make_phone(engine)
    kept = phones[0]
    ended = await write(
        engine,
        lambda connection: revoke_sessions(
            connection,
            principal_id=principal_id,
            because="factor_changed",
            now_us=NOW_US,
            kept_id=kept.tokens.session_id,
        ),
    )
    assert ended == 2
    answers = [await call(engine, phone) for phone in (kept, stranger, *phones[1:])]
    assert [isinstance(answer, Caller) for answer in answers] == [True, True, False, False]


@pytest.mark.asvs("v5.0.0-7.4.5")
async def test_every_session_of_the_city_can_be_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.auth.revoke_sessions.SESSIONS_PER_TRANSACTION", 2)
    async with open_engine(database.application_url) as engine:
        phones = [await make_phone(engine) for _ in range(5)]
        assert await revoke_all_sessions(engine, because="stop", now_us=NOW_US) == 5
        assert await revoke_all_sessions(engine, because="stop", now_us=NOW_US) == 0
        answers = [await call(engine, phone) for phone in phones]
        assert answers == [UNAUTHENTICATED] * 5
        # Whoever signs in afterwards is in.
        assert isinstance(await call(engine, await make_phone(engine)), Caller)


async def test_a_phone_has_one_session_at_a_time(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    tokens = await sign_in(engine, phone.principal_id, phone.device_id)
    assert await call(engine, phone) == UNAUTHENTICATED
    assert isinstance(await call(engine, phone, token=tokens.access_token), Caller)


async def test_a_second_phone_is_known_to_cool_off_and_when_that_ends(
    engine: AsyncEngine,
) -> None:
    first = await make_phone(engine)
    second = await make_phone(engine, principal_id=first.principal_id)
    cools = await caller_of(engine, second)
    assert cools.cooling_until_us == later(COOLING_S)
    tokens = await sign_in(engine, second.principal_id, second.device_id, now_us=later(COOLING_S))
    token = tokens.access_token
    over = await call(engine, second, token=token, now_us=later(COOLING_S))
    assert isinstance(over, Caller)
    assert over.cooling_until_us is None


async def test_a_browser_of_staff_needs_its_token_alone_and_as_a_bearer(
    engine: AsyncEngine,
) -> None:
    staff_id, phone = uuid4(), await make_phone(engine)
    tokens = await sign_in(engine, staff_id, None)
    bearer = f"Bearer {tokens.access_token}"
    caller = await call(engine, phone, authorization=bearer, proof=None)
    assert isinstance(caller, Caller)
    assert (caller.principal_id, caller.device_id) == (staff_id, None)
    assert {one.method for one in caller.classes} == {Method.PASSKEY}
    dpop = f"DPoP {tokens.access_token}"
    assert await call(engine, phone, authorization=dpop) == UNAUTHENTICATED
    assert await call(engine, phone, authorization=f"{bearer}x", proof=None) == UNAUTHENTICATED


@pytest.mark.asvs("v5.0.0-7.2.2")
@pytest.mark.asvs("v5.0.0-10.3.1")
async def test_tokens_mean_nothing_under_another_pepper(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    headers = phone.soft.headers("GET", "/x", access_token=phone.tokens.access_token, now_us=NOW_US)
    answer = await authenticate(
        engine,
        pepper=b"another pepper, as long as the first one was",
        authorization=headers["authorization"],
        proof=headers["dpop"],
        method="GET",
        path="/x",
        body=None,
        now_us=NOW_US,
    )
    assert answer == UNAUTHENTICATED
