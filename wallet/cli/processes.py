"""``wallet migrate``, ``serve``, ``worker`` and ``run``: the processes of a city."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer
import uvicorn

from wallet.cli.demo import ShopsOption, WalletsOption, identity_key_path, seed, show
from wallet.core.clock import system_clock
from wallet.core.refusals import RefusedError
from wallet.core.runtime import Runtime, open_runtime
from wallet.demo.identity_client import client_key, settings_of
from wallet.demo.seed import SHOPS, WALLETS
from wallet.migrate import migrate
from wallet.planes import make_office, make_resident, make_till
from wallet.settings import read_settings
from wallet.worker import run_worker

STOPS_IN_S: Final = 20.0

_DEFAULTS: Final = read_settings()

HostOption = Annotated[str, typer.Option(envvar="WALLET_HOST", help="Address to listen on")]
PortOption = Annotated[
    int, typer.Option(envvar="WALLET_PORT", min=1, max=65535, help="Port to listen on")
]


def migrate_command() -> None:
    """Bring the database to the newest schema."""
    with open_runtime() as runtime:
        migrate(owner_url=runtime.owner_url)


class Plane(StrEnum):
    """What one process serves."""

    TILL = "till"
    RESIDENT = "resident"
    OFFICE = "office"


_MAKERS: Final[Mapping[Plane, Callable[..., Any]]] = MappingProxyType(
    {Plane.TILL: make_till, Plane.RESIDENT: make_resident, Plane.OFFICE: make_office}
)

# Where they share cores, payments go first, whatever a crowd asks of the others.
_NICENESS: Final[Mapping[Plane, int]] = MappingProxyType(
    {Plane.TILL: 0, Plane.RESIDENT: 5, Plane.OFFICE: 5}
)

PlaneOption = Annotated[Plane, typer.Option(help="Which doors: a process serves one plane")]


def serve(
    *,
    plane: PlaneOption = Plane.TILL,
    host: HostOption = _DEFAULTS.host,
    port: PortOption = _DEFAULTS.port,
) -> None:
    """Serve one plane until interrupted; requests under way are finished first."""
    _require_free(host, port)
    with open_runtime() as runtime:
        _serve(runtime, plane, host=host, port=port)


def _require_free(host: str, port: int) -> None:
    """Refuse before any work when the port is taken, most often by the same city."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            problem = (
                f"{error.strerror}. Is it running already? Another port: WALLET_PORT={port + 1}"
            )
            raise RefusedError("port_unavailable", host=host, port=port, problem=problem) from None


def _serve(runtime: Runtime, plane: Plane, *, host: str, port: int) -> None:
    os.nice(_NICENESS[plane])
    application = _MAKERS[plane](
        runtime.settings, database_url=runtime.database_url, pepper=runtime.pepper
    )
    # What there is now stays. Left in sight of the collector, it would be walked through every few
    # seconds, and all payments would wait for that, 50 ms and more.
    gc.collect()
    gc.freeze()
    proxies = runtime.settings.trusted_proxies
    uvicorn.run(application, **server_config(host=host, port=port, trusted_proxies=proxies))


def server_config(*, host: str, port: int, trusted_proxies: str = "") -> dict[str, Any]:
    """Return how the server runs; it logs through the process's own handler, which scrubs.

    ``trusted_proxies`` are those whose word on a caller's address counts, with commas between.
    """
    return {
        "host": host,
        "port": port,
        "loop": "uvloop",
        "http": "httptools",
        "access_log": False,
        "proxy_headers": bool(trusted_proxies),
        "forwarded_allow_ips": trusted_proxies,
        "server_header": False,
        "log_config": None,
        "log_level": "warning",
        "timeout_graceful_shutdown": 15,
        "backlog": 2048,
    }


def worker() -> None:
    """Seal the ledger, release holds that have run out, forget old attempts; until interrupted."""
    with open_runtime() as runtime:
        asyncio.run(run_worker(database_url=runtime.database_url, clock=system_clock))


def run(
    *,
    host: HostOption = _DEFAULTS.host,
    port: PortOption = _DEFAULTS.port,
    wallets: WalletsOption = WALLETS,
    shops: ShopsOption = SHOPS,
) -> None:
    """Start everything: database, schema, city, worker, planes; and say what to try.

    The till listens on the port, the residents' plane on the next, the office's on the one after
    that, and a made-up identity app on the last.
    """
    ports = range(port, port + 4)
    for one in ports:
        _require_free(host, one)
    with open_runtime() as runtime, ExitStack() as beside:
        migrate(owner_url=runtime.owner_url)
        summary = seed(runtime, wallets=wallets, shops=shops)
        show(summary, f"http://{host}:{port}")
        client_key(identity_key_path())
        issuer = f"http://127.0.0.1:{ports[3]}"
        identity = settings_of(issuer=issuer, key_path=identity_key_path())
        for arguments in (
            ("worker",),
            ("demo", "identity-app", f"--port={ports[3]}"),
            ("serve", "--plane=resident", f"--host={host}", f"--port={ports[1]}"),
            ("serve", "--plane=office", f"--host={host}", f"--port={ports[2]}"),
        ):
            beside.enter_context(_beside(runtime, arguments, identity))
        _serve(runtime, Plane.TILL, host=host, port=port)


@contextmanager
def _beside(runtime: Runtime, arguments: Sequence[str], more: Mapping[str, str]) -> Iterator[None]:
    """Run another process of the city beside the till, as they are apart everywhere."""
    environment = {
        **os.environ,
        **more,
        "DATABASE_URL": runtime.database_url,
        "WALLET_PEPPER": runtime.pepper.decode(),
    }
    command = (str(Path(sys.executable).with_name("wallet")), *arguments)
    # In a session of its own, so that Ctrl-C reaches the till first and the others by their parent.
    process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - our own command
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=STOPS_IN_S)
