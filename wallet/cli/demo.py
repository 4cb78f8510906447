"""``wallet demo``: a demonstration city."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.demo_campaign import demo_campaign
from wallet.cli.shell import JsonOption, work_with_engine
from wallet.core.clock import system_clock
from wallet.core.refusals import RefusedError
from wallet.core.runtime import Runtime, open_runtime
from wallet.demo.fake_identity_app import serve_fake
from wallet.demo.identity_client import CLIENT_ID, REDIRECT_URL, client_key
from wallet.demo.invite import invite
from wallet.demo.reset import reset_demo
from wallet.demo.seed import SHOPS, WALLETS, DemoSummary, seed_demo
from wallet.migrate import migrate
from wallet.settings import read_settings

group = typer.Typer(no_args_is_help=True, help="A demonstration city.")
group.command("campaign")(demo_campaign)

WalletsOption = Annotated[int, typer.Option(envvar="DEMO_WALLETS", min=1, max=1_000_000)]
ShopsOption = Annotated[int, typer.Option(envvar="DEMO_SHOPS", min=1, max=100_000)]


def seed(runtime: Runtime, *, wallets: int, shops: int) -> DemoSummary:
    """Seed the city, or find it seeded, and show on standard error how far it is."""

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

    return asyncio.run(work_with_engine(work, runtime))


def _secrets_path(runtime: Runtime) -> Path:
    return runtime.settings.data_directory / "demo.json"


def show(summary: DemoSummary, address: str) -> None:
    """Say what to try in the city whose till is at ``address``."""
    sys.stdout.write(invite(summary, address=address) + "\n")
    sys.stdout.flush()


@group.command("seed")
def demo_seed(
    *, wallets: WalletsOption = WALLETS, shops: ShopsOption = SHOPS, as_json: JsonOption = False
) -> None:
    """Seed the demonstration city, or find it seeded, and say what to try."""
    with open_runtime() as runtime:
        migrate(owner_url=runtime.owner_url)
        summary = seed(runtime, wallets=wallets, shops=shops)
    _tell_summary(summary, as_json=as_json)


def _tell_summary(summary: DemoSummary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        settings = read_settings()
        show(summary, f"http://{settings.host}:{settings.port}")


@group.command("reset")
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
        summary = seed(runtime, wallets=wallets, shops=shops)
    _tell_summary(summary, as_json=as_json)


def identity_key_path() -> Path:
    """Return where the demonstration's key for its identity app is."""
    return read_settings().data_directory / "identity-client.pem"


@group.command("identity-app")
def demo_identity_app(
    *, port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback")]
) -> None:
    """Serve a made-up identity app until interrupted; it asks who one pretends to be."""
    if read_settings().livemode:
        raise RefusedError("demo_in_live_mode")
    asyncio.run(_serve_identity_app(port))


async def _serve_identity_app(port: int) -> None:
    async with serve_fake(
        client_id=CLIENT_ID,
        client_key=client_key(identity_key_path()),
        redirect_urls=frozenset({REDIRECT_URL}),
        port=port,
    ):
        await asyncio.Event().wait()
