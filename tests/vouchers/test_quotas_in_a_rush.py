"""Quotas hold exactly, however many ask at the same time and wherever they are served."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.city import open_rooms
from tests.factories.people import make_wallet
from tests.factories.programmes import frame, make_programme, voucher_draft
from tests.factories.vouchers import ask, give, make_request, purses_of
from tests.servers import Database
from wallet.core.database import read
from wallet.ledger.teller import Teller
from wallet.vouchers.issue import Issued, Refused
from wallet.vouchers.issue_many import issue_many

SOLD = text("""
SELECT b.debits_posted FROM programme AS g JOIN balance AS b ON b.account_id = g.clearing_account_id
WHERE g.code = :code
""")


class Shops:
    """Two processes that sell: tellers with two lanes each, and an engine to look with."""

    def __init__(self, engine: AsyncEngine, tellers: tuple[Teller, Teller]) -> None:
        self.engine = engine
        self.tellers = tellers


@pytest.fixture
async def shops(module_database: Database) -> AsyncIterator[Shops]:
    """Yield two tellers on the module's city."""
    url = module_database.application_url
    async with open_rooms(url) as (engine, one), open_rooms(url) as (_, other):
        yield Shops(engine, (one, other))


async def sold_sets(engine: AsyncEngine, code: str) -> int:
    """Return how many sets the ledger has sold."""
    async with read(engine) as connection:
        debits_yen: int = (await connection.execute(SOLD, {"code": code})).scalar_one()
    return debits_yen // 5_000


def outcomes(answers: list[Issued | Refused]) -> Counter[str]:
    """Count the answers by what they say."""
    return Counter(
        "issued" if isinstance(answer, Issued) else answer.refusal.code for answer in answers
    )


@pytest.mark.attack(27)
@pytest.mark.asvs("v5.0.0-2.3.4")
async def test_the_last_sets_are_all_sold_and_none_twice(shops: Shops) -> None:
    draft = voucher_draft("rush", frame_=frame(sets_total=25))
    await make_programme(shops.tellers[0], draft)
    wallet_ids = [await make_wallet(shops.engine) for _ in range(40)]
    requests = [make_request(wallet_id, "rush", sets=2) for wallet_id in wallet_ids]
    answers = await asyncio.gather(
        *[ask(shops.tellers[n % 2], request) for n, request in enumerate(requests)]
    )
    assert outcomes(answers) == {"issued": 12, "sets_sold_out": 28}
    assert await sold_sets(shops.engine, "rush") == 24
    rest = [make_request(wallet_id, "rush", sets=1) for wallet_id in wallet_ids]
    answers = await asyncio.gather(
        *[ask(shops.tellers[n % 2], request) for n, request in enumerate(rest)]
    )
    assert outcomes(answers) == {"issued": 1, "sets_sold_out": 39}
    assert await sold_sets(shops.engine, "rush") == 25


@pytest.mark.attack(27)
@pytest.mark.asvs("v5.0.0-2.3.4")
async def test_one_person_at_many_counters_gets_one_persons_share(shops: Shops) -> None:
    await make_programme(shops.tellers[0], voucher_draft("greedy"))
    wallet_id = await make_wallet(shops.engine)
    answers = await asyncio.gather(
        *[ask(shops.tellers[n % 2], make_request(wallet_id, "greedy", sets=1)) for n in range(40)]
    )
    assert outcomes(answers) == {"issued": 10, "sets_per_person_exceeded": 30}
    assert await purses_of(shops.engine, wallet_id) == {
        "greedy paid": 50_000,
        "greedy premium": 12_500,
    }


async def test_a_request_that_comes_twice_at_once_is_issued_once_and_never_refused(
    shops: Shops,
) -> None:
    await make_programme(shops.tellers[0], voucher_draft("double"))
    for _ in range(8):
        # All that one person may have: a second issue would be refused, a repeat must not be.
        request = make_request(await make_wallet(shops.engine), "double", sets=10)
        answers = await asyncio.gather(*[ask(teller, request) for teller in shops.tellers * 2])
        assert all(isinstance(answer, Issued) for answer in answers)
        assert sum(not getattr(answer, "replayed", True) for answer in answers) == 1


async def test_two_bulk_issues_in_one_batch_see_each_other(shops: Shops) -> None:
    teller = shops.tellers[0]
    await make_programme(teller, voucher_draft("bulk"))
    wallet_id = await make_wallet(shops.engine)
    await give(teller, wallet_id, "bulk", sets=4)
    rosters = [[make_request(wallet_id, "bulk", sets=6)] for _ in range(2)]
    answers = await asyncio.gather(*[issue_many(teller, requests=one) for one in rosters])
    assert outcomes([answer for one in answers for answer in one]) == {
        "issued": 1,
        "sets_per_person_exceeded": 1,
    }
