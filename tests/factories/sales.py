"""Sales that are open, and buyers who reserve, pay and wait for the worker."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW, NOW_US
from tests.factories.receipts import note, report
from tests.factories.residents import Resident
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.ids import align_id, new_id
from wallet.ledger.teller import Teller
from wallet.receipts.request_payment import PaymentSlip
from wallet.receipts.rules import Method
from wallet.vouchers.purchase import pay_purchase
from wallet.vouchers.purchase_rules import ReserveRequest
from wallet.vouchers.purchase_stock import Sale, open_sale
from wallet.vouchers.purchase_storage import Purchase
from wallet.vouchers.reserve import RESERVE, Refused, Reserved

DAY_US: Final = 86_400 * MICROSECONDS

_STOCK: Final = text("""
SELECT s.units_total, s.units_reserved, s.units_sold
FROM stock AS s JOIN programme AS g ON g.id = s.programme_id WHERE g.code = :code
""")


_PLANT_PROGRAMME: Final = text("""
INSERT INTO programme (id, number, code, version, terms, clearing_account_id, budget_account_id,
                       created_at)
VALUES (:programme_id, :number, :code, 1, '{}', :id, :id, :now)
""")
_PLANT_PURCHASE: Final = text("""
INSERT INTO purchase (id, programme_id, wallet_id, person_id, idempotency_key, units, price_yen,
                      face_yen, state, created_at, deadline)
VALUES (:id, :programme_id, :wallet_id, :person_id, 'planted', 1, 1, 1, 'reserved', :now,
        :deadline)
""")


def sale(**changes: Any) -> Sale:  # noqa: ANN401 - fields of many types
    """Return a first-come sale of 100 units that has begun yesterday and lasts a month."""
    fields: dict[str, Any] = {
        "mode": "first_come",
        "units_total": 100,
        "opens_us": NOW_US - DAY_US,
        "closes_us": NOW_US + 30 * DAY_US,
    }
    return Sale(**{**fields, **changes})


async def put_on_sale(
    engine: AsyncEngine,
    programme: str = "voucher",
    **changes: Any,  # noqa: ANN401 - as above
) -> UUID:
    """Open the sale of a programme that exists, and return the programme's id."""

    async def work(connection: AsyncConnection) -> UUID:
        return await open_sale(connection, programme=programme, sale=sale(**changes))

    return await write(engine, work)


async def stock_of(engine: AsyncEngine, programme: str = "voucher") -> tuple[int, int, int]:
    """Return how many units there are in all, reserved, and sold."""
    async with read(engine) as connection:
        total, reserved, sold = (await connection.execute(_STOCK, {"code": programme})).one()
    return total, reserved, sold


def wish(
    wallet_id: UUID,
    programme: str = "voucher",
    *,
    units: int = 1,
    **changes: Any,  # noqa: ANN401 - as above
) -> ReserveRequest:
    """Return a request for units under a key of its own, by whoever holds the wallet."""
    fields: dict[str, Any] = {
        "purchase_id": align_id(new_id(now_us=NOW_US)),
        "person_id": UUID(int=wallet_id.int ^ 1),
        "wallet_id": wallet_id,
        "programme": programme,
        "units": units,
        "idempotency_key": f"key-{uuid4()}",
    }
    return ReserveRequest(**{**fields, **changes})


async def reserve(teller: Teller, request: ReserveRequest) -> Purchase:
    """Reserve units, or fail the test."""
    answer: Reserved | Refused = await teller.submit(RESERVE, request)
    assert isinstance(answer, Reserved), answer
    return answer.purchase


async def told(teller: Teller, request: ReserveRequest) -> str:
    """Return the code with which a reservation is refused, or fail the test."""
    answer: Reserved | Refused = await teller.submit(RESERVE, request)
    assert isinstance(answer, Refused), answer
    return answer.refusal.code


async def plant_purchase(engine: AsyncEngine, buyer: Resident) -> UUID:
    """Write that somebody has reserved a unit of a made-up programme, and return its id."""
    purchase_id = uuid4()
    values = {
        "id": purchase_id,
        "programme_id": uuid4(),
        "code": f"planted-{purchase_id.hex}",
        "number": purchase_id.int % 2**30 + 1,
        "wallet_id": buyer.wallet_id,
        "person_id": buyer.id,
        "now": NOW,
        "deadline": NOW + timedelta(days=7),
    }

    async def work(connection: AsyncConnection) -> None:
        for statement in (_PLANT_PROGRAMME, _PLANT_PURCHASE):
            await connection.execute(statement, values)

    await write(engine, work)
    return purchase_id


async def slip_for(
    engine: AsyncEngine,
    purchase: Purchase,
    *,
    method: Method = Method.CONVENIENCE,
    now_us: int = NOW_US,
) -> PaymentSlip:
    """Ask for the slip of a purchase."""

    async def work(connection: AsyncConnection) -> PaymentSlip:
        return await pay_purchase(
            connection,
            purchase_id=purchase.id,
            person_id=purchase.person_id,
            method=method,
            now_us=now_us,
        )

    return await write(engine, work)


async def pay_for(engine: AsyncEngine, teller: Teller, purchase: Purchase) -> PaymentSlip:
    """Pay for a purchase at a convenience store, or fail the test."""
    slip = await slip_for(engine, purchase)
    assert (await note(teller, report(slip))).matched_yen == purchase.price_yen
    return slip


async def state_of(engine: AsyncEngine, purchase: Purchase) -> str:
    """Return a purchase's state as it is stored."""
    statement = text("SELECT state FROM purchase WHERE id = :id")
    async with read(engine) as connection:
        return str((await connection.execute(statement, {"id": purchase.id})).scalar_one())
