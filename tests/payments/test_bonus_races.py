"""Bonuses in a rush: two tills at once give a budget to the last yen, and nobody above a cap."""

import asyncio
from collections.abc import Collection
from datetime import date
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.factories.bonuses import bonus, budget_left, coupon, grants_of, make_giving, pick
from tests.factories.city import City, make_city
from tests.factories.ledger import open_teller
from tests.factories.payments import fresh
from tests.factories.people import make_wallet
from tests.factories.planting import failed
from tests.factories.residents import make_resident
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.database import Connection, make_engine
from wallet.ledger import storage
from wallet.ledger.book import Book
from wallet.payments.give_due import run_due
from wallet.payments.pay import Paid, Pay
from wallet.payments.rules import Payment, PayRequest
from wallet.programmes.bonus import Bonus
from wallet.proof import prove


async def rush(city: City, requests: list[PayRequest]) -> list[Payment]:
    """Have two processes pay all of it at once, and return the payments; all succeed."""
    url, clock = city.database_url, city.clock
    async with (
        open_teller(url, clock=clock, lanes=2) as first,
        open_teller(url, clock=clock, lanes=2) as second,
    ):
        tills = ((first, Pay()), (second, Pay()))
        futures = []
        for number, request in enumerate(requests):
            teller, work = tills[number % 2]
            futures.append(teller.submit(work, request))
        answers = await asyncio.gather(*futures)
    paid = [one.payment for one in answers if isinstance(one, Paid)]
    assert [one.refusal for one in paid] == [None] * len(requests)
    return paid


async def green(city: City) -> None:
    """Fail the test when the proof finds anything."""
    engine = make_engine(city.database_url, pool_size=1, application_name="tests")
    try:
        proof = await prove(engine, now_us=city.clock() + 3_600_000_000)
        assert proof.ok, failed(proof.checks)
    finally:
        await engine.dispose()


async def test_two_tills_give_a_budget_to_the_last_yen(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await make_giving(city, "points", budget_yen=2_550, first_day=date(2026, 12, 31))
        await make_giving(
            city,
            "paying",
            bonus(target="points"),
            bonus("later", target="points", vests_after_days=30),
            coupons=[coupon("ten", first=10)],
        )
        wallets = [await make_wallet(city.engine) for _ in range(20)]
        for wallet_id in wallets:
            await give(city.teller, wallet_id, "paying", amount_yen=5_000)
            await pick(city, wallet_id, "paying:ten")
        requests = [await fresh(city, one, amount_yen=1_300) for one in wallets for _ in range(2)]
        paid = await rush(city, requests)
        assert sum(one.discount is not None for one in paid) == 10
        assert sum(one.amount_yen for payment in paid for one in payment.earned) == 2_550
        assert await budget_left(city, "points") == 0
        await green(city)


async def test_a_rush_for_one_coupon_runs_no_batch_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever loses a batch three times running would hear of an error instead of a payment."""
    async with make_city(database.application_url) as city:
        await make_giving(city, "paying", coupons=[coupon("many", first=1_000)])
        wallets = [await make_wallet(city.engine) for _ in range(25)]
        for wallet_id in wallets:
            await give(city.teller, wallet_id, "paying", amount_yen=5_000)
            await pick(city, wallet_id, "paying:many")
        requests = [await fresh(city, one, amount_yen=1_300) for one in wallets]
        await rush(city, requests[:1])  # From here on there is a row to count in.
        read: list[int] = []
        recorded: list[int] = []
        begin, record = storage.begin, storage.record

        async def count_and_begin(connection: Connection) -> None:
            read.append(1)
            await begin(connection)

        async def record_and_count(
            connection: Connection, book: Book, *, open_ids: Collection[UUID]
        ) -> None:
            await record(connection, book, open_ids=open_ids)
            recorded.append(1)

        monkeypatch.setattr(storage, "begin", count_and_begin)
        monkeypatch.setattr(storage, "record", record_and_count)
        paid = await rush(city, requests[1:])
        assert all(one.discount is not None for one in paid)
        assert len(read) == len(recorded)
        await green(city)


async def test_one_person_with_many_wallets_gets_no_more_than_the_cap(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await make_giving(city, "capped", bonus(total_cap_yen=250))
        person_id = (await make_resident(city.engine)).id
        wallets = [await make_wallet(city.engine, person_id=person_id) for _ in range(8)]
        for wallet_id in wallets:
            await give(city.teller, wallet_id, "capped", amount_yen=2_000)
        await rush(city, [await fresh(city, one, amount_yen=1_000) for one in wallets])
        granted = [grant[1] for one in wallets for grant in await grants_of(city, one)]
        assert sorted(granted) == [50, 100, 100]
        await green(city)


percents = st.integers(0, 40)
rules = st.lists(
    st.builds(
        lambda percent, cap, month, days, exclusive, priority: bonus(
            f"rule-{priority}",
            percent=percent + 1,
            payment_cap_yen=cap,
            month_cap_yen=month,
            vests_after_days=days,
            exclusive=exclusive,
            priority=priority,
        ),
        percents,
        st.none() | st.integers(0, 200),
        st.none() | st.integers(0, 300),
        st.sampled_from([0, 0, 3]),
        st.booleans(),
        st.integers(0, 50),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.code,
)


@settings(
    max_examples=4,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rules=rules,
    amounts=st.lists(st.integers(1, 900), min_size=1, max_size=8),
    left_yen=st.integers(0, 400),
)
async def test_whatever_the_rules_caps_and_budgets_are_exact(
    module_database: Database, rules: list[Bonus], amounts: list[int], left_yen: int
) -> None:
    async with make_city(module_database.application_url, yen=0) as city:
        code = f"p-{uuid4()}"
        await make_giving(city, code, *rules, budget_yen=8_000 + left_yen)
        wallets = [await make_wallet(city.engine) for _ in range(2)]
        for wallet_id in wallets:
            await give(city.teller, wallet_id, code, amount_yen=4_000)
        requests = [
            await fresh(city, wallets[number % 2], amount_yen=yen)
            for number, yen in enumerate(amounts)
        ]
        paid = await rush(city, requests)
        earned_yen = sum(one.amount_yen for payment in paid for one in payment.earned)
        assert await budget_left(city, code) == left_yen - earned_yen
        for rule in rules:
            for wallet_id in wallets:
                of_rule = [
                    yen
                    for name, yen, _ in await grants_of(city, wallet_id)
                    if name == f"{code}/{rule.code}"
                ]
                if rule.payment_cap_yen is not None:
                    assert max(of_rule, default=0) <= rule.payment_cap_yen
                if rule.month_cap_yen is not None:
                    assert sum(of_rule) <= rule.month_cap_yen
        await run_due(city.engine, city.database_url, city.clock)
        await green(city)
