"""The project's own files, for tests that read them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_SKIPPED: Final = frozenset(
    {".data", ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv",
     "__pycache__", "build", "city_wallet.egg-info"}
)  # fmt: skip
_FOLDERS: Final = ("bench", "loadtests", "migrations", "tests", "wallet")


@cache
def project_files() -> tuple[Path, ...]:
    """Return all files of the project, what tools have made left out."""
    found = (path for path in ROOT.rglob("*") if _SKIPPED.isdisjoint(path.parts[len(ROOT.parts) :]))
    return tuple(sorted(path for path in found if path.is_file()))


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Return the Python files of the folders, or of all that hold code."""
    tops = {ROOT / folder for folder in folders or _FOLDERS}
    return tuple(
        path for path in project_files() if path.suffix == ".py" and tops.intersection(path.parents)
    )


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a file, inner ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every string of a file that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in statements:
            continue
        if isinstance(node.value, str):
            yield node.lineno, node.value


def short(path: Path) -> str:
    """Return the path as seen from the project's root."""
    return path.relative_to(ROOT).as_posix()
