"""What must be true after any crash: of what was told, of the tables, and of both together."""

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from tests.reliability.backends import connected
from tests.reliability.load import Entry
from tests.reliability.scene import engine_for
from wallet.core.clock import system_clock
from wallet.proof import prove
from wallet.replay.prove import find_problems
from wallet.replay.send import Outcome

EXPECTED: Final = frozenset({"code_used"})
"""Declines that the customers bring upon themselves."""

_FIND_RECORDED: Final = """
SELECT merchant_payment_id, array_agg(id) FROM payment
WHERE merchant_id = ANY($1::uuid[]) AND merchant_payment_id = ANY($2::text[]) GROUP BY 1
"""


async def look_up(
    database_url: str, merchant_ids: Sequence[UUID], entries: Sequence[Entry]
) -> None:
    """Note for each entry what the tables say of it; nobody may be working on any of them."""
    names = [entry.ticket.name for entry in entries]
    async with connected(database_url) as connection:
        rows = await connection.fetch(_FIND_RECORDED, list(merchant_ids), names)
    recorded: dict[str, list[UUID]] = {row[0]: row[1] for row in rows}
    doubled = [name for name, ids in recorded.items() if len(ids) > 1]
    assert not doubled, f"recorded twice before anybody asked again: {doubled}"
    for entry in entries:
        entry.look_up(next(iter(recorded.get(entry.ticket.name, ())), None))


async def judge(
    database_url: str, merchant_ids: Sequence[UUID], history: Sequence[Entry]
) -> list[str]:
    """Return what is wrong, in sentences: lost, doubled or made-up payments, and broken books."""
    problems = [problem for entry in history for problem in contradictions(entry)]
    outcomes = [outcome_of(entry) for entry in history]
    async with engine_for(database_url) as engine:
        problems += await find_problems(engine, merchant_ids=merchant_ids, outcomes=outcomes)
        proof = await prove(engine, now_us=system_clock())
    return problems + [f.sentence for check in proof.checks for f in check.findings]


def contradictions(entry: Entry) -> Iterator[str]:
    """Yield what the answers to one key say against each other."""
    name, answers = entry.ticket.name, entry.answers
    if not answers and not entry.given_up:
        yield f"{name} was never answered"
    for answer in answers:
        if answer.status != 201 and answer.told["code"] not in EXPECTED:
            yield f"{name} was answered {answer.status} {answer.told['code']}"
    if any(answer.told != answers[0].told for answer in answers):
        yield f"{name} was told of {[answer.payment_id for answer in answers]}, or not in one way"
    if any(not answer.replayed for answer in answers[1:]):
        yield f"{name} was paid anew when it was asked for again"


def outcome_of(entry: Entry) -> Outcome:
    """Return the entry as the replay's proof takes it."""
    ticket = entry.ticket
    outcome = Outcome(ticket.name, ticket.amount_yen, latency_ms=0, retries=entry.doubts)
    if not entry.answers:
        return outcome
    answer = entry.answers[0]
    paid = answer.status == 201
    return msgspec.structs.replace(
        outcome,
        paid=paid,
        payment_id=answer.payment_id,
        refusal=None if paid else answer.told["code"],
    )
