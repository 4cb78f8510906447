"""Length is a ratchet: the numbers only go down."""

from tests.architecture.sources import functions, python_files, short

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500


def test_no_function_is_longer_than_a_page() -> None:
    long = [
        f"{short(path)}:{node.lineno} {node.name} has {lines} lines"
        for path in python_files()
        for node in functions(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_no_file_is_longer_than_a_sitting() -> None:
    long = [
        f"{short(path)} has {lines} lines"
        for path in python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_the_files_are_found_at_all() -> None:
    names = {short(path) for path in python_files()}
    assert {"wallet/settings.py", "migrations/env.py", "tests/conftest.py"} <= names
