"""``wallet``: everything operations does from a shell. Every human report has a ``--json`` twin.

One file for each group of commands; what they share is in ``shell.py``.
"""

import signal
import sys

import typer

from wallet.cli.audit import group as audit
from wallet.cli.benefits import group as benefits
from wallet.cli.campaigns import group as campaigns
from wallet.cli.codes import group as codes
from wallet.cli.database import group as database
from wallet.cli.demo import group as demo
from wallet.cli.incidents import group as incidents
from wallet.cli.keys import group as keys
from wallet.cli.ledger import group as ledger
from wallet.cli.numbers import numbers_command
from wallet.cli.processes import migrate_command, run, serve, worker
from wallet.cli.programmes import group as programmes
from wallet.cli.receipts import group as receipts
from wallet.cli.refunds import group as refunds
from wallet.cli.replay import replay_command
from wallet.cli.shell import explain
from wallet.cli.staff import group as staff
from wallet.cli.stops import group as stops
from wallet.core.embedded import EmbeddedPostgresError
from wallet.core.refusals import RefusedError
from wallet.core.runtime import MissingPepperError
from wallet.core.scrub import begin_logging

application = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="A city's digital money."
)
application.command("migrate")(migrate_command)
application.command("serve")(serve)
application.command("worker")(worker)
application.command("run")(run)
application.command("replay")(replay_command)
application.command("numbers")(numbers_command)
for name, group in (
    ("stop", stops),
    ("incident", incidents),
    ("staff", staff),
    ("audit", audit),
    ("ledger", ledger),
    ("programme", programmes),
    ("refund", refunds),
    ("receipts", receipts),
    ("campaign", campaigns),
    ("benefit", benefits),
    ("demo", demo),
    ("code", codes),
    ("key", keys),
    ("database", database),
):
    application.add_typer(group, name=name)


def main() -> None:
    """Run the command line; what is refused becomes clear words and exit status 1."""
    begin_logging()
    # Whatever was started must be stopped on the way out, also when a supervisor ends us.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        application()
    except RefusedError as error:
        sys.stderr.write(explain(error.refusal))
        raise SystemExit(1) from None
    except (MissingPepperError, EmbeddedPostgresError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
