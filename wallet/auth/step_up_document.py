"""The step-up table as a page: ``python -m wallet.auth.step_up_document`` writes it.

What the system asks of people is public, and nobody should have to read TOML for it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

from wallet.auth.rules import (
    CLASSES_OF,
    INCLUDED,
    Acr,
    Measure,
    Operation,
    Outcome,
    Requirement,
    Risk,
    Row,
)
from wallet.auth.step_up_table import table

PATH: Final = Path(__file__).parents[2] / "docs" / "security" / "step-up.md"

_OPERATIONS: Final = MappingProxyType(
    {
        Operation.SHOP: "Payment in a shop",
        Operation.GIFT: "Gift to a known payee",
        Operation.GIFT_NEW_PAYEE: "Gift to a new payee",
        Operation.CHARGE: "Charge from a card",
        Operation.SALE: "Voucher: apply, buy",
        Operation.CHANGE_SIGN_IN: "Device, factor, contact, recovery",
        Operation.CHANGE_PAYOUT_ACCOUNT: "Merchant's payout account",
        Operation.ADJUST: "Late or larger refund, correction by staff",
    }
)

_ACRS: Final = MappingProxyType(
    {
        Acr.DEV: "nothing: the phone signs each request with its device key",
        Acr.PIN: "the app's PIN, or a finger or face that releases the phone's second key",
        Acr.OTP: "a code from an authenticator, beside a PIN or a password",
        Acr.PHR: "a passkey with user verification, over a challenge made of the operation",
        Acr.JPKI: "the national identity app, or the counter with a document",
    }
)

_MEASURES: Final = MappingProxyType(
    {
        Measure.CALL_BACK: "call back on the registered number",
        Measure.CANCELLABLE: "may be cancelled meanwhile",
        Measure.COOLING_OFF: "12 h cooling-off",
        Measure.COUNTER_HINT: "reason and counter told",
        Measure.DAILY_10000_YEN: "10,000 yen a day for 72 h",
        Measure.FOUR_EYES: "two people",
        Measure.RECEIPT: "receipt pushed",
        Measure.REVIEW: "reviewed, released sooner when cleared",
        Measure.SCAM_WARNING: "warning about scams",
        Measure.SPENDING_ONLY: "only spending of it is held",
        Measure.THREE_D_SECURE: "3-D Secure",
    }
)

_HEAD: Final = """\
# Step-up: what is asked, and when

Written by `python -m wallet.auth.step_up_document` from `wallet/auth/step_up.toml`, which is the
policy itself; do not edit this page. OWASP ASVS 5.0 asks for such a page (v5.0.0-8.1.3 and 8.1.4).

Zero prompts is not zero authentication: where a cell says `dev`, the phone has signed the request
with a key that cannot leave it. Nobody is let through because nothing is enrolled: who has no
factor that reaches the level is refused, and is shown the way to one (identity app, counter).

## Levels

"""

_RISKS: Final = """
Factor classes are knowledge, possession, inherence and proofing. A level follows from the
*distinct* classes shown within the cell's age, so one class twice is one class: a recovery code
raises nothing, and a TOTP by itself is no level.

## Table

Risk is read from `p`, the calibrated probability of fraud, and `EL`, p times the yen that could not
be got back: *low* is EL below 1 yen and p below 0.2 %; *medium* p to 2 % or EL to 50 yen; *high* p
to 20 % or EL above; *extreme* beyond, or a hard rule. Ages are in seconds.

"""

_TAIL: Final = """
A band is open while the upper 95 % bound of the 90-day fraud rate of shop payments is below 0.13 %
(A), 0.06 % (B) or 0.01 % (C). The row of a closed band gives way to the row below it, and on down
to the last band's; only amounts of the last band itself go to the counter. Before there is a
history all bands are closed.

Where several levels are named any one will do, and a higher level always does.
"""


def render_document() -> str:
    """Return the page."""
    return "".join((_HEAD, *_levels(), _RISKS, *_table(), _TAIL))


def _levels() -> Iterator[str]:
    yield "| acr | what one does | stands in for |\n| --- | --- | --- |\n"
    for acr, doing in _ACRS.items():
        others = ", ".join(f"`{other}`" for other in Acr if other in INCLUDED[acr] - {acr})
        yield f"| `{acr}` | {doing} | {others or '–'} |\n"
    yield "\n| method | classes |\n| --- | --- |\n"
    for method, classes in CLASSES_OF.items():
        yield f"| {_words(method)} | {', '.join(classes)} |\n"


def _table() -> Iterator[str]:
    risks = " | ".join(Risk)
    yield f"| operation | amount | band | {risks} |\n|{' --- |' * (3 + len(Risk))}\n"
    above_yen: dict[Operation, int] = {}
    for row in table():
        cells = " | ".join(_cell(row.cell(risk)) for risk in Risk)
        amount = _amount(row, above_yen.get(row.operation, 0))
        above_yen[row.operation] = row.up_to_yen or 0
        yield f"| {_OPERATIONS[row.operation]} | {amount} | {row.band or '–'} | {cells} |\n"


def _amount(row: Row, above_yen: int) -> str:
    if row.up_to_yen is None:
        return f"above {above_yen:,}" if above_yen else "any"
    return f"to {row.up_to_yen:,}"


def _cell(cell: Requirement) -> str:
    said = {
        Outcome.STEP_UP: f"{' or '.join(f'`{acr}`' for acr in cell.require)} ({cell.max_age_s})",
        Outcome.HOLD: f"hold {cell.hold_h} h",
        Outcome.COUNTER: "counter",
        Outcome.DENY: "deny",
    }[cell.outcome]
    delay = [f"then {cell.hold_h} h"] if cell.require and cell.hold_h else []
    return "; ".join([said, *delay, *(_MEASURES[measure] for measure in cell.measures)])


def _words(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(render_document(), encoding="utf-8")
    sys.stdout.write(f"{PATH}\n")
