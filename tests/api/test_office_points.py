"""The office's doors of points: events and their codes, rewards for steps, orders on takings."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.city import open_rooms
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.moments import PEPPER
from tests.factories.offices import Counter, Desk
from tests.factories.points import TODAY, attend, make_person, make_points
from tests.factories.staff import REASON
from tests.servers import Database
from wallet.core.ids import public_id
from wallet.ledger.teller import Teller
from wallet.points.attend import Attended
from wallet.points.codes import read_event_code
from wallet.points.shops import find_due

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1 = "/office/v1/points"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def teller(module_database: Database) -> AsyncIterator[Teller]:
    """Yield a teller of the city whose office is open."""
    async with open_rooms(module_database.application_url) as (_, teller):
        yield teller


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(counter: Counter) -> Desk:
    """Return a colleague who runs programmes."""
    return await counter.seat("programme_clerk")


def event_body(programme: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an event of today."""
    body = {
        "programme": programme,
        "name": "河川敷の清掃",
        "amount_yen": 300,
        "first_day": TODAY.isoformat(),
        "last_day": TODAY.isoformat(),
        "reason": REASON,
    }
    return {**body, **changes}


async def test_an_event_is_held_its_codes_are_made_and_it_is_closed(
    counter: Counter, desk: Desk, teller: Teller
) -> None:
    points = await make_points(teller)
    held = await desk.post(f"{V1}/events", event_body(points, grants_max=2))
    assert held.status_code == 201, held.text
    event_id = held.json()["id"]
    made = await desk.post(f"{V1}/events/{event_id}/codes", day=TODAY.isoformat(), count=3)
    codes = made.json()["data"]
    said = [read_event_code(code, pepper=PEPPER) for code in codes]
    assert [one and (public_id("evt", one.event_id), one.day) for one in said] == [
        (event_id, TODAY)
    ] * 3
    person = await make_person(counter.engine)
    assert isinstance(await attend(teller, person, codes[0]), Attended)
    listed = (await desk.get(f"{V1}/events")).json()["data"]
    (own,) = [one for one in listed if one["id"] == event_id]
    assert (own["grants"], own["grants_max"], own["state"]) == (1, 2, "open")
    closed = [await desk.post(f"{V1}/events/{event_id}/close") for _ in range(2)]
    assert [one.json()["changed"] for one in closed] == [True, False]
    trail = [one["action"] for one in await counter.trail()]
    assert {"points.hold_event", "points.make_codes", "points.close_event"} <= set(trail)


async def test_an_event_that_makes_no_sense_is_refused(desk: Desk, teller: Teller) -> None:
    points = await make_points(teller)
    backwards = event_body(points, last_day="2026-11-24")
    problem_of(await desk.post(f"{V1}/events", backwards), "event_days_invalid")
    problem_of(await desk.post(f"{V1}/events", event_body("nothing")), "programme_unknown")
    nobodys = public_id("evt", uuid4())
    problem_of(await desk.post(f"{V1}/events/{nobodys}/close"), "event_unknown")
    codes = await desk.post(f"{V1}/events/{nobodys}/codes", day=TODAY.isoformat(), count=1)
    problem_of(codes, "event_unknown")
    held = await desk.post(f"{V1}/events", event_body(points))
    other_day = await desk.post(f"{V1}/events/{held.json()['id']}/codes", day="2026-11-26", count=1)
    problem_of(other_day, "event_days_invalid")


async def test_rewards_for_steps_are_set_and_set_anew(desk: Desk, teller: Teller) -> None:
    points = await make_points(teller)
    body = {
        "ladder": [{"steps": 5_000, "yen": 3}, {"steps": 8_000, "yen": 8}],
        "month_max_yen": 100,
        "first_day": "2026-11-01",
        "last_day": "2027-03-31",
    }
    for month_max_yen in (100, 200):
        sent = {**body, "month_max_yen": month_max_yen, "reason": REASON}
        answer = await desk.counter.client.put(
            f"{V1}/steps/{points}", headers=desk.headers, json=sent
        )
        assert answer.status_code == 204, answer.text
    listed = (await desk.get(f"{V1}/steps")).json()["data"]
    (own,) = [one for one in listed if one["programme"] == points]
    assert own == {**body, "programme": points, "month_max_yen": 200}
    falling = {**body, "ladder": body["ladder"][::-1], "reason": REASON}  # type: ignore[index] # a list
    answer = await desk.counter.client.put(
        f"{V1}/steps/{points}", headers=desk.headers, json=falling
    )
    problem_of(answer, "step_ladder_invalid")


async def test_a_programme_that_can_be_none_is_refused(desk: Desk) -> None:
    for code in ("Nothing", "%00", "a" * 65):
        answer = await desk.counter.client.put(
            f"{V1}/steps/{code}", headers=desk.headers, json={"reason": REASON}
        )
        problem_of(answer, "parameter_invalid")


async def make_shop(counter: Counter, teller: Teller) -> Merchant:
    """Return a merchant with one shop."""
    return await make_merchant(counter.engine, teller)


async def test_an_order_on_takings_takes_two_and_waits_for_the_worker(
    counter: Counter, desk: Desk, teller: Teller
) -> None:
    payer, payee = [await make_shop(counter, teller) for _ in range(2)]
    shop_id, to_shop_id = (public_id("shp", one.shop_id) for one in (payer, payee))
    lead = await counter.seat("programme_lead")
    wanted: list[dict[str, Any]] = [
        {"shop_id": shop_id, "to_shop_id": to_shop_id, "amount_yen": 500},
        {"shop_id": shop_id, "amount_yen": 400},
    ]
    ordered: dict[str, str | None] = {}
    for body in wanted:
        asked = await desk.post(f"{V1}/takings", **body)
        assert asked.status_code == 202, asked.text
        path = f"/office/v1/approvals/{asked.json()['id']}"
        agreed = {"payload_hash": asked.json()["payload_hash"]}
        assert len(await find_due(counter.engine)) == len(ordered)
        assert (await desk.post(f"{path}/approve", agreed)).status_code == 403
        problem_of(await desk.post(f"{path}/execute", {}), "approval_missing")
        assert (await lead.post(f"{path}/approve", agreed)).status_code == 200
        done = await desk.post(f"{path}/execute", {})
        assert done.status_code == 200, done.text
        problem_of(await desk.post(f"{path}/execute", {}), "approval_executed")
        ordered[done.json()["result"]["order"]] = body.get("to_shop_id")
    listed = (await desk.get(f"{V1}/takings?limit=2")).json()["data"]
    assert {one["id"]: one["to_shop_id"] for one in listed} == ordered
    assert {(one["state"], one["ordered_by"]) for one in listed} == {("ordered", desk.staff_id)}
    # Both were written in the same moment of the test's clock, so neither is the newer one.
    assert {one["amount_yen"] for one in listed} == {400, 500}
    assert len(await find_due(counter.engine)) == 2


async def test_an_order_that_makes_no_sense_is_refused_at_once(
    counter: Counter, desk: Desk, teller: Teller
) -> None:
    shop_id = public_id("shp", (await make_shop(counter, teller)).shop_id)
    same = await desk.post(f"{V1}/takings", shop_id=shop_id, to_shop_id=shop_id, amount_yen=1)
    problem_of(same, "takings_to_self")
    nobodys = public_id("shp", uuid4())
    unknown = await desk.post(f"{V1}/takings", shop_id=nobodys, amount_yen=1)
    problem_of(unknown, "shop_unknown")


async def test_only_who_runs_points_may(counter: Counter, teller: Teller) -> None:
    points = await make_points(teller)
    auditor = await counter.seat("auditor")
    problem_of(await auditor.post(f"{V1}/events", event_body(points)), "permission_missing")
