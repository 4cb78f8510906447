"""Each plane opens by itself, answers for its health, and shows nobody else's doors."""

from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from tests.factories.moments import PEPPER
from tests.servers import Database
from wallet.planes import TillPlane, make_office, make_resident, make_till
from wallet.settings import Settings

Maker = Callable[..., Any]

DOORS = {make_till: "/v1/payments", make_resident: "/app/v1/devices", make_office: "/office/v1/me"}


def frame_of(plane: FastAPI | TillPlane) -> FastAPI:
    """Return the FastAPI application of a plane."""
    application = plane.application if isinstance(plane, TillPlane) else plane
    assert isinstance(application, FastAPI)
    return application


@pytest.mark.parametrize("make", DOORS)
async def test_a_plane_opens_and_answers(make: Maker, module_database: Database) -> None:
    plane = make(Settings(), database_url=module_database.application_url, pepper=PEPPER)
    frame = frame_of(plane)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(plane), base_url="http://plane")
    async with frame.router.lifespan_context(frame), client:
        for path in ("/livez", "/readyz", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 200, path
        for door_of, path in DOORS.items():
            expected = 401 if door_of is make else 404
            assert (await client.get(path)).status_code == expected, path


@pytest.mark.parametrize("make", [make_till, make_resident])
async def test_the_public_hears_what_is_stopped_from_either_plane(
    make: Maker, module_database: Database
) -> None:
    plane = make(Settings(), database_url=module_database.application_url, pepper=PEPPER)
    frame = frame_of(plane)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(plane), base_url="http://plane")
    async with frame.router.lifespan_context(frame), client:
        response = await client.get("/status")
    assert response.status_code == 200


async def test_a_body_larger_than_allowed_is_read_by_no_plane(module_database: Database) -> None:
    doors = {make_resident: "/app/v1/auth/start", make_office: "/office/v1/sign-in"}
    for make, path in doors.items():
        plane = make(Settings(), database_url=module_database.application_url, pepper=PEPPER)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(plane), base_url="http://plane")
        async with plane.router.lifespan_context(plane), client:
            response = await client.post(path, json={"filler": " " * 100_000})
        assert response.status_code == 413, response.text
        assert response.json()["code"] == "body_too_large"
