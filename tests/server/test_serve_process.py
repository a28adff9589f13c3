from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_server import LONG, WAIT_IN_S, wait_for

SHORT = {"prompt": "rain", "duration_in_s": 0.5, "num_inference_steps": 1, "seed": 7}
COMMAND = [
    sys.executable,
    "-c",
    "import sys; from soundleap.cli.main import main; sys.exit(main())",
]


class Served:
    """A `soundleap serve` of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.url = wait_for(lambda: _address(log.read_text()), "the address")
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_IN_S)

    def ready(self) -> bool:
        return self.client.get("/health").status_code == 200

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name}{{.*}} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split() if "spawn_main" in _command_line(int(pid))]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _address(log: str) -> str | None:
    found = re.search(r"listening on (http://\S+)\n", log)
    return found.group(1) if found else None


@pytest.fixture
def served(untrained_folder: Path, tmp_path: Path) -> Iterator[Served]:
    arguments = ["serve", "--model", str(untrained_folder), "--port", "0", "--device", "cpu"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([*COMMAND, *arguments], stderr=file)
    try:
        yield Served(process, log)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the workers through /proc")
def test_the_life_of_a_server(served: Served):
    """It loads, serves, forgets clients that leave, outlives its worker, and ends in order."""
    assert served.client.get("/health").json()["status"] in ("loading", "ready")
    wait_for(served.ready, "the model")
    first = served.client.post("/v1/audio/generate", json=SHORT)
    assert first.status_code == 200

    _leave_in_the_middle(served)
    wait_for(lambda: served.metric("soundleap_workers_busy") == 0, "the work's end")

    job = served.client.post("/v1/jobs", json=LONG).json()
    wait_for(lambda: _status(served, job) == "running", "the job's begin")
    (worker,) = served.workers()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: _status(served, job) == "failed", "the job's end")
    failed = served.client.get(job["links"]["self"]).json()
    assert (failed["error"]["code"], failed["error"]["type"]) == ("worker_died", "unavailable")
    wait_for(served.ready, "a new worker")
    assert served.metric("soundleap_worker_restarts_total") == 1
    (new_worker,) = served.workers()
    assert served.client.post("/v1/audio/generate", json=SHORT).content == first.content

    running = served.client.post("/v1/jobs", json={**LONG, "num_inference_steps": 20}).json()
    waiting = served.client.post("/v1/jobs", json=SHORT).json()
    wait_for(lambda: _status(served, running) == "running", "the job's begin")
    ends: dict[str, Any] = {}
    with served.client.stream("GET", waiting["links"]["events"]) as answer:
        served.process.send_signal(signal.SIGTERM)
        ends["waiting"] = _last_event(answer)
    with served.client.stream("GET", running["links"]["events"]) as answer:
        ends["running"] = _last_event(answer)
    sound = served.client.get(f"{running['links']['self']}/audio/1.wav")  # there is still time
    assert (ends["waiting"]["status"], ends["waiting"]["error"]["code"]) == (
        "cancelled",
        "stopping",
    )
    assert ends["running"]["status"] == "done"
    assert sound.status_code == 200
    served.client.close()
    assert served.process.wait(WAIT_IN_S) == 0
    assert not _command_line(new_worker)


def _status(served: Served, job: dict[str, Any]) -> str:
    return served.client.get(job["links"]["self"]).json()["status"]


def _leave_in_the_middle(served: Served) -> None:
    """Ask for a long sound, and close the connection once it is being made."""
    host, port = served.url.removeprefix("http://").split(":")
    body = json.dumps(LONG).encode()
    head = f"POST /v1/audio/generate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: served.metric("soundleap_workers_busy") == 1, "the work's begin")


def _last_event(answer: httpx.Response) -> dict[str, Any]:
    data = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return json.loads(data[-1].removeprefix("data: "))


@pytest.mark.slow
def test_a_second_signal_does_not_wait(served: Served):
    wait_for(served.ready, "the model")
    job = served.client.post("/v1/jobs", json=LONG).json()
    wait_for(lambda: _status(served, job) == "running", "the job's begin")
    workers = served.workers()

    served.process.send_signal(signal.SIGINT)
    wait_for(lambda: served.client.get("/health").json()["status"] == "stopping", "the first")
    served.process.send_signal(signal.SIGINT)

    served.process.wait(WAIT_IN_S)
    wait_for(lambda: not any(map(_command_line, workers)), "the workers' end")


def test_an_address_that_is_taken_is_told(untrained_folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [*COMMAND, "serve", "--model", str(untrained_folder), "--port", port],
            capture_output=True, text=True, timeout=WAIT_IN_S, check=False,
        )  # fmt: skip

    assert ended.returncode == 2
    assert f"can't listen on host 127.0.0.1, port {port}" in ended.stderr
    assert "choose others with --host, --port" in ended.stderr


def test_serving_imports_no_torch_into_the_servers_process():
    code = "import sys, soundleap.server.run; sys.exit('torch' in sys.modules)"

    assert (
        subprocess.run([sys.executable, "-c", code], timeout=WAIT_IN_S, check=False).returncode == 0
    )
