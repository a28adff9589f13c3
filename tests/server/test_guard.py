from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soundleap.server.logs import JsonLines
from soundleap.server.run import is_loopback

KEYS = ("first-key-of-sixteen", "second-key-of-sixteen")
ORIGIN = "https://studio.example"
SHORT = {"prompt": "rain", "duration_in_s": 0.5, "num_inference_steps": 1}


@pytest.fixture(scope="module")
def strict(settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that asks for keys, and answers to few."""
    from live_server import live

    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("\n".join(KEYS))
    changes = {
        "api_key_file": file,
        "cors_origins": (ORIGIN,),
        "allowed_hosts": ("127.0.0.1",),
        "rate_limit": 30.0,
        "max_body_bytes": 2048,
        "max_upload_bytes": 4096,
        "body_timeout_in_s": 0.5,
    }
    with live(settings(**changes)) as found:
        yield found


def _raw(server: Any, text: bytes) -> bytes:
    """Send bytes as they are, and read the whole answer."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(text)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def _key(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[number]}"}


def test_keys_are_asked_for_where_work_or_facts_are_given(strict):
    for path in ("/v1/models", "/metrics", "/v1/jobs/x", "/v1/nothing"):
        answer = strict.client.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "missing_key"
    wrong = strict.client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert wrong.json()["error"]["code"] == "wrong_key"
    for headers in (_key(0), _key(1), {"xi-api-key": KEYS[0]}):
        assert strict.client.get("/v1/models", headers=headers).status_code == 200
    for path in ("/health", "/health/live", "/", "/openapi.json"):
        assert strict.client.get(path).status_code == 200


def test_jobs_belong_to_their_key(strict):
    job = strict.client.post("/v1/jobs", json=SHORT, headers=_key(1)).json()

    assert strict.client.get(f"/v1/jobs/{job['id']}", headers=_key(1)).status_code == 200
    assert strict.client.get(f"/v1/jobs/{job['id']}", headers=_key(0)).status_code == 404
    assert strict.client.delete(f"/v1/jobs/{job['id']}", headers=_key(0)).status_code == 404


def test_other_hosts_and_origins_are_refused(strict):
    host = strict.client.get("/health", headers={"Host": "evil.example"})
    assert (host.status_code, host.json()["error"]["code"]) == (403, "wrong_host")
    for origin in ("https://evil.example", "null", "http://[bad"):
        headers = {**_key(0), "Origin": origin}
        answer = strict.client.post("/v1/audio/generate", json=SHORT, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_origin")
    for origin in (ORIGIN, strict.url):
        headers = {**_key(0), "Origin": origin}
        answer = strict.client.post("/v1/audio/generate", json=SHORT, headers=headers)
        assert answer.status_code == 200


def test_cors_is_for_the_named_origins_only(strict, server):
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    allowed = strict.client.options("/v1/jobs", headers=asked)
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    missing_key = strict.client.get("/v1/models", headers={"Origin": ORIGIN})
    assert missing_key.headers["access-control-allow-origin"] == ORIGIN
    other = strict.client.options("/v1/jobs", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    off = server.client.options("/v1/jobs", headers=asked)
    assert "access-control-allow-origin" not in off.headers


def test_a_large_body_is_refused_whether_its_size_is_told_or_not(strict):
    large = json.dumps({"prompt": "x" * 3000}).encode()
    headers = {**_key(0), "Content-Type": "application/json"}

    def in_parts() -> Iterator[bytes]:
        for i in range(0, len(large), 100):
            yield large[i : i + 100]

    for content in (large, in_parts()):
        answer = strict.client.post("/v1/audio/generate", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert "allowed: 2048 bytes" in answer.json()["error"]["message"]
    upload = strict.client.post("/v1/metadata", content=b"x" * 5000, headers=_key(0))
    assert upload.status_code == 413
    assert (
        strict.client.post("/v1/metadata", content=b"x" * 3000, headers=_key(0)).status_code == 422
    )


def test_a_body_that_does_not_come_is_not_waited_for(strict):
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEYS[0]}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )

    answer = _raw(strict, head.encode())

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"slow_body"' in answer


def test_the_rate_is_limited_for_each_key(settings, tmp_path: Path):
    from live_server import live

    file = tmp_path / "keys"
    file.write_text("\n".join(KEYS))
    with live(settings(api_key_file=file, rate_limit=2.0)) as found:

        def ask(number: int) -> Any:
            return found.client.post("/v1/jobs", json={"prompt": ""}, headers=_key(number))

        assert [ask(0).status_code for _ in range(2)] == [422, 422]
        late = ask(0)
        assert (late.status_code, late.json()["error"]["code"]) == (429, "too_many_requests")
        assert 1 <= int(late.headers["retry-after"]) <= 30
        assert ask(1).status_code == 422
        assert found.client.get("/v1/models", headers=_key(0)).status_code == 200


def test_request_ids_are_kept_if_they_are_plain(server):
    kept = server.client.get("/health", headers={"X-Request-Id": "my-id.7"})
    assert kept.headers["x-request-id"] == "my-id.7"
    for odd in ("a b", "x" * 65, "é"):
        answer = server.client.get("/health", headers={"X-Request-Id": odd.encode()})
        assert answer.headers["x-request-id"].startswith("req_")


def test_prompts_are_logged_only_when_asked_for(server, start, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="soundleap.server")
    secret = "a very secret dog"

    server.sound(**{**SHORT, "prompt": secret})
    server.sound(**{**SHORT, "prompt": secret, "duration_in_s": 99})
    lines = [JsonLines().format(record) for record in caplog.records]
    assert secret not in "\n".join(lines)
    found = [json.loads(line) for line in lines if '"/v1/audio/generate"' in line]
    assert [line["status"] for line in found] == [200, 422]
    assert {"request_id", "client", "seconds", "model", "seed"} <= found[0].keys()

    caplog.clear()
    start(log_prompts=True).sound(**{**SHORT, "prompt": secret})
    assert secret in "\n".join(JsonLines().format(record) for record in caplog.records)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False),
     ("::", False), ("192.168.1.5", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_addresses_are_known(host: str, expected: bool):
    assert is_loopback(host) is expected
