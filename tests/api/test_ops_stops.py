"""The emergency stop through the doors: one engages, two release, nobody twice."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.answers import problem_of
from tests.factories.offices import Counter, Desk
from tests.factories.staff import REASON
from wallet.core.database import read
from wallet.ops.stop import engaged_scopes

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOPS = "/ops/v1/stops"


def scope() -> str:
    """Return a scope that no other test uses."""
    return f"merchant:{uuid4().hex}"


async def engaged(counter: Counter, stopped: str) -> bool:
    """Whether money is stopped in a scope."""
    async with read(counter.engine) as connection:
        return stopped in await engaged_scopes(connection)


async def engage(desk: Desk, stopped: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Stop money."""
    response = await desk.post(STOPS, scope=stopped, **fields)
    assert response.status_code == 201, response.text
    story: dict[str, Any] = response.json()
    return story


async def test_one_person_stops_money_at_once(counter: Counter) -> None:
    desk, stopped = await counter.seat("stop_officer"), scope()
    story = await engage(desk, stopped, next_notice_at="2026-11-25T13:00:00+09:00")
    assert await engaged(counter, stopped)
    assert (story["state"], story["engaged_by"]) == ("engaged", desk.staff_id)
    assert story["next_notice_at"] == "2026-11-25T04:00:00.000Z"
    listed = (await desk.get(STOPS)).json()["data"]
    assert story in listed
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["actor"]) == ("stop.engage", desk.staff_id)
    assert entry["origin"].startswith("office:")


@pytest.mark.asvs("v5.0.0-2.3.5")
async def test_two_people_let_it_flow_again(counter: Counter) -> None:
    first, second, stopped = (
        await counter.seat("stop_officer"),
        await counter.seat("stop_officer"),
        scope(),
    )
    story = await engage(first, stopped)
    path = f"{STOPS}/{story['id']}"
    problem_of(await second.post(f"{path}/confirm-release", {}), "release_not_requested")
    asked = (await first.post(f"{path}/request-release")).json()
    assert asked["state"] == "release_requested"
    assert await engaged(counter, stopped)
    problem_of(await second.post(f"{path}/request-release"), "release_requested")
    released = (await second.post(f"{path}/confirm-release", {})).json()
    assert (released["state"], released["released_by"]) == ("released", second.staff_id)
    assert not await engaged(counter, stopped)
    problem_of(await second.post(f"{path}/confirm-release", {}), "stop_released")


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-2.3.5")
async def test_nobody_releases_alone_by_a_second_account_or_with_family(
    counter: Counter,
) -> None:
    person_id, stopped = uuid4(), scope()
    first = await counter.seat("stop_officer", person_id=person_id)
    story = await engage(first, stopped)
    path = f"{STOPS}/{story['id']}"
    await first.post(f"{path}/request-release")
    second_account = await counter.seat("stop_officer", person_id=person_id)
    family = await counter.seat("stop_officer", family=frozenset({person_id}))
    for desk in (first, second_account, family):
        problem_of(await desk.post(f"{path}/confirm-release", {}), "four_eyes")
        entry = (await counter.trail())[-1]
        assert (entry["action"], entry["outcome"]) == ("stop.release", "refused")
        assert entry["actor"] == desk.staff_id
    assert await engaged(counter, stopped)


async def test_everything_can_be_stopped_and_the_way_out_stays_open(counter: Counter) -> None:
    first, second = await counter.seat("chief"), await counter.seat("security_officer")
    story = await engage(first, "all")
    try:
        assert (await counter.seat("stop_officer")).tokens
    finally:
        path = f"{STOPS}/{story['id']}"
        await first.post(f"{path}/request-release")
        assert (await second.post(f"{path}/confirm-release", {})).status_code == 200
    assert not await engaged(counter, "all")


async def test_a_drill_stops_nothing_and_is_logged(counter: Counter) -> None:
    desk = await counter.seat("stop_officer")
    drilled = (await desk.post(f"{STOPS}/drills", scope="pay")).json()
    assert drilled["state"] == "drill"
    assert not await engaged(counter, "pay")
    problem_of(await desk.post(f"{STOPS}/drills", scope="nothing"), "stop_scope_unknown")
    problem_of(await desk.post(f"{STOPS}/{drilled['id']}/request-release"), "stop_released")


async def test_the_next_notice_is_announced(counter: Counter) -> None:
    desk = await counter.seat("stop_officer")
    story = await engage(desk, scope())
    body = {"next_notice_at": "2026-11-25T05:00:00Z"}
    response = await desk.post(f"{STOPS}/{story['id']}/announce", body)
    assert response.status_code == 204
    listed = (await desk.get(STOPS)).json()["data"]
    (found,) = [one for one in listed if one["id"] == story["id"]]
    assert found["next_notice_at"] == "2026-11-25T05:00:00.000Z"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"scope": "everything"}, "stop_scope_unknown"),
        ({"scope": "pay", "reason": "  "}, "stop_reason_missing"),
        ({"scope": "pay", "incident_id": f"inc_{'0' * 32}"}, "incident_unknown"),
        ({"scope": "pay", "incident_id": "inc_1"}, "parameter_invalid"),
        ({"scope": "pay", "next_notice_at": "2026-11-25T05:00:00"}, "parameter_invalid"),
        ({"scope": "pay", "drill": True}, "parameter_invalid"),
        ({}, "parameter_invalid"),
    ],
)
async def test_a_stop_that_makes_no_sense_stops_nothing(
    counter: Counter, fields: dict[str, Any], code: str
) -> None:
    desk = await counter.seat("stop_officer")
    problem_of(await desk.post(STOPS, {"reason": REASON, **fields}), code)
    assert not await engaged(counter, "pay")


async def test_there_is_nothing_to_release_of_an_unknown_stop(counter: Counter) -> None:
    desk = await counter.seat("stop_officer")
    for stop_id in (f"stp_{uuid4().hex}", "stp_1"):
        path = f"{STOPS}/{stop_id}"
        problem_of(await desk.post(f"{path}/request-release"), "stop_unknown")
        problem_of(await desk.post(f"{path}/confirm-release", {}), "stop_unknown")
        body = {"next_notice_at": "2026-11-25T05:00:00Z"}
        problem_of(await desk.post(f"{path}/announce", body), "stop_unknown")
