"""Freeze a person: with one tap, by telephone, at the counter; and thaw them again.

Freezing asks for little, for whoever stops an account takes nothing from it; thawing asks for who
they are. The till reads a person's state with their wallet: a freeze holds from the next batch on.
"""

from typing import Final, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.guess_limits import allow, fail, subjects_of, succeed
from wallet.auth.revoke_sessions import revoke_sessions
from wallet.auth.step_up_storage import end_challenges
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal
from wallet.people.contact_codes import contact_hash
from wallet.people.cool_off import cool_off
from wallet.people.persons import lock_person
from wallet.people.rules import Contact

FROZEN: Final = "person.frozen"
THAWED: Final = "person.unfrozen"

WRONG: Final = Refusal("support_code_wrong")
"""The one answer to a code that is nobody's and to one whose contact does not fit."""

Because = Literal["own", "support", "counter"]

_FREEZE: Final = text("""
UPDATE person SET state = 'frozen', frozen_because = :because
WHERE id = :person_id AND state = 'active'
""")

_THAW: Final = text("""
UPDATE person SET state = 'active', frozen_because = NULL
WHERE id = :person_id AND state = 'frozen'
""")

_FIND_BY_CODE: Final = text("""
SELECT p.id FROM person AS p JOIN contact AS c ON c.person_id = p.id
WHERE p.support_code = :support_code AND p.state <> 'closed'
  AND c.kind = :kind AND c.value_hash = :value_hash
""")


async def freeze(
    connection: AsyncConnection, *, person_id: UUID, because: Because, now_us: int
) -> bool:
    """Freeze a person; return False when they were frozen already.

    Challenges that wait die. A freeze from outside ends the sessions too, since the phone may be
    in other hands; one's own leaves them open, to see one's money and to thaw. Raises
    :class:`~wallet.core.refusals.RefusedError` ``person_unknown``.
    """
    await lock_person(connection, person_id=person_id)
    values = {"person_id": person_id, "because": because}
    frozen = (await connection.execute(_FREEZE, values)).rowcount == 1
    await end_challenges(connection, principal_id=person_id, now_us=now_us)
    if because != "own":
        await revoke_sessions(connection, principal_id=person_id, because="frozen", now_us=now_us)
    if frozen:
        body = {"principal_id": person_id, "because": because}
        await tell(connection, kind=FROZEN, body=body, now_us=now_us)
    return frozen


async def freeze_by_support(
    connection: AsyncConnection,
    *,
    support_code: str,
    contact: Contact,
    address: str | None,
    pepper: bytes,
    now_us: int,
) -> UUID | Refusal:
    """Freeze whom a caller names by support code and contact, and return who that was.

    Tries are counted for the code, for the city, and for ``address`` where strangers ask; the
    counter asks with None, for its clerks share one. Refuses with :data:`WRONG` and
    ``too_many_tries``; commit whatever the answer is.
    """
    counted_for = subjects_of(pepper=pepper, account=f"support {support_code}", address=address)
    refusal = await allow(connection, kind="support_code", subjects=counted_for, now_us=now_us)
    if refusal is not None:
        return refusal
    values = {
        "support_code": support_code,
        "kind": contact.kind,
        "value_hash": contact_hash(contact, pepper=pepper),
    }
    person_id: UUID | None = (await connection.execute(_FIND_BY_CODE, values)).scalar_one_or_none()
    if person_id is None:
        await fail(connection, kind="support_code", subjects=counted_for, now_us=now_us)
        return WRONG
    await succeed(connection, kind="support_code", subjects=counted_for, now_us=now_us)
    await freeze(connection, person_id=person_id, because="support", now_us=now_us)
    return person_id


async def unfreeze(connection: AsyncConnection, *, person_id: UUID, now_us: int) -> bool:
    """Let a person go on; return False when they were not frozen. Everything cools off.

    The caller has asked for a step-up, or stands at the counter and has seen a document. Raises
    :class:`~wallet.core.refusals.RefusedError` ``person_unknown``.
    """
    await lock_person(connection, person_id=person_id)
    values = {"person_id": person_id}
    if (await connection.execute(_THAW, values)).rowcount == 0:
        return False
    await cool_off(connection, person_id=person_id, because="unfrozen", now_us=now_us)
    await tell(connection, kind=THAWED, body={"principal_id": person_id}, now_us=now_us)
    return True
