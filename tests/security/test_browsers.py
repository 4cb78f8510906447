"""What browsers would do by themselves: send cookies, obey other origins, keep addresses."""

from typing import Final

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from tests.factories.apps import App
from tests.factories.offices import Counter
from tests.factories.residents import make_resident
from tests.security.doors import WRITING, Door, doors_of, is_closed

pytestmark = pytest.mark.asyncio(loop_scope="module")

ELSEWHERE: Final = "https://evil.example"

SECRETS: Final = (
    "code", "contact", "email", "number", "otp", "password", "phone", "pin", "token", "value",
)  # fmt: skip
"""What must not stand in an address, which ends up in logs and histories."""


def planes(app: App, counter: Counter) -> list[tuple[FastAPI, httpx.AsyncClient]]:
    """Return what there is to call."""
    return [(app.application, app.client), (counter.application, counter.client)]


def any_path(door: Door) -> str:
    """Return a path of the door's."""
    return door.at(dict.fromkeys(door.parameters, "a"))


@pytest.mark.asvs("v5.0.0-3.3.1")
@pytest.mark.asvs("v5.0.0-3.3.2")
@pytest.mark.asvs("v5.0.0-3.3.3")
@pytest.mark.asvs("v5.0.0-3.3.4")
@pytest.mark.asvs("v5.0.0-3.5.1")
async def test_no_door_sets_a_cookie_or_knows_anybody_by_one(app: App, counter: Counter) -> None:
    phone, desk = (await make_resident(app.engine)).phone, await counter.seat("auditor")
    tokens = (phone.tokens.access_token, desk.tokens["access_token"])
    jar = "; ".join(
        f"{name}={token}" for name in ("session", "token", "access_token") for token in tokens
    )
    for application, client in planes(app, counter):
        for door in doors_of(application):
            answer = await client.request(
                door.method, any_path(door), headers={"cookie": jar, "origin": ELSEWHERE}, json={}
            )
            assert "set-cookie" not in answer.headers, str(door)
            if is_closed(door):
                assert answer.status_code == 401, (str(door), answer.text)
    signed_in = await desk.get("/office/v1/me")
    assert signed_in.status_code == 200
    assert "set-cookie" not in signed_in.headers
    assert "set-cookie" not in (await app.call(phone, "GET", "/app/v1/me")).headers


@pytest.mark.asvs("v5.0.0-3.4.2")
async def test_no_other_origin_is_allowed_anything(app: App, counter: Counter) -> None:
    asked = {
        "origin": ELSEWHERE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, dpop",
    }
    for application, client in planes(app, counter):
        for door in doors_of(application):
            answer = await client.options(any_path(door), headers=asked)
            assert answer.status_code == 405, str(door)
            allowed = [name for name in answer.headers if name.startswith("access-control-")]
            assert not allowed, str(door)


@pytest.mark.asvs("v5.0.0-14.2.1")
async def test_no_secret_has_a_place_in_an_address(app: App, counter: Counter) -> None:
    for application, _ in planes(app, counter):
        for door in doors_of(application):
            named = {
                one["name"]
                for one in door.operation.get("parameters", ())
                if one["in"] in {"path", "query"}
            }
            assert named.isdisjoint(SECRETS), str(door)


@pytest.mark.asvs("v5.0.0-3.5.3")
async def test_what_reads_takes_no_body_and_what_writes_is_no_get(
    app: App, counter: Counter
) -> None:
    for application, _ in planes(app, counter):
        methods = {door.method for door in doors_of(application)}
        assert methods <= WRITING | {"GET"}
        assert not [
            str(door) for door in doors_of(application) if door.method == "GET" and door.body
        ]
