"""Record: write what a batch of payments has decided; one statement for each kind of it."""

from wallet.auth.recognise import BURN
from wallet.auth.step_up_storage import SETTLE, insert_step_ups
from wallet.core.database import Connection
from wallet.payments import storage, waiting
from wallet.payments.facts import PayFacts

# What the phones of a batch have used up and brought about: their proofs, the challenges that they
# have answered or paid with, and the payments that waited for it.
_SETTLE = f"""
WITH {BURN.format(hashes="$1", ends="$2", now="$3")}, decided AS (
    UPDATE pending_payment SET decided_at = $3 WHERE id = ANY($4::uuid[])
)
{
    SETTLE.format(
        now="$3",
        ids="$5",
        op_hashes="$6",
        failures="$7",
        passed_at="$8",
        acrs="$9",
        classes="$10",
        consumed_by="$11",
    )
}
"""  # noqa: S608 - parts of ours


async def record(connection: Connection, facts: PayFacts) -> None:
    """Write the payments, what they used up, who is asked to approve one, and their events."""
    if facts.further_keys:
        await storage.insert_keys(connection, facts.further_keys, now=facts.now)
    if facts.new_payments:
        await storage.record(
            connection,
            facts.new_payments,
            facts.new_keys,
            facts.newly_spent,
            now=facts.now,
            day=facts.day,
            extras=facts.extras,
        )
    if facts.extras is not None:
        await facts.extras.record(connection)
    if facts.newly_waiting:
        await waiting.insert(connection, facts.newly_waiting, now_us=facts.now_us)
    if facts.new_challenges:
        await insert_step_ups(connection, facts.new_challenges)
    if facts.desk.phones.newly_used or facts.decided_ids or facts.answered:
        await _settle(connection, facts)


async def _settle(connection: Connection, facts: PayFacts) -> None:
    proofs = facts.desk.phones.newly_used
    answered = [(facts.step_ups[one], classes) for one, classes in facts.answered.items()]
    written = await connection.fetch(
        _SETTLE,
        [proof.jti_hash for proof in proofs],
        [proof.expires_at for proof in proofs],
        facts.now,
        facts.decided_ids,
        [step_up.id for step_up, _ in answered],
        [step_up.op_hash for step_up, _ in answered],
        [step_up.failures for step_up, _ in answered],
        [step_up.passed_at for step_up, _ in answered],
        [step_up.passed_acr for step_up, _ in answered],
        [" ".join(classes) or None for _, classes in answered],
        [step_up.consumed_by for step_up, _ in answered],
    )
    if len(written) != len(answered):  # No money moves on what is not as it was when it was locked.
        message = f"{len(answered)} challenges were to be written, {len(written)} were"
        raise RuntimeError(message)
