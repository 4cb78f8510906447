"""The auditor reads the trail, checks it, takes it along, and is in it."""

import json

import pytest
from sqlalchemy import text

from tests.api.answers import problem_of
from tests.factories.offices import Counter, open_counter
from tests.factories.staff import REASON
from tests.servers import Database
from wallet.core.embedded.databases import run_sql
from wallet.core.scrub import contains_personal
from wallet.ops.audit import FIRST_PREVIOUS_HASH, chain_hash

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUDIT = "/office/v1/audit"


async def test_the_trail_is_read_a_page_at_a_time(counter: Counter) -> None:
    desk = await counter.seat("auditor")
    await counter.seat("auditor")
    first = (await desk.get(f"{AUDIT}/entries?limit=1")).json()
    second = (await desk.get(f"{AUDIT}/entries?after=1&limit=100")).json()
    assert [one["seq"] for one in first["data"]] == [1]
    assert first["has_more"] is True
    assert second["data"][0]["seq"] == 2
    assert second["has_more"] is False
    # That it was read is the last thing in it.
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["actor"]) == ("audit.view", desk.staff_id)
    assert entry["details"] == {"after": 1, "entries": len(second["data"])}
    for query in ("limit=0", "limit=101", "after=-1", "after=x", "actor=me"):
        problem_of(await desk.get(f"{AUDIT}/entries?{query}"), "parameter_invalid")


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-16.4.2")
async def test_an_export_is_enough_to_recompute_the_chain(counter: Counter) -> None:
    desk = await counter.seat("auditor")
    response = await desk.post(f"{AUDIT}/export")
    assert response.headers["content-type"] == "application/x-ndjson"
    entries = [json.loads(line) for line in response.text.splitlines()]
    previous = FIRST_PREVIOUS_HASH
    for entry in entries:
        covered = {
            name: value
            for name, value in entry.items()
            if name not in {"at", "hash", "previous_hash"}
        }
        assert entry["previous_hash"] == previous.hex()
        previous = chain_hash(previous, covered)
        assert entry["hash"] == previous.hex()
    assert not contains_personal(response.text)
    last = (await counter.trail())[-1]
    assert (last["action"], last["reason"]) == ("audit.export", REASON)
    assert last["details"] == {"after": 0, "entries": len(entries)}
    part = await desk.post(f"{AUDIT}/export", after=1, to=2)
    assert [json.loads(line)["seq"] for line in part.text.splitlines()] == [2]


async def test_an_export_takes_a_reason(counter: Counter) -> None:
    desk = await counter.seat("auditor")
    problem_of(await desk.post(f"{AUDIT}/export", reason=""), "reason_missing")
    assert (await counter.trail())[-1]["outcome"] == "refused"


@pytest.mark.attack(28)
async def test_a_bent_trail_is_found_by_the_auditor(database: Database) -> None:
    async with open_counter(database.application_url) as counter:
        desk = await counter.seat("auditor")
        whole = (await desk.get(f"{AUDIT}/verification")).json()
        assert (whole["ok"], whole["broken"]) == (True, None)
        async with counter.engine.connect() as connection:
            head = await connection.execute(text("SELECT seq FROM audit_head"))
            assert head.scalar_one() == whole["head_seq"] + 1  # The verification itself.
        run_sql(
            url=database.owner_url,
            script="ALTER TABLE audit_entry DISABLE TRIGGER USER;"
            "UPDATE audit_entry SET actor = 'system' WHERE seq = 1;",
        )
        bent = (await desk.get(f"{AUDIT}/verification")).json()
        assert bent["ok"] is False
        assert bent["broken"]["seq"] == 1
