"""What every request passes before a route sees it: host, origin, key, rate, size; and the log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soundleap.server.errors import ApiError
from soundleap.server.limits import presented_key
from soundleap.server.service import Service

UPLOAD_PATH = "/v1/metadata"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_POLLED = ("/health", "/health/live", "/metrics")
_SAFE = ("GET", "HEAD", "OPTIONS")

logger = logging.getLogger("soundleap.server")


@dataclass
class Visit:
    """One request, for its route and for the log.

    Attributes:
        request_id: the client's own, or one that was drawn.
        client: name of the key's holder, or the address; clients are served in turn.
        notes: what the route wants in the log.
        status: of the answer; None until it is begun.
    """

    request_id: str
    client: str
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    status: int | None = None


class _Gone(Exception):
    """The client closed the connection before its request was whole."""


class Guard:
    """ASGI middleware; a route finds its `Visit` as ``request.state.visit``."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Wrap an application."""
        self.app = app
        self.service = service
        self.settings = service.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it may pass; answer and log it in any case."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = Visit(_request_id(headers), _address(scope))
        scope.setdefault("state", {})["visit"] = visit
        start = time.monotonic()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                own = MutableHeaders(scope=message)
                own["X-Request-Id"] = visit.request_id
                own["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            self._admit(scope, headers, visit)
            await self.app(scope, await self._body(scope, headers, receive), answer)
        except _Gone:
            visit.status = 499
        except ApiError as error:
            await send_error(answer, error, visit)
        except Exception as error:
            await self._failed(answer, error, visit)
        finally:
            self._log(scope, visit, time.monotonic() - start)

    def _admit(self, scope: Scope, headers: Headers, visit: Visit) -> None:
        """Raise `ApiError` for a request that may not pass."""
        self._check_host(headers)
        if scope["method"] not in _SAFE:
            self._check_origin(headers)
        path = scope["path"]
        if self.service.keys is not None and (path.startswith("/v1/") or path == "/metrics"):
            key = presented_key(headers)
            owner = self.service.keys.owner(key) if key else None
            if owner is None:
                code, text = ("wrong_key", "unknown") if key else ("missing_key", "missing")
                raise ApiError(401, code, f"the API key is {text}; send it as Authorization: "
                               "Bearer KEY")  # fmt: skip
            visit.client = owner
        limiter = self.service.limiter
        if limiter is not None and scope["method"] == "POST" and path.startswith("/v1/"):
            wait = limiter.wait(visit.client)
            if wait > 0:
                message = f"more than {limiter.per_minute:g} requests a minute; wait {wait:.1f} s"
                raise ApiError(429, "too_many_requests", message, retry_after=wait)

    def _check_host(self, headers: Headers) -> None:
        """Refuse other names than the server's own, as pages that rebind theirs send them."""
        allowed = self.settings.allowed_hosts
        host = headers.get("host", "")
        if "*" not in allowed and _host_name(host) not in allowed:
            raise ApiError(
                403,
                "wrong_host",
                f"this server does not answer to {host[:100]!r}; see allowed_hosts",
            )

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what a page of another web origin sends, unless it is allowed."""
        origin = headers.get("origin")
        if origin is None or origin in self.settings.cors_origins:
            return
        if "*" not in self.settings.cors_origins and _netloc(origin) != headers.get("host"):
            raise ApiError(
                403, "wrong_origin", "pages of other origins may not ask; see cors_origins"
            )

    async def _body(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Read the body, within its limits, and give a `receive` that hands it out."""
        if scope["method"] in _SAFE:
            return receive
        settings = self.settings
        upload = scope["path"] == UPLOAD_PATH
        limit = settings.max_upload_bytes if upload else settings.max_body_bytes
        try:
            async with asyncio.timeout(settings.body_timeout_in_s):
                body = await _read(receive, headers, limit)
        except TimeoutError:
            message = f"the body took longer than {settings.body_timeout_in_s:g} s to arrive"
            raise ApiError(408, "slow_body", message) from None
        handed_out = False

        async def replay() -> Message:
            nonlocal handed_out
            if handed_out:
                return await receive()  # waits for the client to go away
            handed_out = True
            return {"type": "http.request", "body": body, "more_body": False}

        return replay

    async def _failed(self, answer: Send, error: Exception, visit: Visit) -> None:
        logger.error(
            "a request failed",
            extra={
                "event": "internal",
                "request_id": visit.request_id,
                "trace": "".join([*traceback.format_tb(error.__traceback__), type(error).__name__]),
            },
        )
        if visit.status is None:
            text = "something went wrong; the server's log says what"
            await send_error(answer, ApiError(500, "internal", text), visit)

    def _log(self, scope: Scope, visit: Visit, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        status = visit.status if visit.status is not None else 499
        metrics = self.service.metrics
        metrics.requests.add(route, str(status))
        code = visit.notes.get("code", "client_gone" if status == 499 else None)
        if code is not None:
            metrics.errors.add(str(code))
        logger.log(
            logging.DEBUG if route in _POLLED else logging.INFO,
            "request",
            extra={
                "event": "request",
                "request_id": visit.request_id,
                "client": visit.client,
                "method": scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                **visit.notes,
            },
        )


async def send_error(answer: Send, error: ApiError, visit: Visit) -> None:
    """Send an error's answer."""
    visit.notes["code"] = error.code
    body = json.dumps({"error": error.body(visit.request_id)}).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **error.headers,
    }
    if error.status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await answer({"type": "http.response.start", "status": error.status, "headers": raw})
    await answer({"type": "http.response.body", "body": body})


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes:
    declared = headers.get("content-length", "0")
    too_large = ApiError(413, "too_large", f"the body is too large; allowed: {limit} bytes")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > limit:
            raise too_large
    return b"".join(parts)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"


def _address(scope: Scope) -> str:
    client: Sequence[Any] | None = scope.get("client")
    return str(client[0]) if client else "local"


def _host_name(host: str) -> str:
    return re.sub(r":\d+$", "", host).lower()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
