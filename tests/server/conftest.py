from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

for package in ("fastapi", "httpx", "uvicorn"):
    pytest.importorskip(package, reason="testing the server needs the extra `serve`, and httpx")

if TYPE_CHECKING:
    from live_server import Live


@pytest.fixture(scope="session")
def settings(untrained_folder: Path) -> Callable[..., Any]:
    """Settings of a server with the untrained model in a thread."""
    from soundleap.server.settings import ServerSettings

    def make(**changes: Any) -> Any:
        values = {"models": (str(untrained_folder),), "worker_kind": "thread", "device": "cpu"}
        return ServerSettings(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def server(settings: Callable[..., Any]) -> Iterator[Live]:
    """A server with usual settings; leave nothing running in it."""
    from live_server import live

    with live(settings()) as found:
        yield found


@pytest.fixture
def start(settings: Callable[..., Any]) -> Iterator[Callable[..., Live]]:
    """Start a server with settings of its own."""
    from live_server import live

    with contextlib.ExitStack() as stack:

        def begin(*, ready: bool = True, **changes: Any) -> Live:
            return stack.enter_context(live(settings(**changes), ready=ready))

        yield begin
