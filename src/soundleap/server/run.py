"""Run the application with uvicorn until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from soundleap.errors import InputError
from soundleap.server.app import create_app
from soundleap.server.logs import log_to_stderr
from soundleap.server.settings import ServerSettings

if TYPE_CHECKING:
    from soundleap.server.service import Service

LINGER_IN_S = 3.0
"""How long results of jobs that were finished while stopping can still be fetched."""
MAX_CONNECTIONS = 1000
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

logger = logging.getLogger("soundleap.server")


def serve(settings: ServerSettings, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; a second signal does not wait for running work.

    Args:
        settings: of the application.
        host: name or address to listen on.
        port: 0 takes a free one.

    Raises:
        InputError: for a setting that is not allowed, or an address that can't be used.
        BundleError: for a model that is missing or not valid.
    """
    log_to_stderr()
    app = create_app(settings)
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    _say(f"listening on http://{_address(listener)}")
    if not is_loopback(host):
        logger.warning(
            "the server listens beyond this machine%s",
            "" if settings.api_key_file else ", and asks nobody for a key",
            extra={"event": "exposed", "host": host},
        )
    try:
        _Server(config, app.state.service).run(sockets=[listener])
    finally:
        app.state.service.abandon()  # after a second signal some may still be at work


class _Server(uvicorn.Server):
    """A server that finishes running work, and lets it be fetched, before it closes its doors."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is None or self._stopping is not None:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self._begin_to_stop)

    def _begin_to_stop(self) -> None:
        if self._stopping is None:
            _say("stopping: running work is finished, waiting work is cancelled")
            self._stopping = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        begin = time.time()
        await self._service.stop()
        last = self._service.jobs.last_finished
        if last is not None and last >= begin:
            await asyncio.sleep(LINGER_IN_S)
        self.should_exit = True


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(found[4][:2], family=found[0], backlog=512)  # pyright: ignore[reportArgumentType]
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"can't listen on host {host}, port {port}: {reason}; choose others with --host, --port"
        ) from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _say(text: str) -> None:
    print(f"soundleap: {text}", file=sys.stderr, flush=True)
