"""Applying and buying: what residents do until the vouchers are in their wallets."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.database import read, write
from wallet.core.ids import align_id, new_id, public_id
from wallet.core.refusals import RefusedError
from wallet.demo.campaign.calendar import Calendar
from wallet.demo.campaign.people import Applicant
from wallet.demo.campaign.stage import Stage
from wallet.receipts.note_receipt import NOTE, NoteReceipt, ReceiptNoted
from wallet.receipts.request_payment import PaymentSlip
from wallet.receipts.rules import Method
from wallet.vouchers.apply import Wish, apply
from wallet.vouchers.lapse_purchases import lapse_due
from wallet.vouchers.purchase import pay_purchase
from wallet.vouchers.purchase_rules import ReserveRequest
from wallet.vouchers.reserve import RESERVE, Refused, Reserved
from wallet.vouchers.settle_purchases import settle_purchases

AT_ONCE: Final = 8
"""Transactions that run side by side: as many as there are connections."""

PER_TRANSACTION: Final = 25
PER_REQUEST: Final = 500

UNPAID_EVERY: Final = 25
"""Of so many winners one forgets to pay, and the units go back."""

_METHODS: Final = (Method.CONVENIENCE, Method.CARD, Method.BANK)

_OFFERS: Final = text("""
SELECT w.application_id, w.frame, w.units, a.wallet_id, a.person_id
FROM win AS w JOIN application AS a ON a.id = w.application_id
WHERE w.campaign_id = :campaign_id AND w.state = 'offered' ORDER BY w.application_id
""")

T = TypeVar("T")


@dataclass(frozen=True)
class Ordered:
    """A purchase whose buyer has the slip to pay it by, and by when it is to be paid."""

    purchase_id: UUID
    slip: PaymentSlip


async def apply_all(stage: Stage, campaign_id: UUID, applicants: Sequence[Applicant]) -> None:
    """Send everybody's application in, some on paper; who may not apply hears so at once."""
    outcomes: Counter[str] = Counter()

    async def send(group: Sequence[Applicant]) -> None:
        try:
            work = partial(_apply, stage=stage, campaign_id=campaign_id, group=group)
            await write(stage.engine, work)
            outcomes["accepted"] += len(group)
        except RefusedError as error:
            if len(group) == 1:
                outcomes[error.refusal.code] += 1
                return
            for one in group:
                await send([one])

    await _side_by_side(stage, "申込", _grouped(applicants, PER_TRANSACTION), send)
    papers = sum(one.channel == "paper" for one in applicants)
    stage.note("申込の受付", applications=outcomes.total(), on_paper=papers, **outcomes)


async def _apply(
    connection: AsyncConnection, *, stage: Stage, campaign_id: UUID, group: Sequence[Applicant]
) -> None:
    for one in group:
        wish = Wish(
            campaign_id=campaign_id,
            frame=one.frame,
            units=one.units,
            channel="paper" if one.channel == "paper" else "app",
            wallet_id=one.wallet_id,
            person_id=one.person_id,
        )
        made_by = public_id("per", one.person_id)
        await apply(
            connection, wish=wish, made_by=made_by, pepper=stage.pepper, now_us=stage.clock()
        )


async def buy_all(stage: Stage, campaign_id: UUID) -> None:
    """Have every winner reserve and nearly all of them pay; what is not paid goes back."""
    async with read(stage.engine) as connection:
        offers = (await connection.execute(_OFFERS, {"campaign_id": campaign_id})).all()
    requests = [
        ReserveRequest(
            purchase_id=align_id(new_id(now_us=stage.clock())),
            person_id=row.person_id,
            wallet_id=row.wallet_id,
            programme=row.frame,
            units=row.units,
            idempotency_key=f"campaign-{row.application_id.hex}",
            application_id=row.application_id,
        )
        for row in offers
    ]
    reserved = await _reserve(stage, requests)
    stage.note("購入の予約", purchases=len(reserved), refused=len(requests) - len(reserved))
    payers = [one for number, one in enumerate(reserved, 1) if number % UNPAID_EVERY]
    ordered = await _order(stage, payers)
    await _pay(stage, ordered)
    settled = 0
    while done := await settle_purchases(
        stage.engine, database_url=stage.database_url, clock=stage.clock
    ):
        settled += done
    stage.note("入金と発行", paid=len(ordered), issued=settled)


async def _reserve(stage: Stage, requests: Sequence[ReserveRequest]) -> list[ReserveRequest]:
    """Reserve for everybody, and return the requests that were met."""
    met: list[ReserveRequest] = []
    for group in stage.each("購入の予約", _grouped(requests, PER_REQUEST)):
        answers: list[Reserved | Refused] = await asyncio.gather(
            *[stage.teller.submit(RESERVE, request) for request in group]
        )
        pairs = zip(group, answers, strict=True)
        met += [request for request, answer in pairs if isinstance(answer, Reserved)]
    return met


async def _order(stage: Stage, requests: Sequence[ReserveRequest]) -> list[Ordered]:
    """Give every buyer a slip, by one of the three ways there are."""
    ordered: list[Ordered] = []

    async def ask(group: Sequence[ReserveRequest]) -> None:
        async def work(connection: AsyncConnection) -> list[Ordered]:
            made = []
            for number, request in enumerate(group):
                slip = await pay_purchase(
                    connection,
                    purchase_id=request.purchase_id,
                    person_id=request.person_id,
                    method=_METHODS[number % len(_METHODS)],
                    now_us=stage.clock(),
                )
                made.append(Ordered(request.purchase_id, slip))
            return made

        ordered.extend(await write(stage.engine, work))

    await _side_by_side(stage, "支払い番号", _grouped(requests, PER_TRANSACTION), ask)
    return ordered


async def _pay(stage: Stage, ordered: Sequence[Ordered]) -> None:
    """Have the providers report every payment; one in ten of them twice, as they do in life."""
    for group in stage.each("入金", _grouped(ordered, PER_REQUEST)):
        reports = [_report(stage, one) for one in group]
        answers: list[ReceiptNoted] = await asyncio.gather(
            *[stage.teller.submit(NOTE, report) for report in [*reports, *reports[::10]]]
        )
        unmatched = [one for one in answers if one.suspended_yen]
        if unmatched:
            message = f"{len(unmatched)} payments in full have matched nothing"
            raise RuntimeError(message)


def _report(stage: Stage, one: Ordered) -> NoteReceipt:
    return NoteReceipt(
        receipt_id=align_id(new_id(now_us=stage.clock())),
        provider=one.slip.method,
        provider_event=f"event-{one.purchase_id.hex}",
        reference=one.slip.reference,
        amount_yen=one.slip.amount_yen,
        received_us=stage.clock(),
        authenticated=True,
    )


async def lapse_unpaid(stage: Stage, calendar: Calendar) -> None:
    """Let the deadline pass: what nobody has paid for is free again."""
    stage.go_to(calendar.lapsed_on)
    lapsed = 0
    while done := await lapse_due(stage.engine, now_us=stage.clock()):
        lapsed += done
    stage.note("期限までに払われなかった予約を戻す", lapsed=lapsed)


def _grouped(things: Sequence[T], size: int) -> list[Sequence[T]]:
    return [things[start : start + size] for start in range(0, len(things), size)]


async def _side_by_side(
    stage: Stage,
    title: str,
    groups: Sequence[Sequence[T]],
    work: Callable[[Sequence[T]], Awaitable[None]],
) -> None:
    """Do the work for every group, :data:`AT_ONCE` at a time."""
    waiting = stage.each(title, groups)

    async def go_on() -> None:
        for group in waiting:
            await work(group)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(go_on())
