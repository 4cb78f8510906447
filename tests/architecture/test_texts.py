"""Documents lead somewhere, and no file knows the machine it was written on."""

import re
from pathlib import Path

from tests.architecture.sources import ROOT, project_files, short

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

# Written in halves, for this file is read too.
HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "proxy.golang" + ".org")
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(" + "|".join(("work/", "root/", "home/" + r"\w", "Users/" + r"\w")) + ")"
)


def texts() -> list[tuple[Path, str]]:
    """Return every file that is text."""
    found = []
    for path in project_files():
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def leads_somewhere(path: Path, target: str) -> bool:
    """Whether a link is to the web, into its own page, or to a file that is there."""
    place = target.partition("#")[0]
    return "://" in place or place.startswith("mailto:") or (path.parent / place).exists()


def test_every_link_of_a_document_resolves() -> None:
    broken = [
        f"{short(path)} links to {target}"
        for path, text in texts()
        if path.suffix == ".md"
        for target in LINK.findall(FENCED.sub("", text))
        if not leads_somewhere(path, target)
    ]
    assert not broken, "\n".join(broken)


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for path, text in texts():
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE_PATHS.search(line) or any(host in line for host in HOSTS):
                found.append(f"{short(path)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_the_needles_find_what_they_are_for() -> None:
    slash = "/"
    assert MACHINE_PATHS.search(f"see {slash}home{slash}taro{slash}wallet")
    assert MACHINE_PATHS.search(f"in {slash}work{slash}main")
    assert not MACHINE_PATHS.search("docs/work/plan.md and GET /v1/work/items")
    assert ROOT.joinpath("pyproject.toml") in project_files()
