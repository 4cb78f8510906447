"""Claims: by a letter's code and a birthday, as who one is known to be, and for others."""

import asyncio
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.benefits.people import Claimant, guard, know, make_claimant
from tests.factories.benefits import (
    BENEFIT,
    BORN,
    CLAIM_UNTIL,
    NAME,
    YEN,
    Office,
    row,
    wallet_row,
)
from tests.factories.moments import NOW_US, PEPPER, japanese
from tests.factories.people import make_wallet
from wallet.benefits.claim import (
    WRONG,
    Claimed,
    CodeEntered,
    Offer,
    claim_as_known,
    claim_by_code,
    list_offers,
)
from wallet.benefits.rules import CLAIM_TRIES
from wallet.core.database import read, write
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.helpers import Wanted, accept_help, invite_helper
from wallet.people.rules import Tier

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def offered(office: Office, **changes: object) -> tuple[UUID, str]:
    """Offer one benefit; return its grant and the code in its letter."""
    run_id = await office.approved(row(**changes))
    await office.work()
    (letter,) = await office.letters(run_id)
    return letter.grant_id, letter.code


async def enter(
    office: Office,
    who: Claimant,
    code: str,
    *,
    born: date = BORN,
    **changes: Any,  # noqa: ANN401 - of many types
) -> Claimed | Refusal:
    """Type a code and a birthday into the app."""
    arguments: dict[str, Any] = {
        "person": who.person,
        "entered": CodeEntered(code=code, birthdate=born, address=None),
        "wallet_id": None,
        "pepper": PEPPER,
        "now_us": NOW_US,
        **changes,
    }
    return await write(office.engine, lambda connection: claim_by_code(connection, **arguments))


async def claim(
    office: Office, who: Claimant, grant_id: UUID, *, wallet_id: UUID | None = None
) -> Claimed | str:
    """Claim what one is known for; return why not, if not."""
    try:
        return await write(
            office.engine,
            lambda connection: claim_as_known(
                connection,
                person=who.person,
                grant_id=grant_id,
                wallet_id=wallet_id,
                now_us=NOW_US,
            ),
        )
    except RefusedError as error:
        return error.refusal.code


async def offers_of(office: Office, who: Claimant) -> list[Offer]:
    """Return what somebody sees."""
    async with read(office.engine) as connection:
        return await list_offers(connection, person_id=who.person.id)


async def test_a_code_and_the_birthday_bring_the_money_into_ones_wallet(office: Office) -> None:
    who = await make_claimant(office.engine, tier=Tier.DEVICE)
    grant_id, code = await offered(office)
    assert await enter(office, who, code) == Claimed(grant_id, who.wallet_id)
    assert await office.held(who.wallet_id) == {}
    await office.work()
    assert await office.held(who.wallet_id) == {BENEFIT: YEN}
    assert await enter(office, who, code) == WRONG
    assert (await office.work()).granted == 0


@pytest.mark.attack(8)
async def test_five_wrong_birthdays_end_a_code_however_many_come_at_once(office: Office) -> None:
    grant_id, code = await offered(office)
    crowd = [await make_claimant(office.engine) for _ in range(CLAIM_TRIES + 2)]
    answers = await asyncio.gather(
        *[enter(office, who, code, born=date(1990, 1, 1)) for who in crowd]
    )
    assert answers == [WRONG] * len(crowd)
    assert await enter(office, await make_claimant(office.engine), code) == WRONG
    # A new letter has a new code, with five tries of its own.
    grant = await office.grant(grant_id)
    assert grant["code_failures"] == CLAIM_TRIES
    (letter,) = await office.letters(grant["run_id"])
    assert letter.code != code
    who = await make_claimant(office.engine)
    assert isinstance(await enter(office, who, letter.code), Claimed)


async def test_who_tries_many_codes_is_stopped(office: Office) -> None:
    who = await make_claimant(office.engine)
    answers = [await enter(office, who, "K7M2-3PQR-9XYZ") for _ in range(11)]
    assert answers[:10] == [WRONG] * 10
    assert isinstance(answers[10], Refusal)
    assert answers[10].code == "too_many_tries"
    _, code = await offered(office)
    late = await enter(office, who, code)
    assert isinstance(late, Refusal)
    assert late.code == "too_many_tries"


async def test_wrong_codes_from_known_phones_close_nothing_for_others_at_their_address(
    office: Office,
) -> None:
    def typed(code: str) -> CodeEntered:
        return CodeEntered(code=code, birthdate=BORN, address="203.0.113.7", device_id=uuid4())

    for _ in range(3):
        guesser, wrong = await make_claimant(office.engine), typed("K7M2-3PQR-9XYZ")
        answers = [await enter(office, guesser, "", entered=wrong) for _ in range(11)]
        assert answers[:10] == [WRONG] * 10
        assert answers[10] != WRONG
    _, code = await offered(office)
    who = await make_claimant(office.engine)
    assert isinstance(await enter(office, who, code, entered=typed(code)), Claimed)


async def test_one_code_is_claimed_once_by_two_who_come_together(office: Office) -> None:
    _, code = await offered(office)
    pair = [await make_claimant(office.engine) for _ in range(2)]
    answers = await asyncio.gather(*[enter(office, who, code) for who in pair])
    assert sorted(type(one).__name__ for one in answers) == ["Claimed", "Refusal"]
    assert (await office.work()).granted == 1


async def test_a_code_is_good_until_the_last_day_to_claim(office: Office) -> None:
    after_us = japanese(f"{CLAIM_UNTIL}T23:59:59") + 1_000_000
    _, code = await offered(office)
    late = await make_claimant(office.engine)
    assert await enter(office, late, code, now_us=after_us) == WRONG
    just_in_time = await make_claimant(office.engine)
    answer = await enter(office, just_in_time, code, now_us=after_us - 1_000_000)
    assert isinstance(answer, Claimed)


async def test_a_wallet_that_one_does_not_reach_takes_nothing(office: Office) -> None:
    who = await make_claimant(office.engine)
    grant_id, code = await offered(office)
    stranger_id = await make_wallet(office.engine)
    with pytest.raises(RefusedError, match="wallet_unknown"):
        await enter(office, who, code, wallet_id=stranger_id)
    grant = await office.grant(grant_id)
    assert (grant["state"], grant["code_failures"]) == ("offered", 0)


async def test_the_protected_get_no_letter_but_a_code_at_the_counter(office: Office) -> None:
    run_id = await office.approved(row(contact_flag="protected"), row())
    await office.work()
    assert [one.row_number for one in await office.letters(run_id)] == [3]
    (handed,) = await office.letters(run_id, first_row=2, last_row=2, at_counter=True)
    who = await make_claimant(office.engine)
    assert isinstance(await enter(office, who, handed.code), Claimed)
    with pytest.raises(RefusedError, match="benefit_rows_invalid"):
        await office.letters(run_id, at_counter=True)


async def test_no_letters_are_written_for_a_draft(office: Office) -> None:
    imported = await office.import_rows(row())
    with pytest.raises(RefusedError, match="benefit_run_not_approved"):
        await office.letters(imported.run_id)


async def test_who_is_known_gets_the_next_benefit_without_claiming_it(office: Office) -> None:
    who, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    _, code = await offered(office, beneficiary_ref=ref)
    await enter(office, who, code)
    run_id = await office.approved(row(beneficiary_ref=ref))
    assert (await office.look(run_id))[1].known == 1
    await office.work()
    assert await office.states(run_id) == ["granted"]
    assert await office.held(who.wallet_id) == {BENEFIT: 2 * YEN}


async def test_a_parent_who_types_a_childs_code_does_not_become_the_child(office: Office) -> None:
    parent, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    child = {"beneficiary_ref": ref, "guardian_ref": f"ref-{uuid4().hex}"}
    grant_id, code = await offered(office, **child)
    assert await enter(office, parent, code) == Claimed(grant_id, parent.wallet_id)
    run_id = await office.approved(row(**child))
    await office.work()
    assert await office.states(run_id) == ["offered"]


async def test_who_is_not_proven_is_not_known_by_a_letter(office: Office) -> None:
    who, ref = await make_claimant(office.engine, tier=Tier.DEVICE), f"ref-{uuid4().hex}"
    _, code = await offered(office, beneficiary_ref=ref)
    assert isinstance(await enter(office, who, code), Claimed)
    run_id = await office.approved(row(beneficiary_ref=ref))
    await office.work()
    assert await office.states(run_id) == ["offered"]


async def test_a_known_person_claims_what_was_offered_before_they_were_known(
    office: Office,
) -> None:
    who, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    grant_id, _ = await offered(office, beneficiary_ref=ref)
    assert await offers_of(office, who) == []
    assert await claim(office, who, grant_id) == "benefit_offer_unknown"
    assert await know(office.engine, who, ref)
    assert not await know(office.engine, await make_claimant(office.engine), ref)
    (offer,) = await offers_of(office, who)
    assert (offer.id, offer.name, offer.amount_yen) == (grant_id, NAME, YEN)
    assert (offer.state, offer.claim_until, offer.for_another) == ("offered", CLAIM_UNTIL, False)
    assert await claim(office, who, grant_id) == Claimed(grant_id, who.wallet_id)
    assert [one.state for one in await offers_of(office, who)] == ["due"]
    await office.work()
    assert [one.state for one in await offers_of(office, who)] == ["granted"]
    assert await claim(office, who, grant_id) == "benefit_offer_unknown"


async def test_below_the_tier_of_the_proven_nothing_is_claimed_without_a_code(
    office: Office,
) -> None:
    who, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    grant_id, _ = await offered(office, beneficiary_ref=ref)
    await know(office.engine, who, ref)
    unproven = replace(who.person, tier=Tier.DEVICE)
    told = await claim(office, Claimant(person=unproven, wallet_id=who.wallet_id), grant_id)
    assert told == "claim_not_proven"


async def test_a_guardian_claims_for_the_child_into_the_childs_wallet(office: Office) -> None:
    parent, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    child_wallet_id = await make_wallet(office.engine)
    await guard(office.engine, parent.person.id, child_wallet_id)
    await know(office.engine, parent, ref)
    grant_id, _ = await offered(office, guardian_ref=ref)
    (offer,) = await offers_of(office, parent)
    assert (offer.id, offer.for_another) == (grant_id, True)
    stranger = await make_claimant(office.engine)
    assert await offers_of(office, stranger) == []
    assert await claim(office, stranger, grant_id) == "benefit_offer_unknown"
    claimed = await claim(office, parent, grant_id, wallet_id=child_wallet_id)
    assert claimed == Claimed(grant_id, child_wallet_id)
    await office.work()
    assert await office.held(child_wallet_id) == {BENEFIT: YEN}


async def proxy_for(office: Office, owner: Claimant, kind: str) -> Claimant:
    """Return somebody who helps the owner, as a proxy or by looking only."""
    helper = await make_claimant(office.engine)
    limits = {"payment_limit_yen": 1_000, "daily_limit_yen": 1_000} if kind == "proxy" else {}
    invited = await write(
        office.engine,
        lambda connection: invite_helper(
            connection,
            owner_id=owner.person.id,
            wallet_id=owner.wallet_id,
            wanted=Wanted(kind=kind, **limits),  # type: ignore[arg-type] # one of the two
            pepper=PEPPER,
            now_us=NOW_US,
        ),
    )
    await write(
        office.engine,
        lambda connection: accept_help(
            connection,
            person_id=helper.person.id,
            code=invited.code,
            pepper=PEPPER,
            now_us=NOW_US,
        ),
    )
    return helper


async def test_a_proxy_claims_for_whom_they_help_and_only_into_that_ones_wallet(
    office: Office,
) -> None:
    owner, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    grant_id, _ = await offered(office, beneficiary_ref=ref)
    await know(office.engine, owner, ref)
    proxy = await proxy_for(office, owner, "proxy")
    assert [one.for_another for one in await offers_of(office, proxy)] == [True]
    assert await claim(office, proxy, grant_id) == "wallet_unknown"
    claimed = await claim(office, proxy, grant_id, wallet_id=owner.wallet_id)
    assert claimed == Claimed(grant_id, owner.wallet_id)


async def test_who_only_looks_on_claims_nothing(office: Office) -> None:
    owner, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    grant_id, _ = await offered(office, beneficiary_ref=ref)
    await know(office.engine, owner, ref)
    viewer = await proxy_for(office, owner, "view")
    assert await offers_of(office, viewer) == []
    told = await claim(office, viewer, grant_id, wallet_id=owner.wallet_id)
    assert told == "benefit_offer_unknown"


async def test_a_roster_that_nobody_has_approved_shows_nobody_anything(office: Office) -> None:
    who, ref = await make_claimant(office.engine), f"ref-{uuid4().hex}"
    await know(office.engine, who, ref)
    await office.import_rows(row(beneficiary_ref=ref))
    assert await offers_of(office, who) == []


async def test_a_wallet_that_the_roster_names_needs_no_claim(office: Office) -> None:
    wallet_id = await make_wallet(office.engine)
    run_id = await office.approved(wallet_row(wallet_id), row())
    await office.work()
    assert [one.row_number for one in await office.letters(run_id)] == [3]
