"""Addresses and methods: what is not there says so, and every answer names its request."""

from html.parser import HTMLParser

import pytest

from tests.api.answers import REQUEST_ID, payment_of, problem_of
from tests.api.ways import body_of
from tests.factories.tills import PAYMENTS, Till
from wallet.api.catalogue import CATALOGUE

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "QUERY")
ALLOWED = {
    PAYMENTS: "GET, POST",
    f"{PAYMENTS}/pay_{'0' * 32}": "GET",
    f"{PAYMENTS}/by-merchant-id/a": "GET",
    "/errors": "GET",
    "/errors/code_used": "GET",
    "/livez": "GET",
    "/readyz": "GET",
}


@pytest.mark.asvs("v5.0.0-4.1.4")
@pytest.mark.asvs("v5.0.0-13.4.4")
@pytest.mark.parametrize("path", ALLOWED)
@pytest.mark.parametrize("method", METHODS)
async def test_a_method_that_is_not_taken_is_told_which_are(
    till: Till, method: str, path: str
) -> None:
    response = await till.client.request(method, path, headers=till.headers())
    assert response.status_code == 405
    assert response.headers["allow"] == ALLOWED[path]
    assert REQUEST_ID.fullmatch(response.headers["request-id"])
    if method != "HEAD":  # Which has no body, whatever it would have been.
        problem_of(response, "method_not_allowed")


@pytest.mark.asvs("v5.0.0-3.2.1")
@pytest.mark.asvs("v5.0.0-3.4.4")
@pytest.mark.asvs("v5.0.0-3.4.6")
@pytest.mark.parametrize("path", [*ALLOWED, "/docs", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_answer_is_what_it_says_and_in_nobodys_frame(
    till: Till, method: str, path: str
) -> None:
    response = await till.client.request(method, path, headers=till.headers(), content=b"{")
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers.get_list("content-security-policy") == ["frame-ancestors 'none'"]


@pytest.mark.asvs("v5.0.0-3.5.3")
@pytest.mark.parametrize("path", [path for path in ALLOWED if path != PAYMENTS])
async def test_only_payments_are_posted(till: Till, path: str) -> None:
    response = await till.client.post(path, json={}, headers=till.headers())
    assert response.headers["allow"] == "GET"
    problem_of(response, "method_not_allowed")


@pytest.mark.asvs("v5.0.0-3.7.2")
@pytest.mark.asvs("v5.0.0-4.1.2")
@pytest.mark.asvs("v5.0.0-13.4.3")
@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", f"{PAYMENTS}/", f"{PAYMENTS}//", f"{PAYMENTS}/a/b", "/V1/payments",
     "/v2/payments", "/v1/payments%2F", "/errors/", "/errors/a/b", "/redoc", "/%00", "/あ"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_where_there_is_nothing_there_is_a_problem_and_no_redirect(
    till: Till, method: str, path: str
) -> None:
    problem_of(await till.client.request(method, path, headers=till.headers()), "not_found")


@pytest.mark.parametrize(
    "path", [*ALLOWED, "/openapi.json", "/docs", "/static-offline-docs/swagger-ui.css", "/nothing"]
)
async def test_every_answer_names_its_request(till: Till, path: str) -> None:
    responses = [await till.get(path) for _ in range(2)]
    ids = [response.headers.get_list("request-id") for response in responses]
    assert all(len(one) == 1 and REQUEST_ID.fullmatch(one[0]) for one in ids)
    assert ids[0] != ids[1]


@pytest.mark.asvs("v5.0.0-4.1.3")
async def test_a_caller_cannot_choose_the_name_of_a_request(till: Till) -> None:
    response = await till.pay(await body_of(till), Request_Id=f"req_{'0' * 32}")
    assert payment_of(response)["paid"]
    assert response.headers["request-id"] != f"req_{'0' * 32}"


async def test_a_payment_and_its_request_have_names_that_find_each_other(till: Till) -> None:
    response = await till.pay(await body_of(till))
    name = response.headers["request-id"].removeprefix("req_")
    assert payment_of(response)["id"].removeprefix("pay_")[:31] == name[:31]


@pytest.mark.asvs("v5.0.0-14.2.2")
@pytest.mark.asvs("v5.0.0-14.3.2")
async def test_money_is_never_stored_on_the_way(till: Till) -> None:
    payment = payment_of(await till.pay(await body_of(till)))
    for path in (PAYMENTS, f"{PAYMENTS}/{payment['id']}"):
        response = await till.get(path)
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-type"] == "application/json"


class Page(HTMLParser):
    """The text of a page, its links, and what it loads from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.languages: set[str] = set()
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where the page leads."""
        for name, value in attrs:
            if name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in {"src", "href"}:
                self.loaded.append(value or "")
            elif name == "lang":
                self.languages.add(value or "")

    def handle_data(self, data: str) -> None:
        """Note what the page says."""
        self.text += data


@pytest.mark.asvs("v5.0.0-4.1.1")
@pytest.mark.parametrize("code", sorted(CATALOGUE))
async def test_each_code_has_a_page_that_explains_it(till: Till, code: str) -> None:
    response = await till.client.get(f"/errors/{code}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(response.text)
    assert page.languages == {"en", "ja"}
    assert not page.loaded
    for expected in (code, CATALOGUE[code].title, str(CATALOGUE[code].status), "やさしい日本語"):
        assert expected in page.text
    assert "{" not in page.text.partition("}dt")[2].partition("}")[2]


async def test_the_pages_are_all_listed_and_all_there(till: Till) -> None:
    page = Page((await till.client.get("/errors")).text)
    assert page.links == [f"/errors/{code}" for code in CATALOGUE]
    for link in page.links:
        assert (await till.client.get(link)).status_code == 200


@pytest.mark.asvs("v5.0.0-1.2.1")
async def test_a_page_never_repeats_what_was_asked_for(till: Till) -> None:
    response = await till.client.get("/errors/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    problem_of(response)
    assert "script" not in response.text


@pytest.mark.asvs("v5.0.0-14.2.3")
async def test_the_documentation_loads_nothing_from_elsewhere(till: Till) -> None:
    response = await till.client.get("/docs")
    assert response.status_code == 200
    loaded = Page(response.text).loaded
    assert loaded
    for path in loaded:
        assert path.startswith("/")
        assert (await till.client.get(path)).status_code == 200
