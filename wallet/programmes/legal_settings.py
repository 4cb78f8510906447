"""The law's rules and settings, read from ``legal.toml`` once and checked.

The file is the policy. What is checked here is that it is whole: every rule once and in order,
every setting of a rule that there is, and a number wherever one is calculated with.
"""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

PATH: Final = Path(__file__).with_name("legal.toml")

RULES: Final = tuple(f"L-{number}" for number in range(1, 32))

NUMBERS: Final = frozenset(
    {
        "L-3.unused_yen",
        "L-3.alarm_percent",
        "L-8.issued_percent",
        "L-8.unused_percent",
        "L-11.transfer_yen",
        "L-12.transfer_yen",
        "L-12.month_yen",
        "L-14.small_price_yen",
        "L-14.small_premium_yen",
        "L-14.percent",
    }
)
"""The settings that something is calculated with."""


class LegalSettingsError(ValueError):
    """The file cannot be used; the message says what is wrong."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule of the law: its source and plain words, in Japanese.

    ``held_by`` is ``terms`` where a programme's terms are checked, or the module that holds it.
    """

    id: str
    source: str
    title: str
    plain: str
    held_by: str


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A number, or without ``value`` an assurance; and whether it is confirmed for everything."""

    name: str
    rule: str
    plain: str
    value: int | None = None
    confirmed: bool


class LegalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The rules and settings by their names.

    With ``kyc_regime`` the city identifies whoever gives, and gifts may be higher (L-12).
    """

    rules: Mapping[str, Rule]
    settings: Mapping[str, Setting]
    kyc_regime: bool = False

    def number(self, name: str) -> int:
        """Return the value of a setting that is one of :data:`NUMBERS`."""
        value = self.settings[name].value
        if value is None:
            raise KeyError(name)
        return value


class _File(msgspec.Struct, forbid_unknown_fields=True):
    rule: list[Rule]
    setting: list[Setting]
    kyc_regime: bool = False


@cache
def legal_settings() -> LegalSettings:
    """Return the policy; reads the file on the first call only."""
    return read_legal_settings(PATH.read_text(encoding="utf-8"))


def read_legal_settings(toml: str) -> LegalSettings:
    """Return the policy in a TOML document; raises :class:`LegalSettingsError`."""
    try:
        read = msgspec.convert(tomllib.loads(toml), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"the law's settings cannot be read: {error}"
        raise LegalSettingsError(message) from None
    problems = list(_problems(read))
    if problems:
        raise LegalSettingsError("; ".join(problems))
    return LegalSettings(
        rules=MappingProxyType({rule.id: rule for rule in read.rule}),
        settings=MappingProxyType({setting.name: setting for setting in read.setting}),
        kyc_regime=read.kyc_regime,
    )


def _problems(read: _File) -> Iterator[str]:
    if tuple(rule.id for rule in read.rule) != RULES:
        yield f"the rules are {RULES[0]} to {RULES[-1]}, each once and in order"
    names = [setting.name for setting in read.setting]
    if len(set(names)) < len(names):
        yield "a setting is there twice"
    for setting in read.setting:
        if setting.rule not in RULES or not setting.name.startswith(f"{setting.rule}."):
            yield f"the setting {setting.name} is of no rule"
        if setting.value is not None and setting.value < 0:
            yield f"the setting {setting.name} is negative"
    with_value = {setting.name for setting in read.setting if setting.value is not None}
    for name in sorted(NUMBERS - with_value):
        yield f"the setting {name} needs a value"
