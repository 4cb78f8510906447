"""``wallet``: everything operations does from a shell. Every human report has a ``--json`` twin."""

import asyncio
import gc
import getpass
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
import typer
import uvicorn
from rich.console import Console
from rich.progress import Progress
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core import embedded
from wallet.core.clock import system_clock
from wallet.core.database import make_engine, read, write
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.runtime import MissingPepperError, Runtime, open_runtime
from wallet.demo.invite import invite
from wallet.demo.reset import reset_demo
from wallet.demo.seed import SHOPS, WALLETS, DemoSummary, seed_demo
from wallet.ledger import seal
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.revoke_api_key import revoke_api_key
from wallet.migrate import migrate
from wallet.ops import stop
from wallet.payments.issue_codes import issue_codes
from wallet.planes import make_till
from wallet.proof import prove, render
from wallet.replay.render import render_replay
from wallet.replay.replay import CONCURRENCY, ReplaySummary, replay
from wallet.settings import read_settings
from wallet.worker import run_worker

T = TypeVar("T")

application = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="A city's digital money."
)
stops = typer.Typer(no_args_is_help=True, help="Stop money, and let it flow again.")
ledger = typer.Typer(no_args_is_help=True, help="Prove every yen.")
demo = typer.Typer(no_args_is_help=True, help="A demonstration city.")
codes = typer.Typer(no_args_is_help=True, help="One-time payment codes.")
keys = typer.Typer(no_args_is_help=True, help="API keys of merchants.")
database = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL.")
for name, group in (
    ("stop", stops),
    ("ledger", ledger),
    ("demo", demo),
    ("code", codes),
    ("key", keys),
    ("database", database),
):
    application.add_typer(group, name=name)

WORKER_STOPS_IN_S = 15.0

console = Console()
_DEFAULTS = read_settings()

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of a report.")]
ScopeOption = Annotated[str, typer.Option(help="all, pay, issue, programme:CODE, merchant:HEX")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept for ever beside the name of who did it")]
HostOption = Annotated[str, typer.Option(envvar="WALLET_HOST", help="Address to listen on")]
PortOption = Annotated[
    int, typer.Option(envvar="WALLET_PORT", min=1, max=65535, help="Port to listen on")
]
WalletsOption = Annotated[int, typer.Option(envvar="DEMO_WALLETS", min=1, max=1_000_000)]
ShopsOption = Annotated[int, typer.Option(envvar="DEMO_SHOPS", min=1, max=100_000)]


def main() -> None:
    """Run the command line; what is refused becomes clear words and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Whatever was started must be stopped on the way out, also when a supervisor ends us.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        application()
    except RefusedError as error:
        sys.stderr.write(_explain(error.refusal))
        raise SystemExit(1) from None
    except (MissingPepperError, embedded.EmbeddedPostgresError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def _explain(refusal: Refusal) -> str:
    """Return the refusal for a person at a shell: its code, each fact, each problem on a line."""
    facts = dict(refusal.facts)
    problems = facts.pop("problems", None) or [facts.pop("problem", None)]
    told = ", ".join(f"{fact}={value}" for fact, value in facts.items())
    lines = [f"refused: {refusal.code}" + (f" ({told})" if told else "")]
    lines += [f"  {problem}" for problem in problems if problem]
    return "\n".join(lines) + "\n"


def with_engine(work: Callable[[AsyncEngine, Runtime], Awaitable[T]]) -> T:
    """Run ``work`` with an engine for the application's role, and dispose of it."""
    with open_runtime() as runtime:
        return asyncio.run(_with_engine(work, runtime))


async def _with_engine(work: Callable[[AsyncEngine, Runtime], Awaitable[T]], runtime: Runtime) -> T:
    engine = make_engine(runtime.database_url, pool_size=4, application_name="wallet-cli")
    try:
        return await work(engine, runtime)
    finally:
        await engine.dispose()


def emit(value: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    """Print ``value`` as one line of JSON, or the sentence for people."""
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(sentence + "\n")


def _id(prefix: str, text: str) -> UUID:
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        raise RefusedError("id_invalid", expected=f"{prefix}_ and 32 hex digits", got=text[:40])
    return parsed


@application.command("migrate")
def migrate_command() -> None:
    """Bring the database to the newest schema."""
    with open_runtime() as runtime:
        migrate(owner_url=runtime.owner_url)


@application.command()
def serve(*, host: HostOption = _DEFAULTS.host, port: PortOption = _DEFAULTS.port) -> None:
    """Serve the till plane until interrupted; requests under way are finished first."""
    _require_free(host, port)
    with open_runtime() as runtime:
        _serve(runtime, host=host, port=port)


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


def _serve(runtime: Runtime, *, host: str, port: int) -> None:
    plane = make_till(runtime.settings, database_url=runtime.database_url, pepper=runtime.pepper)
    # What there is now stays. Left in sight of the collector, it would be walked through every few
    # seconds, and all payments would wait for that, 50 ms and more.
    gc.collect()
    gc.freeze()
    uvicorn.run(
        plane,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=15,
        backlog=2048,
    )


@application.command()
def worker() -> None:
    """Seal the ledger and release holds that have run out, until interrupted."""
    with open_runtime() as runtime:
        asyncio.run(run_worker(database_url=runtime.database_url, clock=system_clock))


@application.command()
def run(
    *,
    host: HostOption = _DEFAULTS.host,
    port: PortOption = _DEFAULTS.port,
    wallets: WalletsOption = WALLETS,
    shops: ShopsOption = SHOPS,
) -> None:
    """Start everything: database, schema, city, worker, till; and say what to try."""
    _require_free(host, port)
    with open_runtime() as runtime:
        migrate(owner_url=runtime.owner_url)
        summary = _seed(runtime, wallets=wallets, shops=shops)
        _show(summary, f"http://{host}:{port}")
        with _worker_process(runtime):
            _serve(runtime, host=host, port=port)


@contextmanager
def _worker_process(runtime: Runtime) -> Iterator[None]:
    """Run the worker beside the till, in a process of its own as everywhere."""
    environment = {
        **os.environ,
        "DATABASE_URL": runtime.database_url,
        "WALLET_PEPPER": runtime.pepper.decode(),
    }
    command = (Path(sys.executable).with_name("wallet"), "worker")
    # In a session of its own, so that Ctrl-C reaches the till first and the worker by its parent.
    process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - our own command
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=WORKER_STOPS_IN_S)


def _seed(runtime: Runtime, *, wallets: int, shops: int) -> DemoSummary:
    async def work(engine: AsyncEngine, runtime: Runtime) -> DemoSummary:
        with Progress(console=Console(stderr=True)) as progress:
            return await seed_demo(
                engine=engine,
                database_url=runtime.database_url,
                pepper=runtime.pepper,
                livemode=runtime.settings.livemode,
                secrets_path=_secrets_path(runtime),
                clock=system_clock,
                progress=progress,
                wallets=wallets,
                shops=shops,
            )

    return asyncio.run(_with_engine(work, runtime))


def _secrets_path(runtime: Runtime) -> Path:
    return runtime.settings.data_directory / "demo.json"


def _show(summary: DemoSummary, address: str) -> None:
    sys.stdout.write(invite(summary, address=address) + "\n")
    sys.stdout.flush()


@demo.command("seed")
def demo_seed(
    *, wallets: WalletsOption = WALLETS, shops: ShopsOption = SHOPS, as_json: JsonOption = False
) -> None:
    """Seed the demonstration city, or find it seeded, and say what to try."""
    with open_runtime() as runtime:
        migrate(owner_url=runtime.owner_url)
        summary = _seed(runtime, wallets=wallets, shops=shops)
    _tell_summary(summary, as_json=as_json)


def _tell_summary(summary: DemoSummary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        settings = read_settings()
        _show(summary, f"http://{settings.host}:{settings.port}")


@demo.command("reset")
def demo_reset(
    *, wallets: WalletsOption = WALLETS, shops: ShopsOption = SHOPS, as_json: JsonOption = False
) -> None:
    """Throw the demonstration city away and make a fresh one; only in the embedded database."""
    if read_settings().database_url:
        raise RefusedError("demo_reset_only_embedded")
    with open_runtime() as runtime:
        asyncio.run(
            reset_demo(
                owner_url=runtime.owner_url,
                secrets_path=_secrets_path(runtime),
                livemode=runtime.settings.livemode,
            )
        )
        migrate(owner_url=runtime.owner_url)
        summary = _seed(runtime, wallets=wallets, shops=shops)
    _tell_summary(summary, as_json=as_json)


@codes.command("issue")
def code_issue(
    wallet_id: Annotated[str, typer.Argument(help="wal_ and 32 hex digits")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Issue a one-time code for a wallet, as its phone would show it; good for five minutes."""
    parsed = _id("wal", wallet_id)

    async def work(engine: AsyncEngine, runtime: Runtime) -> list[str]:
        return await issue_codes(
            engine, wallet_ids=[parsed], pepper=runtime.pepper, now_us=system_clock()
        )

    (code,) = with_engine(work)
    emit({"type": "cpm_code", "value": code}, code, as_json=as_json)


@keys.command("issue")
def key_issue(
    merchant_id: Annotated[str, typer.Argument(help="mer_ and 32 hex digits")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Issue an API key for a merchant; it is shown this once."""
    parsed = _id("mer", merchant_id)

    async def work(engine: AsyncEngine, runtime: Runtime) -> dict[str, str]:
        issued = await issue_api_key(
            engine,
            merchant_id=parsed,
            livemode=runtime.settings.livemode,
            pepper=runtime.pepper,
            now_us=system_clock(),
        )
        return {"id": public_id("key", issued.id), "key": issued.key}

    issued = with_engine(work)
    emit(issued, f"{issued['key']}\nto revoke: wallet key revoke {issued['id']}", as_json=as_json)


@keys.command("revoke")
def key_revoke(
    key_id: Annotated[str, typer.Argument(help="key_ and 32 hex digits")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Revoke an API key; within five seconds no process takes it any more."""
    parsed = _id("key", key_id)

    async def work(engine: AsyncEngine, _: Runtime) -> bool:
        return await revoke_api_key(engine, key_id=parsed, now_us=system_clock())

    changed = with_engine(work)
    sentence = "Revoked." if changed else "It was revoked before."
    emit({"id": key_id, "changed": changed}, sentence, as_json=as_json)


def _change_stop(action: Callable[..., Awaitable[bool]], scope: str, reason: str) -> bool:
    async def work(engine: AsyncEngine, _: Runtime) -> bool:
        async def change(connection: AsyncConnection) -> bool:
            return await action(
                connection,
                scope=scope,
                reason=reason,
                actor=getpass.getuser(),
                now_us=system_clock(),
            )

        return await write(engine, change)

    return with_engine(work)


@stops.command("engage")
def stop_engage(*, scope: ScopeOption, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """Stop money in a scope; once this returns, no later batch commits any of it."""
    changed = _change_stop(stop.engage, scope, reason)
    sentence = f"Stopped: {scope}" if changed else f"Was stopped already: {scope}"
    emit({"scope": scope, "engaged": True, "changed": changed}, sentence, as_json=as_json)


@stops.command("release")
def stop_release(*, scope: ScopeOption, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """Let money in a scope flow again."""
    changed = _change_stop(stop.release, scope, reason)
    sentence = f"Flows again: {scope}" if changed else f"Was not stopped: {scope}"
    emit({"scope": scope, "engaged": False, "changed": changed}, sentence, as_json=as_json)


@stops.command("status")
def stop_status(*, as_json: JsonOption = False) -> None:
    """Show what is stopped right now."""

    async def work(engine: AsyncEngine, _: Runtime) -> list[str]:
        async with read(engine) as connection:
            return await stop.engaged_scopes(connection)

    scopes = with_engine(work)
    sentence = "Stopped: " + ", ".join(scopes) if scopes else "Nothing is stopped."
    emit({"engaged": scopes}, sentence, as_json=as_json)


@ledger.command("verify")
def ledger_verify(
    *,
    seals: Annotated[bool, typer.Option("--seal", help="Check the hash chain too")] = False,
    as_json: JsonOption = False,
) -> None:
    """Recompute every balance and every invariant from the transfers; exit 1 on any difference."""
    proof = with_engine(lambda engine, _: prove(engine, now_us=system_clock(), seals=seals))
    if as_json:
        sys.stdout.write(json.dumps(proof.as_dict(), ensure_ascii=False) + "\n")
    else:
        render(proof, console)
    raise typer.Exit(0 if proof.ok else 1)


@ledger.command("seal")
def ledger_seal(*, as_json: JsonOption = False) -> None:
    """Chain a hash over every transfer that is old enough and not yet sealed."""

    async def work(engine: AsyncEngine, _: Runtime) -> list[seal.Seal]:
        sealed = []
        while (one := await seal.seal(engine, now_us=system_clock())) is not None:
            sealed.append(one)
        return sealed

    sealed = with_engine(work)
    transfers = sum(one.transfers for one in sealed)
    head = sealed[-1].hash.hex() if sealed else None
    sentence = f"Sealed {transfers:,} transfers; head {head}" if sealed else "Nothing to seal yet."
    emit({"ranges": len(sealed), "transfers": transfers, "head": head}, sentence, as_json=as_json)


@application.command("replay")
def replay_command(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet")],
    *,
    payments: Annotated[int | None, typer.Option(min=1, help="Only the first N payments")] = None,
    concurrency: Annotated[int, typer.Option(help="Payments under way at a time")] = CONCURRENCY,
    short_every: Annotated[int, typer.Option(min=0, help="Leave every Nth wallet short")] = 0,
    address: Annotated[str, typer.Option(help="Where the till listens")] = "",
    as_json: JsonOption = False,
) -> None:
    """Replay card payments through the running till, and prove that every one is in the ledger."""
    settings = read_settings()

    async def work(engine: AsyncEngine, runtime: Runtime) -> ReplaySummary:
        with Progress(console=Console(stderr=True)) as progress:
            return await replay(
                file,
                engine=engine,
                database_url=runtime.database_url,
                pepper=runtime.pepper,
                livemode=runtime.settings.livemode,
                clock=system_clock,
                progress=progress,
                payments_max=payments,
                concurrency=concurrency,
                short_every=short_every,
                base_url=address or f"http://{settings.host}:{settings.port}",
            )

    summary = with_engine(work)
    if as_json:
        sys.stdout.write(json.dumps(summary.as_dict(), ensure_ascii=False) + "\n")
    else:
        render_replay(summary, console)
    raise typer.Exit(0 if summary.ok else 1)


@database.command("start")
def database_start() -> None:
    """Start the embedded PostgreSQL and leave it running."""
    server = embedded.start(data_directory=read_settings().data_directory / "postgres")
    console.print(server.application_url.rpartition("@")[2], highlight=False)


@database.command("stop")
def database_stop() -> None:
    """Stop the embedded PostgreSQL."""
    stopped = embedded.stop(data_directory=read_settings().data_directory / "postgres")
    console.print("Stopped." if stopped else "It was not running.")


@database.command("status")
def database_status() -> None:
    """Say whether the embedded PostgreSQL runs, and where."""
    server = embedded.status(data_directory=read_settings().data_directory / "postgres")
    console.print(
        "Not running." if server is None else server.application_url.rpartition("@")[2],
        highlight=False,
    )
