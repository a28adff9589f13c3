from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from soundleap.errors import InputError
from soundleap.structured import TAGS, Structured, parse_events, structure
from soundleap.structured.endpoint import MAX_EVENTS, MAX_REPLY_BYTES, structure_by_endpoint
from soundleap.structured.question import EXAMPLES, messages

KEY = "sk-very-secret"
PROMPT = "A dog barks, then rain."
CAPTION = "<a dog barks& start>@<rain& end>"
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a server on this machine; gives its address and what it has been asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = dict(self.headers)
            asked.append({"path": self.path, "headers": headers, "body": json.loads(body)})
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def completion(content: object) -> bytes:
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"index": 0, "message": message}]}).encode()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SOUNDLEAP_LLM_API_KEY", KEY)
    monkeypatch.setenv("SOUNDLEAP_LLM_MODEL", "small")
    monkeypatch.setenv("SOUNDLEAP_LLM_BASE_URL", "http://127.0.0.1:9/v1")
    return monkeypatch


def ask(environment: pytest.MonkeyPatch, answer: Answer, timeout_in_s: float = 5.0) -> Structured:
    with serving(answer) as (url, _):
        environment.setenv("SOUNDLEAP_LLM_BASE_URL", url)
        return structure_by_endpoint(PROMPT, timeout_in_s=timeout_in_s)


def assert_rule(made: Structured, why: str) -> None:
    assert made.text == f"<{PROMPT}& all>"
    assert made.source == "rule"
    assert made.warning is not None
    assert why in made.warning
    assert KEY not in made.warning


def test_a_good_answer_and_what_was_asked(environment: pytest.MonkeyPatch) -> None:
    with serving(reply(completion(CAPTION))) as (url, asked):
        environment.setenv("SOUNDLEAP_LLM_BASE_URL", f"{url}/")
        assert structure(PROMPT, "endpoint") == Structured(CAPTION, "endpoint")
    (question,) = asked
    assert question["path"] == "/v1/chat/completions"
    assert question["headers"]["Authorization"] == f"Bearer {KEY}"
    assert question["body"] == {"model": "small", "messages": messages(PROMPT), "temperature": 0}


@pytest.mark.parametrize(
    "content",
    [
        f"```\n{CAPTION}\n```",
        f" ```text\n{CAPTION}```\n",
        f"```{CAPTION}```",
        f"`{CAPTION}`",
        "<a dog barks & start> @\n<rain & end>",
    ],
)
def test_fences_and_blanks_are_taken_off(environment: pytest.MonkeyPatch, content: str) -> None:
    assert ask(environment, reply(completion(content))) == Structured(CAPTION, "endpoint")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (completion("Sorry, I can't."), "character 1 is 'S'"),
        (completion(f"Answer: {CAPTION}"), "character 1 is 'A'"),
        (completion(f"{CAPTION}\n{CAPTION}"), "'@' between events"),
        (completion("<rain& forever>"), "event 1 of the answer has none of the tags"),
        (completion(f"<a {KEY}& {KEY}>"), "event 1 of the answer has none of the tags"),
        (completion("@".join(["<a& all>"] * (MAX_EVENTS + 1))), "has 21 events; allowed: 20"),
        (completion("<\ud800& all>"), "not valid Unicode"),
        (completion("__import__('os').getcwd()"), "character 1 is '_'"),
        (completion(None), "the reply holds no text"),
        (completion([CAPTION]), "the reply holds no text"),
        (b'{"choices": []}', "not a chat completion"),
        (b"[1]", "not a chat completion"),
        (b"[" * 100_000, "not a chat completion"),
        (b"\xff\xfe<html>", "not a chat completion"),
        (b"", "not a chat completion"),
    ],
)
def test_garbage_falls_back_to_the_rule(
    environment: pytest.MonkeyPatch, body: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "soundleap"):
        made = ask(environment, reply(body))
    assert_rule(made, why)
    assert [record.getMessage() for record in caplog.records] == [made.warning]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (500, "the server answered 500 Internal Server Error"),
        (401, "401 Unauthorized; check the key"),
        (429, "429 Too Many Requests"),
        (799, "the server answered 799"),
    ],
)
def test_http_errors(environment: pytest.MonkeyPatch, status: int, why: str) -> None:
    assert_rule(ask(environment, reply(KEY.encode(), status)), why)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(environment: pytest.MonkeyPatch, status: int) -> None:
    followed = reply(completion(CAPTION))
    with serving(followed) as (other, asked):
        for place in ("file:///etc/hostname", f"{other}/chat/completions"):
            made = ask(environment, reply(b"", status, Location=place))
            assert_rule(made, "redirects are not followed")
    assert asked == []


def test_a_slow_server(environment: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        done.wait(5)

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.02):
            handler.wfile.write(b" ")

    for answer in (silent, dripping):
        done.clear()
        with serving(answer) as (url, _):
            environment.setenv("SOUNDLEAP_LLM_BASE_URL", url)
            made = structure(PROMPT, "endpoint", timeout_in_s=0.1)
            done.set()
        assert_rule(made, "no answer within 0.1 s")


def test_a_reply_without_end(environment: pytest.MonkeyPatch) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * 65_536)
        except OSError:  # the asker has gone
            return

    assert_rule(ask(environment, endless), f"longer than {MAX_REPLY_BYTES} bytes")
    assert_rule(ask(environment, reply(b" " * (MAX_REPLY_BYTES + 1))), "longer than")


def test_a_server_that_is_not_there_or_speaks_otherwise(environment: pytest.MonkeyPatch) -> None:
    assert_rule(structure_by_endpoint(PROMPT, timeout_in_s=5), "can't reach the server")

    def other(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"220 mail\r\n")
        handler.close_connection = True

    assert_rule(ask(environment, other), "the connection broke: BadStatusLine")


@pytest.mark.parametrize(
    "name", ["SOUNDLEAP_LLM_API_KEY", "SOUNDLEAP_LLM_BASE_URL", "SOUNDLEAP_LLM_MODEL"]
)
def test_a_missing_setting(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(InputError, match=f"^{name} is not set; the endpoint needs "):
        structure(PROMPT, "endpoint")


def test_the_pair_of_openai_and_no_mixing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", "theirs")
    environment.delenv("SOUNDLEAP_LLM_API_KEY")
    with pytest.raises(InputError, match="SOUNDLEAP_LLM_API_KEY is not set"):
        structure(PROMPT, "endpoint")
    environment.delenv("SOUNDLEAP_LLM_BASE_URL")
    with pytest.raises(InputError, match="OPENAI_BASE_URL is not set"):
        structure(PROMPT, "endpoint")
    with serving(reply(completion(CAPTION))) as (url, asked):
        environment.setenv("OPENAI_BASE_URL", url)
        assert structure(PROMPT, "endpoint").source == "endpoint"
    assert asked[0]["headers"]["Authorization"] == "Bearer theirs"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("file:///etc/passwd", "must be an address that starts with https:// or http://"),
        ("ftp://example.org/v1", "starts with"),
        ("example.org/v1", "starts with"),
        ("http://", "starts with"),
        ("http://exa mple.org", "starts with"),
        ("http://example.org:port/v1", "is no address"),
        ("http://[::1/v1", "is no address"),
        (f"http://me:{KEY}@example.org/v1", "must not hold a user"),
        (f"http://example.org/v1?key={KEY}", "must not hold"),
    ],
)
def test_addresses_that_are_refused(environment: pytest.MonkeyPatch, url: str, what: str) -> None:
    environment.setenv("SOUNDLEAP_LLM_BASE_URL", url)
    with pytest.raises(InputError, match=what) as caught:
        structure(PROMPT, "endpoint")
    assert "SOUNDLEAP_LLM_BASE_URL" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY} x", f"{KEY}é"])
def test_keys_that_are_refused(environment: pytest.MonkeyPatch, key: str) -> None:
    environment.setenv("SOUNDLEAP_LLM_API_KEY", key)
    with pytest.raises(InputError, match="characters that no key has") as caught:
        structure(PROMPT, "endpoint")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("wait", [0.0, -1.0, 601.0, float("nan")])
def test_waits_out_of_range(wait: float) -> None:
    with pytest.raises(InputError, match="timeout_in_s"):
        structure(PROMPT, "endpoint", timeout_in_s=wait)


def test_the_examples_in_the_question_follow_the_grammar() -> None:
    for _, answer in EXAMPLES:
        parsed = parse_events(answer)
        assert parsed.warnings == ()
        assert {event.tag for event in parsed.events} <= set(TAGS)
    assert {e.tag for _, answer in EXAMPLES for e in parse_events(answer).events} == set(TAGS)
