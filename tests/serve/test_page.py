"""The page's files as a server hands them out: small, complete, and asking nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from lamina.serve import page

FILES = {file.path: file for file in page.files()}


@pytest.fixture
def client() -> Iterator[Any]:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    page.add_to(app)
    with TestClient(app) as client:
        yield client


def test_all_of_it_is_small() -> None:
    assert sum(len(file.content) for file in FILES.values()) < 60_000


def test_what_it_refers_to_is_there() -> None:
    text = FILES["/"].content.decode()
    referred = set(re.findall(r'(?:src|href)="([^":]+)"', text))
    for path, file in FILES.items():
        if path.endswith(".js"):
            referred |= {name.removeprefix("./") for name in re.findall(r'from "([^"]+)"', file.content.decode())}
    assert referred == {path.removeprefix("/") for path in FILES if path != "/"}


def test_no_file_names_another_host() -> None:
    for file in FILES.values():
        named = set(re.findall(r"https?://[^\s'\"]+", file.content.decode()))
        assert named <= {"http://www.w3.org/2000/svg"}, file.path  # a name of SVG, which nobody asks for


def test_no_script_makes_markup_of_text() -> None:
    for path, file in FILES.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", file.content.decode()), (
            path
        )


def test_controls_of_the_page_are_those_that_its_script_names() -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', FILES["/"].content.decode()))
    named = set(re.findall(r'\bat\("([^"]+)"\)', FILES["/page.js"].content.decode()))
    assert named <= ids


@pytest.mark.parametrize("path", FILES)
def test_a_file_comes_with_its_type_and_its_policy(client: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.content == FILES[path].content
    assert answer.headers["content-type"] == FILES[path].media_type
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.head(path).headers["etag"] == FILES[path].tag


def test_a_copy_that_a_browser_has_is_not_sent_again(client: Any) -> None:
    tag = client.get("/page.js").headers["etag"]
    again = client.get("/page.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page.js", headers={"If-None-Match": '"another"'}).status_code == 200


def test_the_page_stands_in_no_description_of_the_api(client: Any) -> None:
    assert not set(FILES) & set(client.get("/openapi.json").json()["paths"])
