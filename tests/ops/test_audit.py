"""The audit trail: in order whoever writes, never bent unseen, with nothing personal in it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.ledger import open_connection
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.core.database import Connection, make_engine, write
from wallet.core.ids import new_secret
from wallet.ops.audit import (
    INTEGER_MAX,
    Entry,
    UnfitEntryError,
    append,
    append_refused,
    canonical,
    chain_hash,
    fit,
    origin_of,
)
from wallet.ops.verify_audit import read_entries, verify_audit

STAFF = "stf_0193b2c4d5e67f8091a2b3c4d5e6f708"
PERSON = "per_0193b2c4d5e67f8091a2b3c4d5e6f709"
VIEW = Entry(action="person.view", actor=STAFF, subject=PERSON, reason="窓口での照会")


async def add(engine: AsyncEngine, entry: Entry = VIEW, **changes: Any) -> int:  # noqa: ANN401 - fields of many types
    """Append one entry in a transaction of its own and return its number."""
    fields = {name: getattr(entry, name) for name in Entry.__struct_fields__}
    changed = Entry(**{**fields, **changes})
    return await write(engine, lambda connection: append(connection, entry=changed, now_us=NOW_US))


@pytest.fixture
async def fresh(database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on a database whose trail is empty."""
    engine = make_engine(database.application_url, pool_size=4, application_name="tests")
    yield engine
    await engine.dispose()


async def bend(database: Database, statement: str, *values: object) -> None:
    """Change the trail as only somebody can who owns the tables and takes their guards away."""
    async with open_connection(database.owner_url) as owner:
        await owner.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        await owner.execute(statement, *values)
        await owner.execute("ALTER TABLE audit_entry ENABLE TRIGGER USER")


@pytest.mark.asvs("v5.0.0-16.2.1")
async def test_entries_are_numbered_and_read_as_they_were_written(fresh: AsyncEngine) -> None:
    assert await add(fresh) == 1
    assert await add(fresh, reason=None, subject=None, details={"found": 3, "by": "phone"}) == 2
    first, second = [one async for one in read_entries(fresh)]
    assert first.fields == canonical(VIEW, seq=1, at_us=NOW_US)
    assert second.fields["details"] == {"found": 3, "by": "phone"}
    assert second.previous_hash == first.hash
    report = await verify_audit(fresh)
    assert report.ok
    assert (report.entries, report.head_seq, report.head_hash) == (2, 2, second.hash)


async def test_an_export_is_enough_to_recompute_the_chain(fresh: AsyncEngine) -> None:
    for number in range(3):
        await add(fresh, details={"number": number}, reason=f"理由 {number} “quoted”\n")
    lines = [json.dumps(one.as_dict()) async for one in read_entries(fresh)]
    previous = bytes(32)
    for line in lines:
        told = json.loads(line)
        expected = told.pop("hash")
        assert told.pop("previous_hash") == previous.hex()
        assert told.pop("at") == "2026-11-25T03:00:00.000Z"
        previous = hashlib.blake2b(previous + rfc8785.dumps(told), digest_size=32).digest()
        assert previous.hex() == expected
    assert previous == (await verify_audit(fresh)).head_hash


async def test_a_part_can_be_exported(fresh: AsyncEngine) -> None:
    for _ in range(5):
        await add(fresh)
    assert [one.seq async for one in read_entries(fresh, after=1, to=3)] == [2, 3]


async def test_many_writers_at_once_make_one_chain(fresh: AsyncEngine, database: Database) -> None:
    other = make_engine(database.application_url, pool_size=4, application_name="tests")
    numbers = await asyncio.gather(*(add(one) for one in (fresh, other) * 20))
    await other.dispose()
    assert sorted(numbers) == list(range(1, 41))
    report = await verify_audit(fresh)
    assert (report.ok, report.entries) == (True, 40)


@pytest.mark.asvs("v5.0.0-16.4.2")
async def test_what_is_rolled_back_leaves_no_entry_and_no_gap(fresh: AsyncEngine) -> None:
    async def think_better_of_it(connection: AsyncConnection) -> None:
        await append(connection, entry=VIEW, now_us=NOW_US)
        raise ZeroDivisionError

    await add(fresh)
    with pytest.raises(ZeroDivisionError):
        await write(fresh, think_better_of_it)
    assert await add(fresh) == 2
    assert (await verify_audit(fresh)).ok


@pytest.mark.asvs("v5.0.0-16.3.2")
async def test_a_refusal_is_kept_though_its_work_was_not(fresh: AsyncEngine) -> None:
    await append_refused(fresh, entry=VIEW, now_us=NOW_US)
    (kept,) = [one async for one in read_entries(fresh)]
    assert kept.fields["outcome"] == "refused"


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-16.4.2")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET reason = 'another' WHERE seq = 1",
        "DELETE FROM audit_entry WHERE seq = 1",
        "TRUNCATE audit_entry",
    ],
)
async def test_neither_the_application_nor_the_owner_changes_an_entry(
    engine: AsyncEngine, module_database: Database, statement: str
) -> None:
    await add(engine)
    for url, refusal in (
        (module_database.application_url, "permission denied"),
        (module_database.owner_url, "never changed or removed"),
    ):
        async with open_connection(url) as connection:
            with pytest.raises(Exception, match=refusal):
                await connection.execute(statement)


BENT = {
    "UPDATE audit_entry SET reason = 'another' WHERE seq = 3": (3, "was changed"),
    "UPDATE audit_entry SET actor = 'system' WHERE seq = 3": (3, "was changed"),
    "UPDATE audit_entry SET at_us = at_us + 1 WHERE seq = 3": (3, "was changed"),
    "UPDATE audit_entry SET outcome = 'refused' WHERE seq = 3": (3, "was changed"),
    """UPDATE audit_entry SET details = '{"found": 4}' WHERE seq = 3""": (3, "was changed"),
    "UPDATE audit_entry SET hash = previous_hash WHERE seq = 3": (3, "was changed"),
    "UPDATE audit_entry SET previous_hash = hash WHERE seq = 3": (3, "does not follow"),
    "DELETE FROM audit_entry WHERE seq = 3": (3, "missing; the next one is 4"),
    "DELETE FROM audit_entry WHERE seq = 1": (1, "missing; the next one is 2"),
    "DELETE FROM audit_entry WHERE seq = 5": (5, "the head is of entry 5, the last one is 4"),
    "DELETE FROM audit_entry": (1, "the head is of entry 5, the last one is 0"),
    "UPDATE audit_head SET seq = 9": (6, "the head is of entry 9, the last one is 5"),
    "UPDATE audit_head SET hash = decode(repeat('00', 32), 'hex')": (6, "the head is of entry 5"),
}


@pytest.mark.attack(28)
async def test_whatever_is_bent_is_named(fresh: AsyncEngine, database: Database) -> None:
    for number in range(5):
        await add(fresh, details={"found": number})
    assert (await verify_audit(fresh)).ok
    async with open_connection(database.owner_url) as owner:
        await owner.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        for statement, (seq, what) in BENT.items():
            broken = await _broken_by(owner, statement, fresh)
            assert broken.seq == seq, statement
            assert broken.what.startswith(what), statement


async def _broken_by(owner: Connection, statement: str, engine: AsyncEngine) -> Any:  # noqa: ANN401 - asserted
    """Return what is found broken while a statement is in force, and take it back."""
    kept = await owner.fetch("SELECT * FROM audit_entry ORDER BY seq")
    head = await owner.fetchrow("SELECT seq, hash FROM audit_head")
    assert head is not None
    await owner.execute(statement)
    report = await verify_audit(engine)
    assert not report.ok
    assert report.as_dict()["ok"] is False
    await owner.execute("DELETE FROM audit_entry")
    await owner.copy_records_to_table("audit_entry", records=[tuple(row) for row in kept])
    await owner.execute("UPDATE audit_head SET seq = $1, hash = $2", *head)
    return report.broken


@pytest.mark.attack(28)
async def test_whoever_forges_the_whole_chain_is_found_by_a_head_that_was_published(
    fresh: AsyncEngine, database: Database
) -> None:
    for number in range(3):
        await add(fresh, details={"found": number})
    published = {3: (await verify_audit(fresh)).head_hash}
    assert (await verify_audit(fresh, published=published)).ok
    previous = bytes(32)
    for one in [one async for one in read_entries(fresh)]:
        fields = {**one.fields, "actor": "system"}
        forged = chain_hash(previous, fields)
        await bend(
            database,
            "UPDATE audit_entry SET actor = 'system', previous_hash = $2, hash = $3 WHERE seq = $1",
            one.seq,
            previous,
            forged,
        )
        previous = forged
    await bend(database, "UPDATE audit_head SET hash = $1", previous)
    assert (await verify_audit(fresh)).ok
    report = await verify_audit(fresh, published=published)
    assert report.broken is not None
    assert (report.broken.seq, report.broken.what) == (
        3,
        "is not the one whose hash was published",
    )


async def test_an_entry_that_was_published_and_is_gone_is_missed(fresh: AsyncEngine) -> None:
    await add(fresh)
    report = await verify_audit(fresh, published={7: bytes(32)})
    assert report.broken is not None
    assert report.broken.seq == 7


@pytest.mark.asvs("v5.0.0-16.2.5")
@pytest.mark.parametrize(
    "changes",
    [
        {"action": "view"},
        {"action": "Person.View"},
        {"action": "person.view\n"},
        {"actor": "taro"},
        {"actor": "taro@example.jp"},
        {"actor": "cli:"},
        {"actor": "cli:taro yamada"},
        {"origin": "192.0.2.1"},
        {"origin": "office:192.0.2.1"},
        {"subject": ""},
        {"subject": "090-1234-5678"},
        {"subject": "x" * 201},
        {"details": {"e_mail": "taro@example.jp"}},
        {"details": {"number": "123456789018"}},
        {"details": {"number": 123456789018}},
        {"details": {"key": new_secret("sk_live_")}},
        {"details": {"line": "a\nb"}},
        {"details": {"zero": "\0"}},
        {"details": {"large": INTEGER_MAX + 1}},
        {"details": {"flag": True}},
        {"details": {"Found": 1}},
        {"details": {f"n{'a' * number}": number for number in range(21)}},
    ],
)
def test_what_must_not_be_kept_is_no_entry(changes: dict[str, Any]) -> None:
    fields = {name: getattr(VIEW, name) for name in Entry.__struct_fields__}
    with pytest.raises(UnfitEntryError) as error:
        fit(Entry(**{**fields, **changes}))
    assert "taro@example.jp" not in str(error.value)


def test_a_reason_in_somebodys_own_words_is_scrubbed() -> None:
    reason = "  090-1234-5678 の方から\0電話 \ud800 "
    kept = fit(Entry(action="person.view", actor=STAFF, reason=reason)).reason
    assert kept == "[phone] の方から電話 ?"
    assert fit(Entry(action="person.view", actor=STAFF, reason=" \n")).reason is None


@given(
    reason=st.text(max_size=600),
    details=st.dictionaries(
        st.from_regex(r"[a-z]{1,10}", fullmatch=True),
        st.integers(-INTEGER_MAX, INTEGER_MAX) | st.text(min_size=1, max_size=200),
        max_size=20,
    ),
)
def test_whatever_fits_can_be_hashed(reason: str, details: dict[str, int | str]) -> None:
    entry = Entry(action="a.b", actor="system", reason=reason, details=details)
    try:
        kept = fit(entry)
    except UnfitEntryError:
        return
    fields = canonical(kept, seq=1, at_us=NOW_US)
    assert len(chain_hash(bytes(32), fields)) == 32
    assert "\0" not in json.dumps(fields, ensure_ascii=False)


@pytest.mark.asvs("v5.0.0-14.2.4")
def test_an_origin_tells_the_same_address_again_and_never_which() -> None:
    one, again, other = (
        origin_of("office", address, pepper=PEPPER)
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")
    )
    assert one == again != other
    assert "192" not in one
    assert origin_of("worker", None, pepper=PEPPER) == "worker"
    assert fit(Entry(action="a.b", actor="system", origin=one)).origin == one
