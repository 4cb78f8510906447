"""Who may reserve what, and that not one unit is reserved twice however many ask at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.people import make_wallet
from tests.factories.programmes import frame, free_draft, make_programme, voucher_draft
from tests.factories.sales import DAY_US, put_on_sale, reserve, sale, stock_of, told, wish
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.database import write
from wallet.core.refusals import RefusedError
from wallet.ledger.teller import Teller
from wallet.vouchers.purchase_stock import list_sales, open_sale
from wallet.vouchers.reserve import RESERVE, Refused, Reserved

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Hall:
    """A sale that two processes serve: tellers of two lanes each, and an engine to look with."""

    def __init__(self, engine: AsyncEngine, tellers: tuple[Teller, Teller]) -> None:
        self.engine = engine
        self.tellers = tellers
        self.teller = tellers[0]

    async def sell(
        self,
        code: str,
        *,
        sets_per_person: int = 10,
        face_yen: int = 6_250,
        **changes: Any,  # noqa: ANN401 - fields of many types
    ) -> UUID:
        """Make a programme and put it on sale."""
        terms = frame(sets_per_person=sets_per_person, face_yen=face_yen)
        await make_programme(self.teller, voucher_draft(code, frame_=terms))
        return await put_on_sale(self.engine, code, **changes)

    async def run(self, statement: str, **values: object) -> None:
        """Change something that tests need otherwise."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(text(statement), values)

        await write(self.engine, work)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hall(module_database: Database) -> AsyncIterator[Hall]:
    """Yield two tellers on the module's city, and a sale called ``voucher``."""
    url = module_database.application_url
    async with open_rooms(url) as (engine, one), open_rooms(url) as (_, other):
        hall = Hall(engine, (one, other))
        await hall.sell("voucher")
        yield hall


async def test_units_are_kept_for_a_week_at_their_price(hall: Hall) -> None:
    total, reserved, sold = await stock_of(hall.engine)
    purchase = await reserve(hall.teller, wish(await make_wallet(hall.engine), units=3))
    assert (purchase.price_yen, purchase.face_yen, purchase.state) == (15_000, 18_750, "reserved")
    assert purchase.deadline_us == NOW_US + 7 * DAY_US
    assert await stock_of(hall.engine) == (total, reserved + 3, sold)


async def test_a_repeat_is_answered_and_reserves_nothing(hall: Hall) -> None:
    request = wish(await make_wallet(hall.engine), units=10)
    answers: list[Reserved] = await asyncio.gather(
        *(teller.submit(RESERVE, request) for teller in hall.tellers * 3)
    )
    assert sum(not one.replayed for one in answers) == 1
    assert len({one.purchase.id for one in answers}) == 1
    again = wish(request.wallet_id, units=10, idempotency_key=request.idempotency_key)
    answer = await hall.teller.submit(RESERVE, again)
    assert (answer.replayed, answer.purchase.id) == (True, request.purchase_id)


async def test_a_key_that_was_used_for_something_else_is_refused(hall: Hall) -> None:
    request = wish(await make_wallet(hall.engine))
    await reserve(hall.teller, request)
    other = wish(request.wallet_id, units=2, idempotency_key=request.idempotency_key)
    assert await told(hall.teller, other) == "idempotency_conflict"


async def test_the_last_units_are_all_reserved_and_none_twice(hall: Hall) -> None:
    await hall.sell("rush", units_total=25)
    wallet_ids = [await make_wallet(hall.engine) for _ in range(40)]

    async def ask(units: int) -> Counter[str]:
        answers: list[Reserved | Refused] = await asyncio.gather(
            *(
                hall.tellers[n % 2].submit(RESERVE, wish(wallet_id, "rush", units=units))
                for n, wallet_id in enumerate(wallet_ids)
            )
        )
        return Counter(
            one.refusal.code if isinstance(one, Refused) else "reserved" for one in answers
        )

    assert await ask(2) == {"reserved": 12, "sold_out": 28}
    assert await stock_of(hall.engine, "rush") == (25, 24, 0)
    assert await ask(1) == {"reserved": 1, "sold_out": 39}
    assert await stock_of(hall.engine, "rush") == (25, 25, 0)


async def test_the_table_itself_refuses_one_unit_too_many(hall: Hall) -> None:
    programme_id = await hall.sell("guarded", units_total=1)
    with pytest.raises(IntegrityError, match="not_one_oversold"):
        await hall.run(
            "UPDATE stock SET units_reserved = 2 WHERE programme_id = :id", id=programme_id
        )


async def test_one_person_at_many_doors_gets_one_persons_share(hall: Hall) -> None:
    await hall.sell("greedy", sets_per_person=3)
    wallet_id = await make_wallet(hall.engine)
    answers = await asyncio.gather(
        *(hall.tellers[n % 2].submit(RESERVE, wish(wallet_id, "greedy")) for n in range(12))
    )
    assert sum(isinstance(one, Reserved) for one in answers) == 3


async def test_what_was_issued_at_a_counter_counts_as_well(hall: Hall) -> None:
    await hall.sell("counter", sets_per_person=3)
    wallet_id = await make_wallet(hall.engine)
    await give(hall.teller, wallet_id, "counter", sets=2)
    assert await told(hall.teller, wish(wallet_id, "counter", units=2)) == (
        "units_per_person_exceeded"
    )
    await reserve(hall.teller, wish(wallet_id, "counter", units=1))


async def test_no_more_is_reserved_than_a_tier_may_hold(hall: Hall) -> None:
    await hall.sell("dear", face_yen=30_000)
    visitor = await make_wallet(hall.engine)
    await hall.run("UPDATE wallet SET tier = 'T1' WHERE id = :id", id=visitor)
    await reserve(hall.teller, wish(visitor, "dear", units=3))
    assert await told(hall.teller, wish(visitor, "dear")) == "balance_limit"
    assert await told(hall.teller, wish(visitor, units=2)) == "balance_limit"


async def test_a_sale_may_ask_for_a_tier_and_for_residents(hall: Hall) -> None:
    await hall.sell("known", min_tier="T2", residents_only=True)
    stranger = await make_wallet(hall.engine)
    assert await told(hall.teller, wish(stranger, "known")) == "residents_only"
    await hall.run("UPDATE wallet SET tier = 'T1' WHERE id = :id", id=stranger)
    assert await told(hall.teller, wish(stranger, "known")) == "tier_too_low"


@pytest.mark.parametrize(
    ("opens_us", "closes_us", "code"),
    [
        (NOW_US + 1, NOW_US + DAY_US, "sale_not_open"),
        (NOW_US - DAY_US, NOW_US, "sale_over"),
    ],
)
async def test_nobody_buys_before_or_after(
    hall: Hall, opens_us: int, closes_us: int, code: str
) -> None:
    name = code.replace("_", "-")
    await hall.sell(name, opens_us=opens_us, closes_us=closes_us)
    assert await told(hall.teller, wish(await make_wallet(hall.engine), name)) == code


async def test_what_is_not_on_sale_is_unknown(hall: Hall) -> None:
    wallet_id = await make_wallet(hall.engine)
    await make_programme(hall.teller, voucher_draft("unsold"))
    assert await told(hall.teller, wish(wallet_id, "unsold")) == "sale_unknown"
    assert await told(hall.teller, wish(wallet_id, "nothing")) == "sale_unknown"


async def test_a_frozen_and_a_missing_wallet_reserve_nothing(hall: Hall) -> None:
    wallet_id = await make_wallet(hall.engine)
    await hall.run("UPDATE wallet SET state = 'frozen' WHERE id = :id", id=wallet_id)
    assert await told(hall.teller, wish(wallet_id)) == "wallet_frozen"
    assert await told(hall.teller, wish(UUID(int=77))) == "wallet_unknown"


async def test_a_sale_is_listed_with_what_is_left(hall: Hall) -> None:
    await hall.sell("listed", units_total=50)
    await reserve(hall.teller, wish(await make_wallet(hall.engine), "listed", units=4))

    async def work(connection: AsyncConnection) -> dict[str, int]:
        return {
            one.programme: one.units_left for one in await list_sales(connection, now_us=NOW_US)
        }

    assert (await write(hall.engine, work))["listed"] == 46


@pytest.mark.parametrize(
    ("programme", "units_total", "code"),
    [
        ("nothing", 1, "programme_unknown"),
        ("free", 1, "sale_without_frame"),
        ("shrunk", 101, "sale_beyond_frame"),
        ("shrunk", 4, "sale_below_sold"),
    ],
)
async def test_a_sale_that_cannot_be_is_refused(
    hall: Hall, programme: str, units_total: int, code: str
) -> None:
    await make_programme(hall.teller, free_draft("free"))
    await hall.sell("shrunk")
    await reserve(hall.teller, wish(await make_wallet(hall.engine), "shrunk", units=5))

    async def work(connection: AsyncConnection) -> None:
        await open_sale(connection, programme=programme, sale=sale(units_total=units_total))

    with pytest.raises(RefusedError) as refused:
        await write(hall.engine, work)
    assert refused.value.refusal.code == code
