"""Deny by default: every door asks for a key but for a short list, and says only what is known."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from tests.architecture.sources import functions, python_files, short
from tests.factories.city import make_city
from tests.factories.tills import Till, open_till
from tests.servers import Database
from wallet.api.catalogue import CATALOGUE

PUBLIC = {
    "/docs",
    "/docs/oauth2-redirect",
    "/errors",
    "/errors/{code}",
    "/livez",
    "/openapi.json",
    "/readyz",
    "/static-offline-docs",
    "/status",
}
"""What anybody may ask for: the documentation, the words of the errors, whether we live, and what
the city has stopped.
"""

REFUSALS = {"ProblemError", "Refusal"}
CODE = re.compile(r"[a-z]+(_[a-z]+)*")
NAMES_CODES = ("wallet/api/", "wallet/payments/", "wallet/merchants/authenticate.py")


def addresses_of(till: Till) -> set[tuple[str, str]]:
    """Return method and path of everything that a plane answers, the hot door included."""
    application = till.plane.application
    assert isinstance(application, FastAPI)
    found = {
        (method, context.path)
        for context in iter_route_contexts(application.routes)
        for method in getattr(context, "methods", None) or {"GET"}
        if context.path is not None
    }
    documented = {
        (method.upper(), path)
        for path, item in application.openapi()["paths"].items()
        for method in item
    }
    return found | documented


async def open_to_anybody(till: Till) -> set[str]:
    """Return the addresses that answer a stranger with anything but that he is one."""
    found = set()
    for method, path in addresses_of(till):
        if path in PUBLIC:
            continue
        concrete = re.sub(r"\{[^}]*\}", "a", path)
        response = await till.client.request(method, concrete, content=b"{}")
        if response.status_code != 401:
            found.add(f"{method} {path}")
    return found


@pytest.mark.asvs("v5.0.0-6.3.4")
@pytest.mark.asvs("v5.0.0-8.3.1")
@pytest.mark.asvs("v5.0.0-13.4.5")
async def test_nothing_but_the_public_pages_answers_a_stranger(module_database: Database) -> None:
    async with make_city(module_database.application_url) as city, open_till(city) as till:
        assert not await open_to_anybody(till)
        paths = {path for _, path in addresses_of(till)}
    assert {path for path in paths if not path.startswith("/v1/")} == PUBLIC
    assert "/v1/payments" in paths


async def forgetful(name: str) -> dict[str, str]:
    """Answer whoever asks."""
    return {"name": name}


async def test_a_door_that_forgets_to_ask_is_found(module_database: Database) -> None:
    async with make_city(module_database.application_url) as city, open_till(city) as till:
        assert isinstance(till.plane.application, FastAPI)
        till.plane.application.add_api_route("/v1/planted/{name}", forgetful)
        assert await open_to_anybody(till) == {"GET /v1/planted/{name}"}


def refusals_in(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that make a refusal."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id in REFUSALS:
            yield one


def codes_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the code of every refusal of a file.

    A code that is not written in the call itself is one of the texts of its function.
    """
    for call in refusals_in(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call.args[0], ast.Constant):
            yield call.lineno, str(call.args[0].value)
    for function in functions(path):
        computed = [
            call for call in refusals_in(function) if not isinstance(call.args[0], ast.Constant)
        ]
        texts = {
            node.value
            for node in ast.walk(function)
            if computed and isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        for text in texts:
            if CODE.fullmatch(text) and not text.endswith("_yen") and "_" in text:
                yield function.lineno, text


def unknown_codes_in(path: Path) -> list[str]:
    """Return the refusals of a file that the catalogue has no words for."""
    return [
        f"{short(path)}:{line} {code}" for line, code in codes_in(path) if code not in CATALOGUE
    ]


def test_every_code_that_a_door_can_meet_is_in_the_catalogue() -> None:
    paths = [path for path in python_files("wallet") if short(path).startswith(NAMES_CODES)]
    unknown = [place for path in paths for place in unknown_codes_in(path)]
    assert not unknown, "\n".join(unknown)


def test_every_code_of_the_catalogue_is_said_somewhere() -> None:
    said: set[str] = set()
    for path in python_files("wallet"):
        if path.name.startswith("catalogue"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        said.update(text for text in texts if isinstance(text, str))
    assert CATALOGUE.keys() <= said, sorted(CATALOGUE.keys() - said)


@pytest.mark.parametrize(
    "line",
    [
        'answer = Refusal("unheard_of")',
        'raise ProblemError("unheard_of", amount_yen=1)',
        'def refuse(code):\n    code = code or "unheard_of"\n    return Refusal(code)',
    ],
)
def test_a_code_without_words_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    monkeypatch.setattr("tests.architecture.sources.ROOT", tmp_path)
    path = tmp_path / "planted.py"
    path.write_text(f"{line}\n", encoding="utf-8")
    (found,) = unknown_codes_in(path)
    assert found.endswith(" unheard_of")
