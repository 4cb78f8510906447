"""Using up: payments in the shops, reminders, and the end of what is left."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text

from wallet.core.database import read
from wallet.core.ids import align_id, keyed_hash, new_id
from wallet.demo.campaign.stage import Stage
from wallet.payments.issue_codes import issue_codes
from wallet.payments.pay import Pay
from wallet.payments.results import Answer, Paid
from wallet.payments.rules import PayRequest
from wallet.programmes.expire import expire_due
from wallet.programmes.remind import STEPS_DAYS, remind_due
from wallet.programmes.run_due import run_due as run_programmes

PAYMENTS_PER_REQUEST: Final = 500
PAYMENT_YEN: Final = range(300, 5_001)

_HOLDERS: Final = text("""
SELECT DISTINCT p.wallet_id FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id
WHERE b.credits_posted > b.debits_posted ORDER BY p.wallet_id
""")

_TERMINALS: Final = text("""
SELECT t.id, s.merchant_id FROM terminal AS t JOIN shop AS s ON s.id = t.shop_id ORDER BY t.id
""")


async def spend(stage: Stage, *, days: Sequence[date], rng: random.Random) -> None:
    """Have everybody who still holds something pay once on each of the days."""
    async with read(stage.engine) as connection:
        terminals = [(row.id, row.merchant_id) for row in await connection.execute(_TERMINALS)]
    pay, outcomes = Pay(), Counter[str]()
    for number, day in enumerate(days, 1):
        stage.go_to(day, time(12))
        async with read(stage.engine) as connection:
            holders = list((await connection.execute(_HOLDERS)).scalars())
        groups = [
            holders[start : start + PAYMENTS_PER_REQUEST]
            for start in range(0, len(holders), PAYMENTS_PER_REQUEST)
        ]
        for group in stage.each(f"支払い {number}/{len(days)}日目", groups):
            outcomes.update(await _pay(stage, pay, group, terminals, rng))
    stage.note("お店での支払い", days=len(days), **outcomes)


async def _pay(
    stage: Stage,
    pay: Pay,
    wallet_ids: Sequence[UUID],
    terminals: Sequence[tuple[UUID, UUID]],
    rng: random.Random,
) -> Counter[str]:
    now_us = stage.clock()
    codes = await issue_codes(
        stage.engine, wallet_ids=wallet_ids, pepper=stage.pepper, now_us=now_us
    )
    requests = []
    for code in codes:
        terminal_id, merchant_id = rng.choice(terminals)
        payment_id = align_id(new_id(now_us=now_us))
        requests.append(
            PayRequest(
                payment_id=payment_id,
                merchant_id=merchant_id,
                idempotency_key=payment_id.hex,
                merchant_payment_id=f"C-{payment_id.hex}",
                terminal_id=terminal_id,
                amount_yen=rng.choice(PAYMENT_YEN),
                instrument="cpm_code",
                instrument_hash=keyed_hash(code, pepper=stage.pepper),
                description=None,
            )
        )
    answers: list[Answer] = await asyncio.gather(
        *[stage.teller.submit(pay, request) for request in requests]
    )
    return Counter(_outcome(answer) for answer in answers)


def _outcome(answer: Answer) -> str:
    if not isinstance(answer, Paid):
        return "refused"
    refusal = answer.payment.refusal
    return answer.payment.state if refusal is None else refusal.code


async def remind(stage: Stage, *, last_day: date) -> None:
    """Tell those who still hold something, at every step before the last day."""
    for left_days in STEPS_DAYS:
        stage.go_to(last_day - timedelta(days=left_days), time(10))
        told = await remind_due(stage.engine, database_url=stage.database_url, clock=stage.clock)
        stage.note(f"残っている人への知らせ({left_days}日前)", reminded=told)


async def expire(stage: Stage, *, last_day: date) -> None:
    """Let the last day end, and book what is left back to the budgets."""
    stage.go_to(last_day + timedelta(days=1), time(1))
    ended = 0
    while done := await expire_due(
        stage.engine, database_url=stage.database_url, clock=stage.clock, rest_ratio=0
    ):
        ended += done
    await run_programmes(stage.engine, stage.database_url, stage.clock)
    stage.note("使用期間の終わり: 残りを予算へ戻す", purses=ended)
