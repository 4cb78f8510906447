"""What no longer fits its seal is found and named."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.factories.ledger import account, codes, open_accounts, open_teller, transfer
from tests.factories.moments import NOW_US
from tests.factories.planting import failed, planted
from tests.servers import Database
from wallet.core.database import make_engine
from wallet.ledger.rules import Transfer
from wallet.ledger.seal import Seal, seal
from wallet.ledger.verify_seals import SealReport, verify_seals_snapshot

LATER_US = NOW_US + 3_600_000_000

TRANSFER = "UPDATE transfer SET {} WHERE id = :t4"
SEAL = "UPDATE seal SET {} WHERE number = 2"
"""Changes that are planted."""


@dataclass(frozen=True)
class Sealed:
    """Nine transfers under three seals."""

    transfers: list[Transfer]
    seals: list[Seal]

    @property
    def values(self) -> dict[str, object]:
        """Transfer ids by their place, as parameters of SQL."""
        return {f"t{place}": one.id for place, one in enumerate(self.transfers)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sealed(module_database: Database) -> Sealed:
    """Book and seal."""
    url = module_database.application_url
    async with open_teller(url) as teller:
        payer, payee = await open_accounts(teller, account(), account())
        transfers = [transfer(payer, payee, 100 + number) for number in range(9)]
        assert set(await codes(teller, *transfers)) == {"created"}
    engine = make_engine(url, pool_size=1, application_name="tests")
    seals: list[Seal] = []
    while (one := await seal(engine, now_us=LATER_US, transfers_max=3, wait_s=20)) is not None:
        seals.append(one)
    await engine.dispose()
    assert [one.transfers for one in seals] == [3, 3, 3]
    return Sealed(transfers, seals)


async def verify_with(
    database: Database,
    sealed: Sealed,
    *statements: str,
    published: Mapping[int, bytes] | None = None,
) -> SealReport:
    """Verify the chain as it would be had the statements been committed."""
    async with planted(database.owner_url, *statements, **sealed.values) as connection:
        return await verify_seals_snapshot(connection, published=published or {})


def named(report: SealReport) -> set[tuple[str, str, str]]:
    """Return kind, id and what of every finding about sealed rows."""
    found = failed(report.checks).get("sealed_transfers_are_unchanged", [])
    return {(finding.kind, finding.id, finding.what) for finding in found}


async def test_a_sound_chain_is_green(module_database: Database, sealed: Sealed) -> None:
    head = sealed.seals[-1]
    report = await verify_with(
        module_database, sealed, published={1: sealed.seals[0].hash, 3: head.hash}
    )
    assert report.ok
    assert (report.seals, report.transfers, report.head) == (3, 9, head)
    assert report.as_dict()["head"] == {"number": 3, "hash": head.hash.hex()}


@pytest.mark.attack(28)
@pytest.mark.parametrize(
    "change",
    [
        "amount = amount + 1",
        "debit_account_id = credit_account_id, credit_account_id = debit_account_id",
        "ledger = 2",
        "code = 2",
        "flags = 1",
        "pending_id = id",
        "user_data_128 = id",
        "user_data_64 = 1",
        "user_data_32 = 1",
        "timeout_s = 1",
    ],
)
async def test_a_changed_transfer_is_named(
    module_database: Database, sealed: Sealed, change: str
) -> None:
    report = await verify_with(module_database, sealed, TRANSFER.format(change))
    assert named(report) == {
        ("seal", "2", "hash"),
        ("transfer", str(sealed.transfers[4].id), "content sealed in 2"),
    }


async def test_a_removed_transfer_is_named(module_database: Database, sealed: Sealed) -> None:
    report = await verify_with(module_database, sealed, "DELETE FROM transfer WHERE id = :t4")
    removed = str(sealed.transfers[4].id)
    assert named(report) == {
        ("seal", "2", "transfers"),
        ("seal", "2", "hash"),
        ("transfer", removed, "presence in seal 2"),
    }
    (finding,) = (f for f in report.checks[1].findings if f.id == removed)
    assert (finding.stored, finding.computed) == ("sealed", "removed")


async def test_an_added_transfer_is_named(module_database: Database, sealed: Sealed) -> None:
    added = """
        INSERT INTO transfer SELECT gen_random_uuid(), debit_account_id, credit_account_id, 1,
            ledger, code, flags, pending_id, user_data_128, user_data_64, user_data_32,
            timeout_s, timestamp FROM transfer WHERE id = :t0
    """
    report = await verify_with(module_database, sealed, added)
    (finding,) = (f for f in report.checks[1].findings if f.kind == "transfer")
    assert (finding.what, finding.stored, finding.computed) == (
        "presence in seal 1",
        "absent",
        "added",
    )


async def test_a_transfer_moved_in_time_is_named_with_where_it_is_now(
    module_database: Database, sealed: Sealed
) -> None:
    report = await verify_with(
        module_database,
        sealed,
        "UPDATE transfer SET timestamp = timestamp + 5 WHERE id = :t1",
    )
    moved = str(sealed.transfers[1].id)
    found = {(f.what, f.computed) for f in report.checks[1].findings if f.id == moved}
    (now,) = (computed for what, computed in found if what == "presence in seal 1")
    assert str(now).startswith("at timestamp ")
    assert ("presence in seal 2", "added") in found or ("presence in seal 3", "added") in found


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("hash = previous_hash", {("seal", "2", "hash")}),
        ("transfers = 4", {("seal", "2", "transfers")}),
        ("fingerprints = ''", None),
    ],
)
async def test_a_changed_seal_is_found(
    module_database: Database, sealed: Sealed, change: str, what: set[tuple[str, str, str]] | None
) -> None:
    report = await verify_with(module_database, sealed, SEAL.format(change))
    found = named(report)
    assert found == what if what else ("seal", "2", "fingerprints") in found


@pytest.mark.parametrize(
    ("statement", "number", "what"),
    [
        ("UPDATE seal SET hash = previous_hash WHERE number = 2", "3", "previous_hash"),
        ("UPDATE seal SET previous_hash = hash WHERE number = 2", "2", "previous_hash"),
        (
            "UPDATE seal SET from_timestamp = from_timestamp + 1 WHERE number = 2",
            "2",
            "from_timestamp",
        ),
        ("DELETE FROM seal WHERE number = 2", "2", "seal"),
        ("DELETE FROM seal WHERE number = 1", "1", "seal"),
    ],
)
async def test_a_broken_link_is_found(
    module_database: Database, sealed: Sealed, statement: str, number: str, what: str
) -> None:
    report = await verify_with(module_database, sealed, statement)
    found = failed(report.checks)["seals_form_one_chain"]
    assert (number, what) in {(finding.id, finding.what) for finding in found}


async def test_a_forger_of_fingerprints_still_meets_the_hash(
    module_database: Database, sealed: Sealed
) -> None:
    report = await verify_with(
        module_database,
        sealed,
        "UPDATE transfer SET amount = amount + 1 WHERE id = :t4",
        "UPDATE seal SET fingerprints = '' WHERE number = 2",
    )
    assert ("seal", "2", "hash") in named(report)


async def test_a_chain_cut_off_at_its_head_differs_from_what_was_published(
    module_database: Database, sealed: Sealed
) -> None:
    published = {3: sealed.seals[2].hash}
    report = await verify_with(
        module_database, sealed, "DELETE FROM seal WHERE number = 3", published=published
    )
    (finding,) = failed(report.checks)["seals_form_one_chain"]
    assert (finding.id, finding.what, finding.stored) == ("3", "published hash", None)


@pytest.mark.attack(28)
async def test_a_chain_forged_as_a_whole_differs_from_what_was_published(
    module_database: Database, sealed: Sealed
) -> None:
    forged = "UPDATE seal SET hash = previous_hash WHERE number = 3"
    published = {3: sealed.seals[2].hash}
    report = await verify_with(module_database, sealed, forged, published=published)
    found = failed(report.checks)["seals_form_one_chain"]
    assert ("3", "published hash") in {(finding.id, finding.what) for finding in found}
