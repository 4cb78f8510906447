"""Helpers and wards through the doors of the app."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.apps import App, open_app, signed_in_phone
from tests.factories.residents import Resident, make_resident, make_visitor, within
from tests.servers import Database
from wallet.core.clock import MICROSECONDS
from wallet.core.ids import public_id
from wallet.people.counter import open_at_counter, raise_at_counter
from wallet.people.guardians import add_guardianship

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1 = "/app/v1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(module_database: Database) -> AsyncIterator[App]:
    """Yield the module's doors."""
    async with open_app(module_database.application_url) as app:
        yield app


async def invited(app: App, owner: Resident, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Invite a proxy with the owner's passkey, and return what is told."""
    body = {
        "wallet_id": public_id("wal", owner.wallet_id),
        "kind": "proxy",
        "payment_limit_yen": 3_000,
        "daily_limit_yen": 5_000,
        **changes,
    }
    passkey = await app.with_passkey(owner)
    told = await app.confirmed(owner.phone, "POST", f"{V1}/helpers", body, by=passkey)
    answer: dict[str, Any] = told.json()
    return answer


@pytest.mark.asvs("v5.0.0-2.3.1")
async def test_a_helper_is_invited_accepts_and_is_revoked(app: App) -> None:
    owner, daughter = await make_resident(app.engine), await make_resident(app.engine)
    invitation = await invited(app, owner)
    body = {"code": invitation["code"]}
    told = await app.call(daughter.phone, "POST", f"{V1}/helpers/accept", body)
    assert told.status_code == 201, told.text
    assert (told.json()["kind"], told.json()["is_owner"]) == ("proxy", False)
    wallets = (await app.call(daughter.phone, "GET", f"{V1}/me")).json()["wallets"]
    proxied = [one for one in wallets if one["role"] == "proxy"]
    assert [one["payment_limit_yen"] for one in proxied] == [3_000]
    listed = (await app.call(owner.phone, "GET", f"{V1}/helpers")).json()["data"]
    assert [(one["id"], one["is_owner"]) for one in listed] == [(invitation["id"], True)]
    path = f"{V1}/helpers/{invitation['id']}"
    assert (await app.call(owner.phone, "DELETE", path)).status_code == 204
    problem_of(await app.call(owner.phone, "DELETE", path), "helper_unknown")
    assert (await app.call(daughter.phone, "GET", f"{V1}/helpers")).json()["data"] == []


async def test_nobody_invites_without_a_confirmation_not_even_in_the_first_minutes(
    app: App,
) -> None:
    owner = await make_resident(app.engine)
    body = {"wallet_id": public_id("wal", owner.wallet_id), "kind": "view"}
    response = await app.call(owner.phone, "POST", f"{V1}/helpers", body)
    problem_of(response, "factor_not_enrolled")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payment_limit_yen": 20_000, "daily_limit_yen": 30_000}, "helper_limits"),
        ({"wallet_id": "wal_" + "0" * 32}, "wallet_unknown"),
    ],
    ids=["limits", "wallet"],
)
async def test_an_invitation_that_cannot_be_is_told_why(
    app: App, changes: dict[str, Any], code: str
) -> None:
    owner = await make_resident(app.engine)
    assert (await invited(app, owner, **changes))["code"] == code


async def test_who_cannot_help_is_told_why(app: App) -> None:
    owner = await make_resident(app.engine)
    visitor = await make_visitor(app.engine, "wants-to-help@example.jp")
    body = {"code": (await invited(app, owner))["code"]}
    accept = f"{V1}/helpers/accept"
    problem_of(await app.call(owner.phone, "POST", accept, body), "helper_of_self")
    problem_of(await app.call(visitor.phone, "POST", accept, body), "helper_not_proven")
    nonsense = {"code": "help_nobody"}
    problem_of(await app.call(visitor.phone, "POST", accept, nonsense), "invitation_unknown")


async def test_one_proxy_is_enough_of_the_same_person(app: App) -> None:
    owner, daughter = await make_resident(app.engine), await make_resident(app.engine)
    codes = [(await invited(app, owner))["code"] for _ in range(2)]
    accept = f"{V1}/helpers/accept"
    assert (await app.call(daughter.phone, "POST", accept, {"code": codes[0]})).status_code == 201
    second = await app.call(daughter.phone, "POST", accept, {"code": codes[1]})
    problem_of(second, "helpers_too_many")


async def test_a_guardian_sees_the_ward_and_may_stop(app: App) -> None:
    guardian = await make_resident(app.engine)
    now_us = app.clock()
    ward = await within(
        app.engine, lambda connection: open_at_counter(connection, resident=True, now_us=now_us)
    )
    await within(
        app.engine,
        lambda connection: raise_at_counter(
            connection, person_id=guardian.id, resident=True, now_us=now_us
        ),
    )
    await within(
        app.engine,
        lambda connection: add_guardianship(
            connection,
            guardian_id=guardian.id,
            wallet_id=ward.wallet_id,
            kind="child",
            now_us=now_us,
        ),
    )
    wallets = (await app.call(guardian.phone, "GET", f"{V1}/me")).json()["wallets"]
    assert {one["role"] for one in wallets} == {"own", "guardian"}
    app.clock.advance(seconds=1)
    path = f"{V1}/guardianships/{public_id('wal', ward.wallet_id)}"
    assert (await app.call(guardian.phone, "DELETE", path)).status_code == 204
    problem_of(await app.call(guardian.phone, "DELETE", path), "wallet_unknown")
    app.clock.now_us -= MICROSECONDS


@pytest.mark.attack(25)
async def test_what_is_somebody_elses_is_not_there(app: App) -> None:
    owner, daughter, stranger = [await make_resident(app.engine) for _ in range(3)]
    invitation = await invited(app, owner)
    await app.call(daughter.phone, "POST", f"{V1}/helpers/accept", {"code": invitation["code"]})
    path = f"{V1}/helpers/{invitation['id']}"
    problem_of(await app.call(stranger.phone, "DELETE", path), "helper_unknown")
    ward = f"{V1}/guardianships/{public_id('wal', owner.wallet_id)}"
    problem_of(await app.call(stranger.phone, "DELETE", ward), "wallet_unknown")
    again = await app.send(owner.phone.soft, "POST", f"{V1}/sign-in", {})
    assert signed_in_phone(again, owner.phone.soft).principal_id == owner.id
