"""Structured captions from a language model behind an OpenAI-compatible endpoint.

Where it is and how to get in is told by the environment: SOUNDLEAP_LLM_BASE_URL (for example
https://example.org/v1), SOUNDLEAP_LLM_API_KEY and SOUNDLEAP_LLM_MODEL. If neither of the first two
is set, OPENAI_BASE_URL and OPENAI_API_KEY are taken, always both from the same pair, so that no key
goes to a server it is not meant for.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from soundleap.errors import InputError, check_range
from soundleap.structured.grammar import TAGS, Structured, format_events, parse_events
from soundleap.structured.question import messages
from soundleap.structured.rules import check_prompt, structure_all

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_IN_S = 20.0
MAX_TIMEOUT_IN_S = 600.0
MAX_REPLY_BYTES = 1 << 18
MAX_EVENTS = 20

_PAIRS = (
    ("SOUNDLEAP_LLM_BASE_URL", "SOUNDLEAP_LLM_API_KEY"),
    ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
)
_MODEL = "SOUNDLEAP_LLM_MODEL"
_SCHEMES = ("https", "http")
_FENCE = re.compile(r"```[\w-]*\s*(.*)```|`([^`]*)`", re.DOTALL)


class _NoCaption(Exception):
    """Why there is no caption from the endpoint; never holds the key or words of the reply."""


@dataclass(frozen=True)
class _Server:
    url: str
    key: str = field(repr=False)
    model: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leave a redirect an error: followed, it would take the key to another place."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def structure_by_endpoint(prompt: str, *, timeout_in_s: float = DEFAULT_TIMEOUT_IN_S) -> Structured:
    """Let a language model structure a prompt; fall back to `structure_all` if that fails.

    The prompt is sent to the server named in the environment, at temperature 0. The answer must
    follow the grammar, with no tags but all, start, mid and end. If the server does not answer in
    time, answers with an error or with anything else, the rule is used: the returned record says
    so, and a warning is logged.

    Args:
        prompt: what is to be heard.
        timeout_in_s: longest wait for the server's next sign, and for the whole answer once it has
            begun; 0.01 to 600 s.

    Raises:
        InputError: for a prompt that `check_prompt` refuses, a time out of range, or a missing or
            malformed setting in the environment.
    """
    check_prompt(prompt)
    check_range("timeout_in_s", timeout_in_s, 0.01, MAX_TIMEOUT_IN_S, "s")
    server = _server()
    try:
        return Structured(_caption(_ask(server, prompt, timeout_in_s)), "endpoint")
    except _NoCaption as error:
        warning = f"no structured caption from the endpoint ({error}); the prompt is one event"
        logger.warning("%s", warning)
        return Structured(structure_all(prompt), "rule", warning)


def _server() -> _Server:
    """Read the settings from the environment."""
    names = next((pair for pair in _PAIRS if any(map(_setting, pair))), _PAIRS[0])
    for name in (*names, _MODEL):
        if not _setting(name):
            raise InputError(
                f"{name} is not set; the endpoint needs {names[0]} (for example "
                f"https://example.org/v1), {names[1]} (any word if it asks for none) and {_MODEL}"
            )
    key = _setting(names[1])
    if not re.fullmatch("[!-~]+", key):
        raise InputError(f"{names[1]} has characters that no key has; copy it again")
    return _Server(_address(names[0], _setting(names[0])), key, _setting(_MODEL))


def _setting(name: str) -> str:
    return os.environ.get(name, "").strip()


def _address(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a broken IPv6 address
        raise InputError(f"{name} is no address; write it like https://example.org/v1") from None
    if parts.scheme not in _SCHEMES or not named or not re.fullmatch("[!-~]+", url):
        raise InputError(f"{name} must be an address that starts with https:// or http://")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(f"{name} must not hold a user, a query or a fragment; leave them out")
    return url.rstrip("/") + "/chat/completions"


def _ask(server: _Server, prompt: str, timeout_in_s: float) -> bytes:
    """Send the question and give the body of the reply."""
    body = {"model": server.model, "messages": messages(prompt), "temperature": 0}
    request = urllib.request.Request(
        server.url,
        data=json.dumps(body).encode(),
        headers={
            "Accept": "application/json",
            "Authorization": f"Bearer {server.key}",
            "Content-Type": "application/json",
            "User-Agent": "soundleap",
        },
    )
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=timeout_in_s) as response:
            return _read(response, timeout_in_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise _NoCaption(_status(error.code)) from None
    except TimeoutError:
        raise _NoCaption(f"no answer within {timeout_in_s:g} s") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _NoCaption(f"no answer within {timeout_in_s:g} s") from None
        raise _NoCaption(f"can't reach the server: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _NoCaption(f"the connection broke: {type(error).__name__}") from None


def _read(response: http.client.HTTPResponse, timeout_in_s: float) -> bytes:
    until = time.monotonic() + timeout_in_s
    body = b""
    while part := response.read1(1 << 16):
        body += part
        if len(body) > MAX_REPLY_BYTES:
            raise _NoCaption(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
        if time.monotonic() > until:
            raise TimeoutError
    return body


def _status(code: int) -> str:
    known = code in {status.value for status in HTTPStatus}
    text = f"the server answered {code}" + (f" {HTTPStatus(code).phrase}" if known else "")
    if 300 <= code < 400:
        return f"{text}; redirects are not followed, set the address it leads to"
    return f"{text}; check the key" if code in (401, 403) else text


def _caption(body: bytes) -> str:
    """Take the caption out of a reply's body."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _NoCaption("the reply is not a chat completion") from None
    if not isinstance(content, str):
        raise _NoCaption("the reply holds no text")
    fence = _FENCE.fullmatch(content.strip())
    text = content if fence is None else fence[1] or fence[2] or ""
    try:
        events = parse_events(text.strip(), "the answer").events
    except InputError as error:
        raise _NoCaption(str(error)) from None
    if len(events) > MAX_EVENTS:
        raise _NoCaption(f"the answer has {len(events)} events; allowed: {MAX_EVENTS}")
    for number, event in enumerate(events, 1):
        if event.tag not in TAGS:
            raise _NoCaption(f"event {number} of the answer has none of the tags {', '.join(TAGS)}")
    return format_events(events)
