"""The embedded server against everything that happens to servers."""

import os
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.embedded.conftest import temporary_folder
from wallet.core import embedded
from wallet.core.embedded.databases import run_sql
from wallet.core.embedded.process import LOOPBACK


def restart(cluster: embedded.Cluster) -> embedded.Cluster:
    """Stop and start."""
    assert embedded.stop(data_directory=cluster.data_directory)
    return embedded.start(data_directory=cluster.data_directory)


def ask(cluster: embedded.Cluster, query: str) -> str:
    """Return what the owner is answered."""
    return run_sql(url=cluster.owner_url, script=f"{query};").strip()


def test_commits_reach_the_disk_and_pages_are_checked(cluster: embedded.Cluster) -> None:
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
        assert ask(cluster, f"SHOW {setting}") == "on"


def test_it_listens_on_loopback_only_and_speaks_utf8_and_utc(cluster: embedded.Cluster) -> None:
    assert ask(cluster, "SHOW listen_addresses") == LOOPBACK
    assert ask(cluster, "SHOW server_encoding") == "UTF8"
    assert ask(cluster, "SHOW timezone") == "UTC"
    assert ask(cluster, "SELECT datlocale FROM pg_database WHERE datname = 'wallet'") == "C.UTF-8"


def test_the_server_is_not_root(cluster: embedded.Cluster) -> None:
    assert psutil.Process(cluster.pid).uids().effective != 0


@pytest.mark.asvs("v5.0.0-13.3.2")
def test_passwords_are_for_their_owner_only(cluster: embedded.Cluster) -> None:
    path = cluster.data_directory / "passwords.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_uid == os.geteuid()
    password = cluster.owner_url.split(":")[2].split("@")[0]
    assert password not in repr(cluster)
    assert password not in cluster.log_file.read_text()


@pytest.mark.asvs("v5.0.0-13.2.1")
@pytest.mark.asvs("v5.0.0-13.2.3")
def test_nobody_gets_in_without_a_password(cluster: embedded.Cluster) -> None:
    for host in (LOOPBACK, str(cluster.socket_directory)):
        url = f"postgresql://postgres@/postgres?host={host}&port={cluster.port}"
        with pytest.raises(embedded.EmbeddedPostgresError, match="no password supplied"):
            run_sql(url=url, script="SELECT 1;")


def test_a_second_start_returns_the_running_server(cluster: embedded.Cluster) -> None:
    assert embedded.start(data_directory=cluster.data_directory) == cluster
    assert embedded.status(data_directory=cluster.data_directory) == cluster


def test_starts_at_the_same_moment_find_one_server(cluster: embedded.Cluster) -> None:
    embedded.stop(data_directory=cluster.data_directory)

    def start(_: int) -> embedded.Cluster:
        return embedded.start(data_directory=cluster.data_directory)

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert len(set(pool.map(start, range(4)))) == 1


def test_a_restart_keeps_data_port_and_passwords(cluster: embedded.Cluster) -> None:
    ask(cluster, "CREATE TABLE kept AS SELECT 42 AS answer")
    again = restart(cluster)
    assert again.pid != cluster.pid
    assert again.owner_url == cluster.owner_url
    assert ask(again, "SELECT answer FROM kept") == "42"


def test_a_committed_row_survives_a_kill(cluster: embedded.Cluster) -> None:
    ask(cluster, "CREATE TABLE survivor AS SELECT 7 AS number")
    os.kill(cluster.pid, signal.SIGKILL)
    again = embedded.start(data_directory=cluster.data_directory)
    assert again.pid != cluster.pid
    assert ask(again, "SELECT number FROM survivor") == "7"


def test_a_pid_file_that_names_another_process_is_no_server(cluster: embedded.Cluster) -> None:
    os.kill(cluster.pid, signal.SIGKILL)
    pid_file = cluster.data_directory / "cluster" / "postmaster.pid"
    stranger = subprocess.Popen(("/bin/sleep", "60"))
    try:
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert embedded.status(data_directory=cluster.data_directory) is None
        again = embedded.start(data_directory=cluster.data_directory)
        assert again.pid not in {cluster.pid, stranger.pid}
        assert stranger.poll() is None, "somebody else's process was ended"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_replaced_and_said_so(
    cluster: embedded.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    embedded.stop(data_directory=cluster.data_directory)
    with socket.create_server((LOOPBACK, cluster.port)):
        again = embedded.start(data_directory=cluster.data_directory)
    assert again.port != cluster.port
    assert f"port {cluster.port} is taken" in caplog.text
    assert restart(again).port == again.port


def test_stopping_twice_is_harmless(cluster: embedded.Cluster) -> None:
    assert embedded.stop(data_directory=cluster.data_directory)
    assert not embedded.stop(data_directory=cluster.data_directory)
    assert embedded.status(data_directory=cluster.data_directory) is None


def test_lost_passwords_are_explained(cluster: embedded.Cluster) -> None:
    path = cluster.data_directory / "passwords.json"
    content = path.read_text()
    path.unlink()
    try:
        with pytest.raises(embedded.EmbeddedPostgresError, match="nobody can log in without it"):
            embedded.start(data_directory=cluster.data_directory)
    finally:
        path.touch(mode=0o600)
        path.write_text(content)


def test_a_database_can_be_made_from_a_template_and_dropped(cluster: embedded.Cluster) -> None:
    ask(cluster, "CREATE TABLE model AS SELECT 5 AS size")
    url = cluster.owner_url
    embedded.create_database(owner_url=url, name="model")
    run_sql(url=embedded.url_for(url, "model"), script="CREATE TABLE inside ();")
    embedded.create_database(owner_url=url, name="copy", template="model")
    assert run_sql(url=embedded.url_for(url, "copy"), script="SELECT count(*) FROM inside;")
    for name in ("model", "copy", "never_there"):
        embedded.drop_database(owner_url=url, name=name)
    assert (
        ask(cluster, "SELECT count(*) FROM pg_database WHERE datname IN ('model', 'copy')") == "0"
    )


@pytest.mark.asvs("v5.0.0-1.2.4")
@pytest.mark.parametrize("name", ["", "Wallet", "a b", 'x"; DROP TABLE account; --'])
def test_a_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(embedded.EmbeddedPostgresError, match="is no name for a database"):
        embedded.create_database(owner_url="postgresql://nobody@127.0.0.1:1/none", name=name)


@pytest.mark.parametrize("kind", ["TABLE", "TEMPORARY TABLE", "SCHEMA"])
def test_the_application_creates_nothing(cluster: embedded.Cluster, kind: str) -> None:
    columns = "" if kind == "SCHEMA" else "()"
    with pytest.raises(embedded.EmbeddedPostgresError, match="permission denied"):
        run_sql(url=cluster.application_url, script=f"CREATE {kind} mine {columns};")


def test_an_interrupted_first_start_is_begun_anew_where_the_server_cannot_enter() -> None:
    with temporary_folder(mode=0o700) as folder:
        first = embedded.start(data_directory=folder)
        moved = (folder / "cluster").is_symlink()
        assert moved == (os.geteuid() == 0), "only root has to hand the cluster to somebody else"
        place = (folder / "cluster").resolve()
        embedded.stop(data_directory=folder)
        # As if the power had gone while initdb wrote.
        shutil.move(place, place.with_name("cluster.unfinished"))
        (place.with_name("cluster.unfinished") / "PG_VERSION").unlink()
        second = embedded.start(data_directory=folder)
        assert ask(second, "SELECT 1") == "1"
        assert second.data_directory == first.data_directory
        assert not place.with_name("cluster.unfinished").exists()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(embedded.EmbeddedPostgresError, match="cannot be made"):
        embedded.start(data_directory=tmp_path / "file" / "postgres")
