"""The way of a programme's draft through the doors of the office."""

from datetime import date
from typing import Any

import msgspec

from tests.factories.drafts import LIVE_ON
from tests.factories.offices import Counter, Desk
from wallet.programmes.terms import ProgrammeDraft


def path_of(code: str, *rest: object) -> str:
    """Return the address of a programme, or of something below it."""
    return "/".join(("/office/v1/programmes", code, *map(str, rest)))


async def save(desk: Desk, draft: ProgrammeDraft, *, seen: int = 0) -> dict[str, Any]:
    """Save a draft through its door and return what stands against it."""
    body = {"draft": msgspec.to_builtins(draft), "seen_revision": seen}
    response = await desk.post(path_of(draft.code, "drafts"), body)
    assert response.status_code == 201, response.text
    saved: dict[str, Any] = response.json()
    return saved


async def submit(desk: Desk, draft: ProgrammeDraft, *, seen: int = 0) -> dict[str, Any]:
    """Save a draft, hand it in and return it."""
    saved = await save(desk, draft, seen=seen)
    revision = saved["draft"]["revision"]
    response = await desk.post(path_of(draft.code, "drafts", revision, "submit"))
    assert response.status_code == 200, response.text
    submitted: dict[str, Any] = response.json()
    return submitted


async def approve(counter: Counter, desk: Desk, submitted: dict[str, Any]) -> dict[str, Any]:
    """Have a colleague approve what was handed in, carry it out, and return the answer."""
    path = path_of(submitted["code"], "drafts", submitted["revision"], "approval")
    asked = await desk.post(path)
    assert asked.status_code == 202, asked.text
    request = asked.json()
    lead = await counter.seat("programme_lead")
    approvals = f"/office/v1/approvals/{request['id']}"
    decided = await lead.post(f"{approvals}/approve", {"payload_hash": request["payload_hash"]})
    assert decided.status_code == 200, decided.text
    done = await desk.post(f"{approvals}/execute", {})
    assert done.status_code == 200, done.text
    executed: dict[str, Any] = done.json()
    return executed


async def schedule(
    counter: Counter, draft: ProgrammeDraft, *, seen: int = 0, live_on: date = LIVE_ON
) -> dict[str, Any]:
    """Take a draft all the way to its day and return it; the worker has not seen it yet."""
    desk = await counter.seat("programme_clerk")
    submitted = await submit(desk, draft, seen=seen)
    await approve(counter, desk, submitted)
    path = path_of(draft.code, "drafts", submitted["revision"], "schedule")
    response = await desk.post(path, {"live_on": str(live_on)})
    assert response.status_code == 200, response.text
    scheduled: dict[str, Any] = response.json()
    return scheduled
