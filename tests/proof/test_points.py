"""The proof of gifts, charges, exchanges, events and takings: planted errors are found by name."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US
from tests.factories.payments import by_code, pay
from tests.factories.planting import failed, planted
from tests.factories.points import (
    answer_to,
    attend,
    exchange,
    gift_of,
    make_coin,
    make_event,
    make_person,
    make_points,
    sell,
)
from tests.factories.residents import within
from tests.factories.vouchers import give as issue
from tests.servers import Database
from wallet.auth.rules import Acr, Requirement
from wallet.ledger.findings import Finding
from wallet.points import give
from wallet.points.attend import Attended
from wallet.points.exchange import Exchanged
from wallet.points.give import Gave
from wallet.points.shops import move_takings, order_takings
from wallet.programmes.terms import Exchange as Rate
from wallet.proof.prove import prove_snapshot

NOBODY = UUID(int=0xFF)


@dataclass(frozen=True)
class Doings:
    """A gift of 500 yen and one that waits, 100 yen of points, 300 for 150, 200 paid out."""

    gift: UUID
    waiting: UUID
    attendance: UUID
    exchange: UUID
    order: UUID
    giver: UUID

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name, as parameters of SQL."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doings(module_database: Database) -> Doings:
    """Let people give, earn and exchange, and a shop be paid out."""
    async with make_city(module_database.application_url) as city:
        return await _do(city)


async def _do(city: City) -> Doings:
    coin, to = await make_coin(city.teller), await make_points(city.teller)
    points = await make_points(city.teller, exchanges=[Rate(to=to, times=1, per=2)])
    giver, receiver = [await make_person(city.engine) for _ in range(2)]
    await sell(city.teller, giver, coin, yen=1_000)
    await issue(city.teller, giver.wallet_id, points, amount_yen=300)
    with pytest.MonkeyPatch.context() as patch:
        plain = Requirement(require=(Acr.DEV,), max_age_s=300)
        patch.setattr(give, "requirement", lambda **_: plain)
        given, waits = [
            await answer_to(city.teller, gift_of(giver, one, coin, yen=500))
            for one in (receiver, None)
        ]
    assert isinstance(given, Gave)
    assert isinstance(waits, Gave)
    attended = await attend(city.teller, receiver, await make_event(city.engine, to))
    assert isinstance(attended, Attended)
    exchanged = await exchange(city.teller, giver, points, to, yen=300)
    assert isinstance(exchanged, Exchanged)
    await pay(city, by_code(city, city.code))
    return Doings(
        gift=given.gift.id,
        waiting=waits.gift.id,
        attendance=attended.attendance.id,
        exchange=exchanged.row.id,
        order=await _pay_out(city),
        giver=giver.wallet_id,
    )


async def _pay_out(city: City) -> UUID:
    async def work(connection: AsyncConnection) -> UUID:
        return await order_takings(
            connection,
            shop_id=city.merchant.shop_id,
            to_shop_id=None,
            amount_yen=200,
            ordered_by=uuid4(),
            now_us=NOW_US,
        )

    order_id = await within(city.engine, work)
    assert await move_takings(city.teller, [order_id]) == 1
    return order_id


async def found_with(
    database: Database, doings: Doings, *statements: str
) -> dict[str, list[Finding]]:
    """Return what a proof finds when the statements were committed."""
    values: dict[str, Any] = doings.values | {"nobody": NOBODY}
    async with planted(database.owner_url, *statements, **values) as connection:
        return failed((await prove_snapshot(connection, now_us=NOW_US)).checks)


async def test_what_was_done_is_green(module_database: Database, doings: Doings) -> None:
    assert await found_with(module_database, doings) == {}


TO_NOBODY = (
    "UPDATE gift SET state = 'given', receiver_id = :nobody, receiver_wallet_id = :nobody"
    " WHERE id = :waiting"
)
MADE_UP = (
    "INSERT INTO charge (id, person_id, wallet_id, programme_id, amount_yen, method,"
    " idempotency_key, order_id, state, created_at, expires_at, charged_at)"
    " VALUES (:nobody, :nobody, :giver, :nobody, 1, 'bank', 'k', :nobody, 'charged', now(),"
    " now(), now())"
)

FAULTS = [
    ("UPDATE gift SET amount_yen = 499 WHERE id = :gift", "gifts", "yen given"),
    ("DELETE FROM gift WHERE id = :gift", "gifts", "yen given"),
    ("UPDATE gift SET giver_wallet_id = :nobody WHERE id = :gift", "gifts", "giver's wallet"),
    ("UPDATE gift SET receiver_wallet_id = :nobody WHERE id = :gift", "gifts", "receiver's wallet"),
    (TO_NOBODY, "gifts", "yen given"),
    ("UPDATE attendance SET amount_yen = 101 WHERE id = :attendance", "points", "yen moved"),
    ("UPDATE exchange SET received_yen = 151 WHERE id = :exchange", "points", "yen moved"),
    ("UPDATE exchange SET given_yen = 299 WHERE id = :exchange", "points", "yen taken"),
    ("DELETE FROM exchange WHERE id = :exchange", "points", "yen taken"),
    ("UPDATE takings_order SET amount_yen = 199 WHERE id = :order", "points", "yen moved"),
    ("DELETE FROM takings_order WHERE id = :order", "points", "order on takings"),
    (MADE_UP, "points", "yen moved"),
]


@pytest.mark.parametrize(("statement", "check", "what"), FAULTS)
async def test_what_does_not_agree_with_the_ledger_is_found(
    module_database: Database, doings: Doings, statement: str, check: str, what: str
) -> None:
    found = await found_with(module_database, doings, statement)
    named = {finding.what for finding in found[f"{check}_moved_their_amount"]}
    assert what in named, found
