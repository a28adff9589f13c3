from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from soundleap.server.routes_info import PageFiles


def _get(folder: Path, *paths: str, **headers: str) -> list[Any]:
    app = Starlette(routes=[Mount("/page", PageFiles(directory=folder))])

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.get(path, headers=headers) for path in paths]

    return asyncio.run(ask())


def test_files_of_the_page_are_asked_for_anew_unless_their_version_is_named(tmp_path: Path):
    (tmp_path / "app.js").write_text("let x = 1;")

    plain, versioned, missing = _get(
        tmp_path, "/page/app.js", "/page/app.js?v=1", "/page/other.js?v=1"
    )

    assert plain.headers["cache-control"] == "no-cache"
    assert "script-src 'self'" in plain.headers["content-security-policy"]
    assert versioned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert missing.status_code == 404
    (again,) = _get(tmp_path, "/page/app.js", **{"If-None-Match": plain.headers["etag"]})
    assert again.status_code == 304


def test_nothing_outside_of_the_page_is_given(tmp_path: Path):
    (tmp_path / "secret").write_text("no")
    (tmp_path / "page").mkdir()

    answers = _get(tmp_path / "page", "/page/../secret", "/page/%2e%2e/secret", "/page/..%2fsecret")

    assert {answer.status_code for answer in answers} == {404}
