"""Local coin that may be given away, people who hold it, and what they ask of the teller."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.city import City
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.payments import change
from tests.factories.programmes import frame, make_programme, spending
from tests.factories.residents import Resident, make_resident, person_of, within
from tests.factories.vouchers import give as issue
from wallet.core.clock import japanese_day
from wallet.core.ids import align_id, new_id
from wallet.ledger.teller import Teller
from wallet.people.persons import raise_tier
from wallet.people.rules import Tier
from wallet.points.attend import ATTEND, Attend, Attended
from wallet.points.claim import SETTLE_GIFT, Cancel, Claim
from wallet.points.codes import gift_code_hash, gift_code_of, new_event_code, read_event_code
from wallet.points.exchange import EXCHANGE, Exchange, Exchanged
from wallet.points.give import GIVE, Answer, Gave, Give, Refused
from wallet.points.rules import Rung
from wallet.points.walk import WALK, Walk, Walked
from wallet.programmes.bonus import Bonus
from wallet.programmes.terms import Caps, Eligibility, Expiry, Gifts, ProgrammeDraft
from wallet.programmes.terms import Exchange as Rate

TODAY = japanese_day(NOW_US)

_PURSES = text("""
SELECT p.funding, p.expires_on, b.credits_posted - b.debits_posted AS yen,
       b.debits_pending AS held_yen
FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id
JOIN programme AS g ON g.id = p.programme_id
WHERE p.wallet_id = :wallet_id AND g.code = :programme ORDER BY p.expires_on
""")

_EVENT = text("""
INSERT INTO civic_event (id, programme_id, name, amount_yen, first_day, last_day, grants_max,
                         state, created_at)
SELECT :id, g.id, '清掃活動', :amount_yen, :first_day, :last_day, :grants_max, :state, now()
FROM programme AS g WHERE g.code = :programme
""")

_RULE = text("""
INSERT INTO step_rule (programme_id, ladder, month_max_yen, first_day, last_day, updated_at)
SELECT g.id, CAST(:ladder AS jsonb), :month_max_yen, :first_day, :last_day, now()
FROM programme AS g WHERE g.code = :programme
""")


def coin_draft(
    code: str,
    *,
    gifts: Gifts | None = None,
    caps: Caps | None = None,
    eligibility: Eligibility | None = None,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> ProgrammeDraft:
    """Return a draft of coin that is sold at its face value, in sets of 1,000 yen."""
    most_yen = 1_000_000 if caps is None or caps.balance_yen is None else caps.balance_yen
    sets = {"sets_total": 100_000, "sets_per_person": most_yen // 1_000}
    return ProgrammeDraft(
        code=code,
        name="地域コイン",
        spending=spending(**changes),
        frame=frame(price_yen=1_000, face_yen=1_000, **sets),
        gifts=gifts or Gifts(allowed=True),
        caps=caps or Caps(),
        eligibility=eligibility or Eligibility(),
    )


def points_draft(
    code: str,
    *,
    budget_yen: int = 1_000_000,
    exchanges: Sequence[Rate] = (),
    expiry: Expiry | None = None,
    caps: Caps | None = None,
    bonuses: Sequence[Bonus] = (),
    eligibility: Eligibility | None = None,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> ProgrammeDraft:
    """Return a draft of points that are earned out of a budget."""
    return ProgrammeDraft(
        code=code,
        name="市民ポイント",
        spending=spending(**changes),
        budget_yen=budget_yen,
        exchanges=tuple(exchanges),
        expiry=expiry or Expiry(),
        caps=caps or Caps(),
        bonuses=tuple(bonuses),
        eligibility=eligibility or Eligibility(),
    )


async def make_person(engine: AsyncEngine, *, tier: Tier = Tier.COUNTER) -> Resident:
    """Enrol somebody and let them rise to a tier."""
    resident = await make_resident(engine)
    person = await person_of(engine, resident.id)
    await within(engine, partial(raise_tier, person=person, tier=tier, resident=True))
    return resident


async def make_coin(
    teller: Teller,
    code: str | None = None,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> str:
    """Create such a programme and return its code."""
    code = code or f"coin-{uuid4()}"
    await make_programme(teller, coin_draft(code, **changes))
    return code


async def make_points(
    teller: Teller,
    code: str | None = None,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> str:
    """Create such a programme and return its code."""
    code = code or f"points-{uuid4()}"
    await make_programme(teller, points_draft(code, **changes))
    return code


async def sell(teller: Teller, resident: Resident, coin: str, *, yen: int) -> None:
    """Let somebody hold so much coin that they have paid for, in thousands."""
    await issue(teller, resident.wallet_id, coin, sets=yen // 1_000)


def gift_of(
    giver: Resident,
    to: Resident | None,
    coin: str,
    *,
    yen: int = 500,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Give:
    """Return a request to give."""
    fields: dict[str, Any] = {
        "gift_id": align_id(new_id(now_us=NOW_US)),
        "giver_id": giver.id,
        "idempotency_key": str(uuid4()),
        "programme": coin,
        "amount_yen": yen,
        "receiver_id": None if to is None else to.id,
    }
    if to is None:
        fields["code_hash"] = hash_of(new_gift_code())
    return Give(**{**fields, **changes})


def new_gift_code() -> str:
    """Return a code that is no other gift's."""
    return gift_code_of(uuid4(), idempotency_key="", pepper=PEPPER)


def hash_of(code: str) -> bytes:
    """Return what is kept of a gift's code."""
    return gift_code_hash(code, pepper=PEPPER)


async def answer_to(teller: Teller, request: Give) -> Answer:
    """Submit a gift and return the answer."""
    answer: Answer = await teller.submit(GIVE, request)
    return answer


async def refusal_to(teller: Teller, request: Give) -> str:
    """Return the code with which a gift was refused."""
    answer = await answer_to(teller, request)
    assert isinstance(answer, Refused), answer
    return answer.refusal.code


async def settle(teller: Teller, request: Claim | Cancel) -> Gave | Refused:
    """Claim a gift or take it back."""
    answer: Gave | Refused = await teller.submit(SETTLE_GIFT, request)
    return answer


async def purses_in(
    engine: AsyncEngine, wallet_id: UUID, programme: str
) -> list[tuple[str, date, int, int]]:
    """Return funding, last day, yen and held yen of a wallet's purses of a programme."""

    async def work(connection: AsyncConnection) -> list[tuple[str, date, int, int]]:
        rows = await connection.execute(_PURSES, {"wallet_id": wallet_id, "programme": programme})
        return [(row.funding, row.expires_on, row.yen, row.held_yen) for row in rows]

    return await within(engine, work)


async def yen_in(engine: AsyncEngine, resident: Resident, programme: str) -> int:
    """Return what somebody holds of a programme."""
    return sum(one[2] for one in await purses_in(engine, resident.wallet_id, programme))


async def make_event(
    engine: AsyncEngine,
    programme: str,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> UUID:
    """Write a civic event that is open today, for 100 yen."""
    event_id = new_id(now_us=NOW_US)
    fields = {
        "id": event_id,
        "programme": programme,
        "amount_yen": 100,
        "first_day": TODAY,
        "last_day": TODAY,
        "grants_max": None,
        "state": "open",
    }
    await within(engine, lambda c: c.execute(_EVENT, {**fields, **changes}))
    return event_id


async def attend(
    teller: Teller, resident: Resident, code: str | UUID, *, day: date = TODAY
) -> Attended | Refused:
    """Show a code at an event, or a fresh one of the event with this id."""
    if isinstance(code, UUID):
        code = new_event_code(code, day=day, pepper=PEPPER)
    said = read_event_code(code, pepper=PEPPER)
    assert said is not None, code
    request = Attend(align_id(new_id(now_us=NOW_US)), resident.id, said)
    answer: Attended | Refused = await teller.submit(ATTEND, request)
    return answer


async def make_rule(
    engine: AsyncEngine,
    programme: str,
    ladder: Sequence[Rung] = (Rung(4_000, 2), Rung(7_000, 5)),
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> None:
    """Let steps earn points this year, 50 yen a month at most."""
    fields = {
        "programme": programme,
        "ladder": "[" + ",".join(f'{{"steps":{r.steps},"yen":{r.yen}}}' for r in ladder) + "]",
        "month_max_yen": 50,
        "first_day": date(2026, 1, 1),
        "last_day": date(2026, 12, 31),
    }
    await within(engine, lambda c: c.execute(_RULE, {**fields, **changes}))


async def walk(
    teller: Teller,
    resident: Resident,
    programme: str,
    steps: int,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Walked | Refused:
    """Tell how many steps somebody has taken."""
    fields: dict[str, Any] = {
        "walk_id": align_id(new_id(now_us=NOW_US)),
        "person_id": resident.id,
        "device_id": resident.phone.device_id,
        "programme": programme,
        "day": TODAY,
        "steps": steps,
    }
    answer: Walked | Refused = await teller.submit(WALK, Walk(**{**fields, **changes}))
    return answer


async def exchange(
    teller: Teller,
    resident: Resident,
    programme: str,
    to: str,
    *,
    yen: int,
    key: str | None = None,
) -> Exchanged | Refused:
    """Change one money into another."""
    request = Exchange(
        exchange_id=align_id(new_id(now_us=NOW_US)),
        person_id=resident.id,
        idempotency_key=key or str(uuid4()),
        programme=programme,
        to=to,
        offered_yen=yen,
    )
    answer: Exchanged | Refused = await teller.submit(EXCHANGE, request)
    return answer


async def put_off(city: City, programme: str) -> None:
    """Have a programme be one that is approved and begins on a later day."""
    await change(
        city,
        "UPDATE programme SET state = 'scheduled', live_on = '2027-01-01', version = version + 1"
        " WHERE code = :programme",
        programme=programme,
    )
