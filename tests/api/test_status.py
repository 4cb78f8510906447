"""The public status: what is stopped, in words that were approved, for everybody who asks."""

from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.factories.moments import NOW, NOW_US
from tests.factories.payments import engage, release
from tests.factories.tills import Till
from wallet.api.render_status import status_body
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.core.database import write
from wallet.ops import stop
from wallet.ops.board import KEPT_S, Stopped, View
from wallet.ops.public_texts import public_texts
from wallet.people.rules import printed_number

pytestmark = pytest.mark.asyncio(loop_scope="module")

MERCHANT = "0193b2c4d5e67f8091a2b3c4d5e6f708"
RANGE = f"{printed_number(1)}-{printed_number(2)}"


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nothing_is_stopped(till: Till) -> None:
    """Let everything flow at the beginning of each test."""
    nothing = text("UPDATE stop_control SET scopes = '{}'")
    await write(till.city.engine, lambda connection: connection.execute(nothing))


async def status(till: Till) -> dict[str, Any]:
    """Ask as anybody may, once what was known before has become too old."""
    assert isinstance(till.city.clock, TestClock)
    till.city.clock.advance(seconds=KEPT_S)
    response = await till.client.get("/status")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "public, max-age=2"
    body: dict[str, Any] = response.json()
    return body


async def test_while_nothing_is_stopped_that_is_said(till: Till) -> None:
    body = await status(till)
    assert (body["object"], body["livemode"], body["state"]) == ("status", False, "running")
    assert body["stops"] == []
    assert body["message"]["ja"] == public_texts().running.ja


async def test_a_stop_is_told_until_it_is_released(till: Till) -> None:
    await engage(till.city, "pay")
    body = await status(till)
    assert body["state"] == "partly_stopped"
    (told,) = body["stops"]
    assert (told["kind"], told["target"]) == ("pay", None)
    assert told["since"] is not None
    assert told["message"] == body["message"]
    for language in ("ja", "easy", "en"):
        assert told["message"][language].startswith(
            getattr(public_texts().kind["pay"], language)  # type: ignore[index] # by its value
        )
    await release(till.city, "pay")
    assert (await status(till))["state"] == "running"


async def test_a_stop_of_everything_is_told_first(till: Till) -> None:
    await engage(till.city, "gift")
    await engage(till.city, "all")
    body = await status(till)
    assert body["state"] == "stopped"
    assert [one["kind"] for one in body["stops"]] == ["all", "gift"]
    assert body["message"] == body["stops"][0]["message"]


async def test_the_next_notice_is_told_until_it_is_due(till: Till) -> None:
    now_us = till.city.clock()
    await write(
        till.city.engine,
        lambda connection: stop.engage(
            connection,
            scope="sale",
            reason="a test",
            actor="cli:a",
            now_us=now_us,
            next_notice_us=now_us + 60 * MICROSECONDS,
        ),
    )
    (told,) = (await status(till))["stops"]
    assert told["next_notice_at"] is not None
    assert "次のお知らせ" in told["message"]["ja"]
    assert isinstance(till.city.clock, TestClock)
    till.city.clock.advance(seconds=60)
    (told,) = (await status(till))["stops"]
    assert told["next_notice_at"] is None
    assert "次のお知らせ" not in told["message"]["ja"]


async def test_nobody_learns_whom_a_stop_is_about_or_why(till: Till) -> None:
    for scope in (f"merchant:{MERCHANT}", f"card-range:{RANGE}"):
        await engage(till.city, scope)
    response = await till.client.get("/status")
    body = await status(till)
    assert [(one["kind"], one["target"]) for one in body["stops"]] == [
        ("merchant", None),
        ("card-range", None),
    ]
    for secret in (MERCHANT, RANGE[:12], "a test", "cli:tests"):
        assert secret not in response.text + str(body)


async def test_who_is_meant_can_see_it_where_that_helps(till: Till) -> None:
    for scope in ("programme:coin", "app-version:2.4.1", "tier:T0"):
        await engage(till.city, scope)
    told = {one["kind"]: one["target"] for one in (await status(till))["stops"]}
    assert told == {"programme": "coin", "app-version": "2.4.1", "tier": "T0"}


async def test_a_drill_is_nothing_the_public_hears_of(till: Till) -> None:
    await stop.drill(
        till.city.engine, scope="all", reason="drill", actor="cli:a", now_us=till.city.clock()
    )
    assert (await status(till))["state"] == "running"


async def test_reads_and_the_status_stay_open_while_everything_is_stopped(till: Till) -> None:
    await engage(till.city, "all")
    assert (await status(till))["state"] == "stopped"
    assert (await till.get("/v1/payments")).status_code == 200


async def test_what_is_answered_fits_its_schema(till: Till) -> None:
    document = (await till.client.get("/openapi.json")).json()
    schema = {"$ref": "#/components/schemas/StatusBody", "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    assert validator.is_valid(await status(till))
    await engage(till.city, "programme:coin")
    assert validator.is_valid(await status(till))


async def test_a_scope_of_a_newer_version_is_left_out() -> None:
    view = View(NOW_US, (Stopped("teleport", None, None),), frozenset({"teleport"}))
    body = status_body(view, livemode=True)
    assert (body.state, body.stops) == ("running", [])


async def test_a_stop_without_a_story_is_told_without_a_time() -> None:
    view = View(NOW_US, (Stopped("pay", None, NOW + timedelta(hours=1)),), frozenset({"pay"}))
    (told,) = status_body(view, livemode=True).stops
    assert told.since is None
    assert told.message.ja == public_texts().kind["pay"].ja + (  # type: ignore[index] # by its value
        "次のお知らせは11月25日13時00分の予定です。"
    )
