"""``/errors``: what each problem means, a page for each code; a problem's ``type`` leads here."""

from html import escape
from string import Template
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from wallet.api.catalogue import CATALOGUE, Problem
from wallet.api.problems import ProblemError, example_words, type_of

router = APIRouter(prefix="/errors", include_in_schema=False)

_PAGE: Final = Template("""<!doctype html>
<html lang="$lang"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>body{font:18px/1.6 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
dt{font-weight:bold;margin-top:1rem}code{font-size:.95em}</style>
<h1>$title</h1>
$body
</html>
""")


@router.get("")
async def index() -> HTMLResponse:
    """List every code."""
    items = "\n".join(
        f'<li><a href="{escape(type_of(one))}"><code>{one.code}</code></a> {one.status}'
        f" {escape(one.title)}</li>"
        for one in CATALOGUE.values()
    )
    return HTMLResponse(
        _PAGE.substitute(lang="en", title="Error codes", body=f"<ul>\n{items}\n</ul>")
    )


@router.get("/{code}")
async def page(code: str) -> HTMLResponse:
    """Explain one code."""
    problem = CATALOGUE.get(code)
    if problem is None:
        raise ProblemError("error_unknown")
    return HTMLResponse(
        _PAGE.substitute(lang="en", title=escape(problem.code), body=_explain(problem))
    )


def _explain(problem: Problem) -> str:
    words = example_words(problem)
    resident = words["user_message"]
    rows = (
        ("Meaning", problem.title),
        ("Status", str(problem.status)),
        ("Retryable", "yes, with the same key" if problem.retryable else "no"),
        ("Next action", problem.next_action),
    )
    told = (
        ("画面", f"{resident['title']} {resident['body']}"),
        ("やさしい日本語", resident["easy"]),
        ("店員向け", words["clerk_message"]),
    )
    english = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    japanese = "".join(
        f'<dt lang="ja">{name}</dt><dd lang="ja">{escape(text)}</dd>' for name, text in told
    )
    return f'<dl>{english}{japanese}</dl><p><a href="/errors">All codes</a></p>'
