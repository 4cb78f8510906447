"""The doors of coin and points, whatever is sent to them: nothing is ever our fault."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories.city import make_city
from tests.factories.moments import PEPPER
from tests.factories.offices import Desk, open_counter
from tests.factories.payments import make_payer
from tests.factories.pockets import Pocket, open_pocket
from tests.factories.points import (
    TODAY,
    make_coin,
    make_event,
    make_person,
    make_points,
    make_rule,
    sell,
)
from tests.factories.residents import Resident
from tests.factories.staff import REASON
from tests.servers import Database
from wallet.core.ids import public_id
from wallet.points.codes import gift_code_of, new_event_code
from wallet.programmes.terms import Exchange as Rate

OUR_FAULT: Final = 500

NOISE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@dataclass(frozen=True, kw_only=True)
class Doors:
    """A phone and a colleague before open doors, and what makes sense to send to each."""

    runner: asyncio.Runner
    pocket: Pocket
    person: Resident
    desk: Desk
    sense: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def doors(module_database: Database) -> Iterator[Doors]:
    """Yield the doors, and close them afterwards."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        yield runner.run(_open(runner, stack, module_database.application_url))
        runner.run(stack.aclose())


async def _open(runner: asyncio.Runner, stack: AsyncExitStack, url: str) -> Doors:
    city = await stack.enter_async_context(make_city(url, yen=1_000))
    pocket = await stack.enter_async_context(open_pocket(city))
    counter = await stack.enter_async_context(open_counter(url))
    coin, to = await make_coin(city.teller), await make_points(city.teller)
    points = await make_points(city.teller, exchanges=[Rate(to=to, times=1, per=2)])
    await make_rule(city.engine, points)
    event_id = await make_event(city.engine, points)
    person = await make_person(city.engine)
    await sell(city.teller, person, coin, yen=10_000)
    await make_payer(city)
    shop_id = public_id("shp", city.merchant.shop_id)
    gift_code = gift_code_of(uuid4(), idempotency_key="a key", pepper=PEPPER)
    days = {"first_day": TODAY.isoformat(), "last_day": TODAY.isoformat()}
    why = {"reason": REASON}
    ladder = [{"steps": 1_000, "yen": 1}]
    sense: dict[str, dict[str, Any]] = {
        "POST /app/v1/gifts": {"programme": coin, "amount_yen": 1, "to": "2222-2222"},
        "POST /app/v1/gifts/claim": {"code": gift_code},
        "POST /app/v1/events/attend": {"code": new_event_code(event_id, day=TODAY, pepper=PEPPER)},
        "POST /app/v1/steps": {"programme": points, "day": TODAY.isoformat(), "steps": 5_000},
        "POST /app/v1/exchanges": {"programme": points, "to": to, "amount_yen": 2},
        "POST /app/v1/charges": {"programme": coin, "amount_yen": 100, "method": "bank"},
        "POST /office/v1/points/events": {
            "programme": points,
            "name": "清掃",
            "amount_yen": 10,
            "grants_max": 5,
            **days,
            **why,
        },
        f"POST /office/v1/points/events/{public_id('evt', event_id)}/codes": {
            "day": TODAY.isoformat(),
            "count": 1,
            **why,
        },
        f"POST /office/v1/points/events/{public_id('evt', uuid4())}/close": why,
        f"PUT /office/v1/points/steps/{points}": {
            "ladder": ladder,
            "month_max_yen": 10,
            **days,
            **why,
        },
        "POST /office/v1/points/takings": {"shop_id": shop_id, "amount_yen": 1, **why},
    }
    desk = await counter.seat("programme_clerk")
    return Doors(runner=runner, pocket=pocket, person=person, desk=desk, sense=sense)


async def _ask(doors: Doors, door: str, body: object, key: str) -> int:
    method, path = door.split(" ")
    if path.startswith("/app"):
        app, phone = doors.pocket.app, doors.person.phone
        sent: Any = body
        return (await app.call(phone, method, path, sent, idempotency_key=key)).status_code
    client, headers = doors.desk.counter.client, doors.desk.headers
    # Not by the client's own encoder, which refuses what only looks like JSON, such as Infinity.
    headers = {**headers, "content-type": "application/json"}
    content = json.dumps(body)
    return (await client.request(method, path, headers=headers, content=content)).status_code


@given(data=st.data())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_is_sent_is_answered_as_what_it_is(doors: Doors, data: st.DataObject) -> None:
    door = data.draw(st.sampled_from(sorted(doors.sense)))
    body: Any = dict(doors.sense[door])
    for name in data.draw(st.sets(st.sampled_from(sorted(body)), max_size=2)):
        body[name] = data.draw(NOISE)
    if data.draw(st.integers(0, 9)) == 0:
        body = data.draw(NOISE)
    key = data.draw(st.sampled_from(["one", "two", str(uuid4())]))
    status = doors.runner.run(_ask(doors, door, body, key))
    assert status < OUR_FAULT, (door, body)
