"""Every session ends at once, by one person, and the trail says who and why."""

import pytest

from tests.api.answers import problem_of
from tests.factories.offices import open_counter
from tests.factories.phones import call, make_phone
from tests.factories.staff import REASON
from tests.servers import Database
from wallet.auth.authenticate import Caller
from wallet.auth.proofs import UNAUTHENTICATED


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-7.4.5")
async def test_revoking_all_sessions_ends_residents_staff_and_ones_own(database: Database) -> None:
    async with open_counter(database.application_url) as counter:
        chief, clerk = await counter.seat("chief"), await counter.seat("counter_clerk")
        phone = await make_phone(counter.engine)
        assert isinstance(await call(counter.engine, phone), Caller)
        problem_of(await chief.post("/ops/v1/sessions/revoke-all", reason=""), "reason_missing")
        assert (await clerk.get("/office/v1/me")).status_code == 200
        response = await chief.post("/ops/v1/sessions/revoke-all")
        assert response.json() == {"ended": 3}
        for desk in (chief, clerk):
            problem_of(await desk.get("/office/v1/me"), "sign_in_required")
            refresh = {"refresh_token": desk.tokens["refresh_token"]}
            answer = await counter.client.post("/office/v1/refresh", json=refresh)
            problem_of(answer, "sign_in_required")
        assert await call(counter.engine, phone) == UNAUTHENTICATED
        before, after = (await counter.trail())[-2:]
        assert (before["action"], before["reason"]) == ("session.revoke_all", REASON)
        assert (after["action"], after["details"]) == ("session.revoked_all", {"ended": 3})
        assert before["actor"] == after["actor"] == chief.staff_id
        # Whoever has their passkey comes back.
        assert (await counter.sign_in(clerk.colleague)).tokens
