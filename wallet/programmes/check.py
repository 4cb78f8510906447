"""Everything that stands against a draft, and the tables that go with it; pure."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

import msgspec

from wallet.programmes.legal import Finding, lint, open_findings
from wallet.programmes.legal_settings import LegalSettings
from wallet.programmes.life import what_falls
from wallet.programmes.problems import problems_of
from wallet.programmes.terms import ProgrammeDraft, Terms


class Check(msgspec.Struct, frozen=True):
    """Sentences on what a draft cannot be, and what the law's rules have found."""

    problems: list[str]
    findings: list[Finding]

    @property
    def open(self) -> bool:
        """Whether it cannot be approved."""
        return bool(self.problems or open_findings(self.findings))


class PurchaseLimit(msgspec.Struct, frozen=True):
    """How many sets somebody of a tier may have at once, and what these cost and are worth."""

    tier: str
    sets: int
    price_yen: int
    face_yen: int


def check_draft(
    draft: ProgrammeDraft,
    *,
    settings: LegalSettings,
    known_categories: Collection[str] = (),
    live: Terms | None = None,
) -> Check:
    """Return what stands against a draft; ``live`` are the terms it would take the place of."""
    problems = problems_of(draft, known_categories=known_categories)
    problems += _unknown_settings(draft, settings)
    if live is not None:
        problems += what_falls(live, draft)
    # The law is asked of what can be a programme; the rest would only confuse.
    return Check(problems, [] if problems else lint(draft, settings=settings))


def purchase_limits(terms: Terms, *, balances_yen: Mapping[str, int]) -> list[PurchaseLimit]:
    """Return how many sets each tier may buy, by what its wallets may hold (``balances_yen``)."""
    frame = terms.frame
    if frame is None:
        return []
    limits = []
    for tier, balance_yen in balances_yen.items():
        cap_yen = terms.caps.balance_yen
        room_yen = balance_yen if cap_yen is None else min(balance_yen, cap_yen)
        sets = min(frame.sets_per_person, room_yen // frame.face_yen)
        limits.append(PurchaseLimit(tier, sets, sets * frame.price_yen, sets * frame.face_yen))
    return limits


def _unknown_settings(draft: ProgrammeDraft, settings: LegalSettings) -> list[str]:
    problems = []
    for name in sorted(draft.confirmed - settings.settings.keys()):
        similar = get_close_matches(name, settings.settings, n=1)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        problems.append(f"confirmed: there is no setting {name!r}.{hint}")
    return problems
