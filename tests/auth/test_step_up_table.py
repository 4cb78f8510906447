"""The step-up table, cell by cell, with its bands; and that no careless edit of it is accepted."""

import pytest

from wallet.auth.rules import Acr, Band, Operation, Outcome, Requirement, Risk
from wallet.auth.step_up_document import PATH as PAGE
from wallet.auth.step_up_document import render_document
from wallet.auth.step_up_table import (
    PATH,
    StepUpTableError,
    read_table,
    requirement,
    severity,
    table,
)

ALL_OPEN = frozenset(Band)
DENY = "deny counter_hint"

# Operation, an amount inside the row, then low, medium, high, extreme.
CELLS = [
    ("shop", 5_000, "dev", "dev receipt", "pin/otp", DENY),
    ("shop", 15_000, "dev", "pin", "phr", DENY),
    ("shop", 40_000, "dev", "pin", "phr", DENY),
    ("shop", 80_000, "pin", "phr", "deny call_back", DENY),
    ("shop", 80_001, "counter", "counter", "deny call_back", DENY),
    ("gift", 5_000, "dev", "pin", "hold24 cancellable", DENY),
    ("gift", 15_000, "pin", "phr", "hold24 cancellable", DENY),
    ("gift", 15_001, "pin", "phr scam_warning", "hold72 cancellable review", DENY),
    ("gift_new_payee", 1, "pin", "phr scam_warning", "hold72 cancellable review", DENY),
    ("charge", 1_000, "pin three_d_secure", "phr three_d_secure daily_10000_yen",
     "hold24 spending_only review", DENY),
    ("sale", 65_000, "pin", "phr", "counter review", DENY),
    ("change_sign_in", 0, "phr cooling_off", "jpki cooling_off", "counter cooling_off", DENY),
    ("change_payout_account", 0, "phr four_eyes", "phr+24 four_eyes call_back",
     "hold72 four_eyes call_back review", "deny"),
    ("adjust", 500, "phr four_eyes", "phr four_eyes", "hold24 four_eyes review", "deny"),
]  # fmt: skip


def short(cell: Requirement) -> str:
    """Return a cell as the table above writes it."""
    said = {
        Outcome.STEP_UP: "/".join(cell.require) + (f"+{cell.hold_h}" if cell.hold_h else ""),
        Outcome.HOLD: f"hold{cell.hold_h}",
        Outcome.COUNTER: "counter",
        Outcome.DENY: "deny",
    }[cell.outcome]
    return " ".join([said, *cell.measures])


def ask(operation: str, amount_yen: int, risk: Risk, *bands: Band) -> str:
    """Return what is asked of an operation while these bands are open."""
    return short(
        requirement(
            operation=Operation(operation),
            amount_yen=amount_yen,
            risk=risk,
            bands_open=frozenset(bands),
        )
    )


@pytest.mark.asvs("v5.0.0-8.2.4")
@pytest.mark.parametrize(
    ("operation", "amount_yen", "risk", "expected"),
    [
        (operation, amount_yen, risk, cells[index])
        for operation, amount_yen, *cells in CELLS
        for index, risk in enumerate(Risk)
    ],
)
def test_each_cell_asks_what_was_decided(
    operation: str, amount_yen: int, risk: Risk, expected: str
) -> None:
    assert ask(operation, amount_yen, risk, *Band) == expected


def test_every_row_of_the_file_is_one_of_those() -> None:
    assert len(table()) == len(CELLS)


@pytest.mark.parametrize(
    ("amount_yen", "expected"),
    [(0, "dev"), (1, "dev"), (5_001, "dev"), (15_001, "dev"), (40_001, "pin"), (10**9, "counter")],
)
def test_a_row_begins_one_yen_above_the_last(amount_yen: int, expected: str) -> None:
    assert ask("shop", amount_yen, Risk.LOW, *Band) == expected


def test_a_negative_amount_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="not negative"):
        ask("shop", -1, Risk.LOW)


@pytest.mark.parametrize(
    ("bands", "low", "medium", "high"),
    [
        # What is asked of 5,000, 15,000, 40,000, 80,000 and 80,001 yen.
        ("ABC", "dev dev dev pin counter", "dev pin pin phr counter", "pin phr phr deny deny"),
        ("BC", "dev dev dev pin counter", "dev pin pin phr counter", "pin phr phr deny deny"),
        ("AB", "dev dev dev counter counter", "dev pin pin counter counter",
         "pin phr phr deny deny"),
        ("A", "dev dev pin counter counter", "dev pin phr counter counter",
         "pin phr deny deny deny"),
        ("C", "dev pin pin pin counter", "dev phr phr phr counter", "pin deny deny deny deny"),
        ("", "dev pin pin counter counter", "dev phr phr counter counter",
         "pin deny deny deny deny"),
    ],
)  # fmt: skip
def test_a_closed_band_asks_what_the_row_below_asks(
    bands: str, low: str, medium: str, high: str
) -> None:
    for risk, expected in ((Risk.LOW, low), (Risk.MEDIUM, medium), (Risk.HIGH, high)):
        asked = [
            ask("shop", amount_yen, risk, *map(Band, bands)).split()[0].split("/")[0]
            for amount_yen in (5_000, 15_000, 40_000, 80_000, 80_001)
        ]
        assert asked == expected.split(), risk


def test_closing_a_band_never_asks_for_less() -> None:
    for operation in Operation:
        for amount_yen in (1, 5_001, 15_001, 40_001, 80_001):
            for risk in Risk:
                asked = [
                    severity(
                        requirement(
                            operation=operation, amount_yen=amount_yen, risk=risk, bands_open=bands
                        )
                    )
                    for bands in (ALL_OPEN, {Band.A, Band.B}, {Band.A}, set[Band]())
                ]
                assert asked == sorted(asked), (operation, amount_yen, risk)


@pytest.mark.asvs("v5.0.0-16.5.3")
def test_no_cell_lets_anybody_through_for_nothing() -> None:
    for row in table():
        for risk in Risk:
            cell = row.cell(risk)
            assert cell.require or cell.hold_h or cell.counter or cell.deny


@pytest.mark.attack(6)
@pytest.mark.asvs("v5.0.0-7.5.1")
def test_changing_how_one_signs_in_takes_what_cannot_be_phished() -> None:
    for risk in Risk:
        cell = requirement(
            operation=Operation.CHANGE_SIGN_IN, amount_yen=0, risk=risk, bands_open=ALL_OPEN
        )
        assert set(cell.require) <= {Acr.PHR, Acr.JPKI}


FILE = PATH.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('operation = "adjust"', 'operation = "ajust"', "Invalid enum value 'ajust'"),
        ("up_to_yen = 5_000", 'up_to_yen = "5000"', "Expected `int"),
        ("medium =", "mediun =", "unknown field `mediun`"),
        ("[[row]]", "[row]", "cannot be read"),
        ("up_to_yen = 15_000\n", "up_to_yen = 5_000\n", "the amounts of shop do not rise"),
        ("up_to_yen = 80_000\n", "", "the amounts of shop do not rise"),
        ('operation = "sale"', 'operation = "sale"\nup_to_yen = 9', "sale has no last row"),
        ('operation = "sale"', 'operation = "charge"', "sale has no last row"),
        ('operation = "sale"', 'operation = "sale"\nband = "A"', "sale has a band and nothing"),
        ('low = { require = ["dev"], max_age_s = 300 }', "low = {}", "shop up to 5000, low: not"),
        ('low = { require = ["dev"], max_age_s = 300 }', 'low = { require = ["dev"] }', "not one"),
        ("max_age_s = 300 }", "max_age_s = 901 }", "not one of"),
        ("hold_h = 72", "hold_h = 97", "not one of"),
        ("{ deny = true", "{ deny = true, counter = true", "not one of"),
        ('medium = { require = ["jpki"], max_age_s = 600',
         'medium = { require = ["pin"], max_age_s = 600', "a higher risk asks for less"),
        ('band = "C"\nlow = { require = ["pin"]', 'band = "C"\nlow = { require = ["jpki"]',
         "a higher risk asks for less"),
        ("low = { counter = true }", 'low = { require = ["dev"], max_age_s = 300 }',
         "a higher amount asks for less"),
    ],
)  # fmt: skip
def test_a_careless_edit_stops_the_process_before_it_serves(
    old: str, new: str, problem: str
) -> None:
    assert old in FILE
    edited = FILE.replace(old, new, -1 if old == "[[row]]" else 1)
    with pytest.raises(StepUpTableError, match=problem):
        read_table(edited)


@pytest.mark.asvs("v5.0.0-8.1.3")
@pytest.mark.asvs("v5.0.0-8.1.4")
def test_the_page_says_what_the_file_says() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == render_document(), "run `python -m wallet.auth.step_up_document`"
