"""Fields that were not offered: every door that takes a body refuses them, each by its name."""

from typing import Any, Final
from uuid import uuid4

import pytest

from tests.api.answers import problem_of
from tests.factories.apps import App
from tests.factories.offices import Counter, Desk
from tests.factories.residents import make_resident
from tests.security.doors import WRITING, Door, doors_of
from tests.soft_device import SoftDevice
from wallet.api.resident_pay import PAY_PATH
from wallet.core.ids import public_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED: Final[dict[str, Any]] = {
    "balance": 1_000_000,
    "role": "administrator",
    "roles_granted": ["chief"],
    "acr": "jpki",
    "classes": ["proofing"],
    "tier": "T3",
    "state": "active",
    "principal_id": public_id("per", uuid4()),
    "staff_id": public_id("stf", uuid4()),
    "cooling_until": None,
    "daily_limit_yen": 999_999,
    "approved_by": public_id("stf", uuid4()),
    "__proto__": {"role": "chief"},
}
"""What would be worth having: money, powers, levels, limits, somebody else's name."""


def planted_in(door: Door) -> dict[str, Any]:
    """Return the fields that a door does not offer."""
    assert door.body is not None
    offered = door.body.get("properties", {})
    return {name: value for name, value in PLANTED.items() if name not in offered}


def taking_bodies(doors: list[Door]) -> list[Door]:
    """Return the doors that take JSON."""
    found = [door for door in doors if door.method in WRITING and door.body is not None]
    assert len(found) > 10
    return found


def ids_of(door: Door) -> dict[str, str]:
    """Return ids of nobody for a path."""
    return {name: public_id("per", uuid4()) for name in door.parameters}


def refused_in(body: dict[str, Any]) -> set[str]:
    """Return the fields that were refused for not being offered."""
    return {
        one["pointer"].rpartition("/")[2]
        for one in body["errors"]
        if one["code"] == "extra_forbidden"
    }


@pytest.mark.attack(26)
@pytest.mark.asvs("v5.0.0-15.3.3")
async def test_no_door_of_the_app_takes_a_field_it_does_not_offer(app: App) -> None:
    resident = await make_resident(app.engine)
    for door in taking_bodies(doors_of(app.application)):
        if door.route is None:  # One of money, see below.
            continue
        planted, path = planted_in(door), door.at(ids_of(door))
        for answer in (
            await app.call(resident.phone, door.method, path, planted),
            await app.send(SoftDevice(), door.method, path, planted),
        ):
            if answer.status_code != 401:  # That one wants a session.
                body = problem_of(answer, "request_invalid")
                assert refused_in(body) == planted.keys(), str(door)
                break
        else:
            pytest.fail(f"{door} was not opened")


@pytest.mark.attack(26)
@pytest.mark.asvs("v5.0.0-15.3.3")
@pytest.mark.parametrize("name", PLANTED)
async def test_the_doors_of_money_take_none_either(app: App, name: str) -> None:
    phone, planted = (await make_resident(app.engine)).phone, {name: PLANTED[name]}
    bodies: dict[str, dict[str, Any]] = {
        PAY_PATH: {
            "amount": {"amount": 100, "currency": "JPY"},
            "terminal_id": public_id("ter", uuid4()),
        },
        f"/app/v1/challenges/{public_id('chl', uuid4())}/respond": {"type": "pin", "pin": "1"},
    }
    for path, body in bodies.items():
        key = uuid4().hex
        answer = await app.call(phone, "POST", path, {**body, **planted}, idempotency_key=key)
        told = problem_of(answer, "request_invalid")
        assert [one["pointer"] for one in told["errors"]] == [f"/{name}"], path


@pytest.mark.attack(26)
@pytest.mark.asvs("v5.0.0-15.3.3")
async def test_no_door_of_staff_takes_a_field_it_does_not_offer(counter: Counter) -> None:
    desks: dict[str, Desk] = {}
    for door in taking_bodies(doors_of(counter.application)):
        role = min(door.roles)
        desk = desks.get(role) or desks.setdefault(role, await counter.seat(role))
        planted = planted_in(door)
        answer = await counter.client.request(
            door.method, door.at(ids_of(door)), headers=desk.headers, json=planted
        )
        assert answer.status_code == 422, (str(door), answer.text)
        assert refused_in(answer.json()) == planted.keys(), str(door)
