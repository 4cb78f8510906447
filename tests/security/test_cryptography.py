"""Cryptography as the source has it: few algorithms, all in the inventory, secrets not compared."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, python_files, short

INVENTORY = ROOT / "docs" / "security" / "controls.md"

LIBRARIES = {"argon2", "cryptography", "hashlib", "joserfc", "nacl", "pyotp", "webauthn"}

ALGORITHMS = {
    # hashlib
    "blake2b", "sha256",
    # cryptography: authenticated encryption, signatures on one curve, and keys drawn from a key
    "AESGCM", "ECDSA", "EllipticCurvePublicKey", "HKDF", "SECP256R1", "SHA256",
    "encode_dss_signature",
}  # fmt: skip
"""What may be used of hashlib and of cryptography's primitives."""

ELSEWHERE = {
    # The form in which leaked passwords are published; it protects nothing here.
    ("wallet/auth/password_quality.py", "sha1"),
}

SECRET = re.compile(r"(^|_)(digest|hash|mac|nonce|otp|password|pin|secret|token)($|_)")

COMPARED = {
    # Both are ours: the hash of what is asked for, and of what was approved.
    "step_up.op_hash != op_hash",
    # Inside a token that the provider has signed; who can choose it has no need to guess it.
    "said.nonce == expected.nonce",
    # Before a PIN is set: whether it is one of those that everybody tries first.
    "pin == pin[:size] * (DIGITS // size)",
    "pin[:3] == pin[:2:-1]",
}


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the name and the tree of the programme's files, those of the demonstration left out."""
    for path in python_files(*folders or ("wallet",)):
        if not short(path).startswith("wallet/demo/"):
            yield short(path), ast.parse(path.read_text(encoding="utf-8"))


def modules_of(tree: ast.AST) -> set[str]:
    """Return the libraries of cryptography that a file imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found & LIBRARIES


def algorithms_of(tree: ast.AST) -> set[str]:
    """Return what a file uses of hashlib and of cryptography's primitives."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="hashlib"), attr=name):
                found.add(name)
            case ast.ImportFrom(module=str(module), names=names) if (
                module == "hashlib" or module.startswith("cryptography.hazmat.primitives")
            ):
                found.update(alias.name for alias in names)
    return found


def comparisons_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield where ``==`` compares two values of which one is called like a secret."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        operands = [node.left, *node.comparators]
        is_constant = any(isinstance(one, ast.Constant) for one in operands)
        if not is_constant and any(SECRET.search(name_of(one)) for one in operands):
            yield node.lineno, ast.unparse(node)


def name_of(node: ast.expr) -> str:
    """Return what a value is called: by its variable, its attribute, its key or its function."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(str(name))):
            return name
        case ast.Subscript(value=value) | ast.Call(func=value):
            return name_of(value)
        case _:
            return ""


@pytest.mark.asvs("v5.0.0-11.1.2")
@pytest.mark.asvs("v5.0.0-11.2.1")
def test_every_file_that_uses_cryptography_is_in_the_inventory() -> None:
    inventory = INVENTORY.read_text(encoding="utf-8")
    users = [name for name, tree in trees() if modules_of(tree)]
    assert len(users) > 10
    assert not [name for name in users if f"`{name}`" not in inventory]


@pytest.mark.asvs("v5.0.0-11.3.1")
@pytest.mark.asvs("v5.0.0-11.4.1")
def test_no_other_algorithm_is_used() -> None:
    used = {(name, one) for name, tree in trees() for one in algorithms_of(tree)}
    strange = {(name, one) for name, one in used if one not in ALGORITHMS}
    assert strange == ELSEWHERE
    assert {one for _, one in used - strange} == ALGORITHMS


@pytest.mark.asvs("v5.0.0-11.2.4")
def test_no_secret_is_compared_but_in_constant_time() -> None:
    found = {
        f"{name}:{line}": comparison
        for name, tree in trees()
        if name.startswith(("wallet/api/", "wallet/auth/", "wallet/merchants/", "wallet/people/"))
        for line, comparison in comparisons_of(tree)
    }
    assert {one for one in found.values() if one not in COMPARED} == set(), found
    assert set(found.values()) == COMPARED


@pytest.mark.parametrize(
    ("line", "find"),
    [
        ("import hashlib\nhashlib.md5(b'')", lambda tree: algorithms_of(tree) - ALGORITHMS),
        (
            "from cryptography.hazmat.primitives.ciphers.modes import ECB",
            lambda tree: algorithms_of(tree) - ALGORITHMS,
        ),
        ("import joserfc.jwt", modules_of),
        ("if given.code_mac == made(): pass", lambda tree: list(comparisons_of(tree))),
        ("if given != row['token_hash']: pass", lambda tree: list(comparisons_of(tree))),
    ],
)
def test_a_planted_line_is_found(line: str, find: object) -> None:
    assert callable(find)
    assert find(ast.parse(line))


def test_the_demonstration_is_left_out_and_nothing_else() -> None:
    names = {name for name, _ in trees()}
    every = {short(path) for path in python_files("wallet")}
    assert all(name.startswith("wallet/demo/") for name in every - names)
    assert Path(ROOT, "wallet/demo/fake_identity_app.py").exists()
