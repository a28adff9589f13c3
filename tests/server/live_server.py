"""A server in the tests' own process, and what tests ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

WAIT_IN_S = 120.0
LONG = {
    "prompt": "long", "duration_in_s": 10.0, "network": "teacher", "num_inference_steps": 200,
}  # fmt: skip
"""Work that takes a while, for tests that stop it."""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Wait until something is true; the tests' only clock."""
    end = time.monotonic() + WAIT_IN_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


@dataclass
class Live:
    """A server that runs in a thread of the tests' process, on a socket of its own."""

    url: str
    app: Any
    loop: asyncio.AbstractEventLoop
    client: Any

    @property
    def service(self) -> Any:
        return self.app.state.service

    @property
    def dispatcher(self) -> Any:
        return next(iter(self.service.models.values())).dispatcher

    def stop(self) -> None:
        """Stop the service as SIGTERM does, while the server goes on answering."""
        asyncio.run_coroutine_threadsafe(self.service.stop(), self.loop).result(WAIT_IN_S)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call something in the server's thread."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(WAIT_IN_S)

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(path, json=body)

    def sound(self, **body: Any) -> Any:
        return self.post("/v1/audio/generate", **body)

    def job(self, **body: Any) -> dict[str, Any]:
        answer = self.post("/v1/jobs", **body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def finished(self, job: dict[str, Any]) -> dict[str, Any]:
        def look() -> Any:
            found = self.client.get(job["links"]["self"]).json()
            return found if found["finished"] is not None else None

        return wait_for(look, "a job's end")

    def events(self, job: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        with self.client.stream("GET", job["links"]["events"]) as answer:
            name = ""
            for line in answer.iter_lines():
                kind, _, value = line.partition(": ")
                if kind == "event":
                    name = value
                elif kind == "data":
                    yield name, json.loads(value)


@contextlib.contextmanager
def live(settings: Any, *, ready: bool = True) -> Iterator[Live]:
    from soundleap.server.app import create_app

    app = create_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=5)
    )
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    wait_for(lambda: server.started, "the server")
    with httpx.Client(base_url=url, timeout=WAIT_IN_S) as client:
        found = Live(url, app, loops[0], client)
        if ready:
            wait_for(lambda: client.get("/health").status_code == 200, "the model")
        yield found
    server.should_exit = True
    thread.join(WAIT_IN_S)
    assert not thread.is_alive()
