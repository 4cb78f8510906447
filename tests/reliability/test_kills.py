"""The till and PostgreSQL are killed under load, again and again; no yen is lost or paid twice.

``--kills N`` kills more often. What a run was drawn from is in the message when it fails.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.embedded.conftest import temporary_folder
from tests.reliability.backends import backends_of_tills, connected, wait_until_gone
from tests.reliability.judge import look_up
from tests.reliability.load import PATH, ask, make_ticket
from tests.reliability.nemesis import RECOVERY_S_MAX, Nemesis
from tests.reliability.processes import Till, family_of, is_alive, kill_at_once, running_till
from tests.reliability.scene import make_scene, payees
from wallet.core import embedded
from wallet.migrate import migrate
from wallet.payments.rules import CARD
from wallet.replay.client import HttpClient

POWER_CUTS: Final = 3
CARELESS_KILLS: Final = 3

_END = "SELECT pg_terminate_backend($1)"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Yield the data folder of a migrated cluster that may be killed; it harms nobody else."""
    with temporary_folder() as folder:
        migrate(owner_url=embedded.start(data_directory=folder).owner_url)
        yield folder


@pytest.fixture
def cluster(folder: Path) -> embedded.Cluster:
    """Return the cluster, running."""
    return embedded.start(data_directory=folder)


@pytest.fixture
def till(cluster: embedded.Cluster, tmp_path: Path) -> Iterator[Till]:
    """Yield a till of the cluster."""
    log = tmp_path / "till.log"
    with running_till(database_url=cluster.application_url, log=log) as till:
        yield till


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """Return how often each of the two is to be killed."""
    kills: int = request.config.getoption("--kills")
    return max(1, -(-kills // 2))


async def kill_server(folder: Path, *, alone: bool) -> None:
    """Kill the postmaster alone, whose backends must then go by themselves, or all at once."""
    cluster = embedded.status(data_directory=folder)
    assert cluster is not None
    kill_at_once([cluster.pid, *(() if alone else family_of(cluster.pid))])


async def start_server(folder: Path) -> None:
    """Start the server again, which recovers what was committed."""
    await asyncio.to_thread(embedded.start, data_directory=folder)


async def test_a_killed_till_has_taken_the_money_once_or_not_at_all(
    cluster: embedded.Cluster, till: Till, kills: int
) -> None:
    scene = await make_scene(cluster.application_url, name="till")
    nemesis = Nemesis(scene, till)
    load, in_doubt = nemesis.load, 0

    async def blow(_: int) -> None:
        nonlocal in_doubt
        load.hold()
        till.kill()
        entries = await load.silence()
        in_doubt += len(entries)
        await wait_until_gone(scene.database_url)
        await look_up(scene.database_url, payees(scene), entries)
        await asyncio.to_thread(till.start)
        load.go_on()

    await nemesis.strike(kills, blow)
    assert in_doubt > kills, "the till was killed while it had nothing to do"
    await nemesis.judge()


async def test_a_killed_server_has_kept_what_was_acknowledged(
    cluster: embedded.Cluster, till: Till, kills: int
) -> None:
    nemesis = Nemesis(await make_scene(cluster.application_url, name="server"), till)

    async def blow(number: int) -> None:
        await kill_server(cluster.data_directory, alone=number % 2 == 0)
        await asyncio.sleep(nemesis.rng.uniform(0, 0.2))
        await start_server(cluster.data_directory)

    await nemesis.strike(kills, blow)
    await nemesis.judge()


async def test_a_power_cut_of_everything_loses_no_payment(
    cluster: embedded.Cluster, till: Till
) -> None:
    scene = await make_scene(cluster.application_url, name="power")
    nemesis = Nemesis(scene, till)
    load = nemesis.load

    async def blow(_: int) -> None:
        load.hold()
        till.kill()
        await kill_server(cluster.data_directory, alone=False)
        entries = await load.silence()
        await start_server(cluster.data_directory)
        await look_up(scene.database_url, payees(scene), entries)
        await asyncio.to_thread(till.start)
        load.go_on()

    await nemesis.strike(POWER_CUTS, blow)
    await nemesis.judge()


async def test_a_server_that_loses_one_process_loses_no_payment(
    cluster: embedded.Cluster, till: Till, kills: int
) -> None:
    nemesis = Nemesis(await make_scene(cluster.application_url, name="process"), till)

    async def blow(number: int) -> None:
        backend = nemesis.rng.choice(sorted(await backends_of_tills(cluster.application_url)))
        if number % 3 == 0:  # In good order: only this one connection is lost.
            async with connected(cluster.superuser_url) as connection:
                assert await connection.fetchval(_END, backend)
        elif number % 3 == 1:  # The postmaster ends all others, for they share its memory.
            kill_at_once([backend])
        else:
            kill_at_once([nemesis.rng.choice(family_of(cluster.pid))])

    await nemesis.strike(-(-kills // 2), blow)
    await nemesis.judge()


async def test_a_payment_made_while_the_server_is_down_is_answered_when_it_is_back(
    cluster: embedded.Cluster, till: Till
) -> None:
    scene = await make_scene(cluster.application_url, name="down")
    tickets = [
        make_ticket(f"down-{n}", scene.merchants[0], amount_yen=70, instrument=CARD, value=card)
        for n, card in enumerate(scene.cards)
    ]
    client, reader = HttpClient(till.base_url), HttpClient(till.base_url)
    try:
        assert (await ask(client, tickets[0])).status == 201  # From now on it knows the key.
        await kill_server(cluster.data_directory, alone=False)
        waiting = asyncio.create_task(ask(client, tickets[1]))
        read = await reader.request("GET", PATH, tickets[0].headers)
        assert (read.status, read.headers["retry-after"]) == (503, "2")
        assert b'"code":"unavailable"' in read.body
        assert await asyncio.to_thread(is_alive, till.port)
        assert not waiting.done()
        await start_server(cluster.data_directory)
        async with asyncio.timeout(RECOVERY_S_MAX):
            answer = await waiting
    finally:
        client.close()
        reader.close()
    assert (answer.status, answer.replayed) == (201, False)


async def test_a_till_that_does_not_wait_for_the_disk_is_found_out(
    cluster: embedded.Cluster, tmp_path: Path
) -> None:
    command = (sys.executable, "-m", "tests.reliability.faulty_till", "not_durable")
    with running_till(
        database_url=cluster.application_url, log=tmp_path / "till.log", command=command
    ) as till:
        nemesis = Nemesis(await make_scene(cluster.application_url, name="careless"), till)

        async def blow(_: int) -> None:
            await kill_server(cluster.data_directory, alone=False)
            await start_server(cluster.data_directory)

        await nemesis.strike(CARELESS_KILLS, blow)
        problems = await nemesis.find_problems()
    assert any("was acknowledged" in problem for problem in problems), problems
