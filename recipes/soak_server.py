"""Load a server with good, bad and broken-off requests, and watch its memory and open files.

    python recipes/soak_server.py --seconds 120 --clients 6
    python recipes/soak_server.py --model default --seconds 600

It starts `soundleap serve` on a free port of this machine, asks nobody else, and ends by itself. A
line every ten seconds shows memory (MB) and open files of the server and its workers. The exit code
is 1 if they still grow in the second half, or if an answer is none of those expected. Linux only.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MAX_SECONDS = 1800
MAX_REQUESTS = 200_000
INTERVAL_IN_S = 10.0
ALLOWED_GROWTH = 0.10
"""Of memory, from the middle of the run to its end."""
SLACK_FILES = 8
COMMAND = [
    sys.executable,
    "-c",
    "import sys; from soundleap.cli.main import main; sys.exit(main())",
]
FORMATS = ("wav", "flac", "ogg", "opus", "mp3")


class Server:
    """A `soundleap serve` of its own."""

    def __init__(self, model: str, folder: Path) -> None:
        self.log = folder / "log"
        arguments = ["serve", "--model", model, "--port", "0", "--keep-results", "20"]
        with self.log.open("wb") as file:
            self.process = subprocess.Popen([*COMMAND, *arguments], stderr=file)
        self.host, self.port = self._wait()

    def _wait(self) -> tuple[str, int]:
        while self.process.poll() is None:
            found = re.search(r"listening on http://([\d.]+):(\d+)\n", self.log.read_text())
            if found and self.status(found.group(1), int(found.group(2))) == 200:
                return found.group(1), int(found.group(2))
            time.sleep(0.2)
        raise SystemExit(f"the server did not start:\n{self.log.read_text()}")

    @staticmethod
    def status(host: str, port: int) -> int:
        """Ask whether it is ready."""
        connection = http.client.HTTPConnection(host, port, timeout=30)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def processes(self) -> list[int]:
        """Give the server's process and its workers'."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, listed.split())]


def resources(pids: list[int]) -> tuple[float, int]:
    """Give resident memory in MB and the number of open files, of all together."""
    pages = files = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            files += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:  # it has ended
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files


class Client(threading.Thread):
    """Asks one thing after another, chosen at random."""

    def __init__(self, server: Server, seed: int, end: float, budget: threading.Semaphore) -> None:
        super().__init__(daemon=True)
        self.server, self.end, self.budget = server, end, budget
        self.random = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []

    def run(self) -> None:
        """Ask until the time or the number of requests is used up."""
        kinds = (self.good, self.good, self.good, self.bad, self.malformed, self.large,
                 self.broken_off, self.job, self.cancelled_job, self.listener)  # fmt: skip
        while time.monotonic() < self.end and self.budget.acquire(blocking=False):
            kind = self.random.choice(kinds)
            try:
                kind()
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(f"{kind.__name__}: {error!r}")

    def ask(
        self, method: str, path: str, body: object = None, *, expected: tuple[int, ...]
    ) -> bytes:
        """Ask and read the answer."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=120)
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        self.counts[str(answer.status)] += 1
        if answer.status not in (*expected, 429):
            self.faults.append(f"{method} {path}: {answer.status} {data[:200]!r}")
        return data

    def sound(self, **changes: object) -> dict[str, object]:
        """Make a request's body."""
        seed = self.random.randrange(1000)
        return {"prompt": "rain", "duration_in_s": self.random.choice((0.5, 1, 2)),
                "num_inference_steps": 1, "seed": seed, **changes}  # fmt: skip

    def good(self) -> None:
        """Ask for a sound."""
        body = self.sound(response_format=self.random.choice(FORMATS))
        self.ask("POST", "/v1/audio/generate", body, expected=(200,))

    def bad(self) -> None:
        """Ask for what is not allowed."""
        changes = self.random.choice(
            ({"duration_in_s": 99}, {"seed": "x"}, {"nothing": 1}, {"prompt": ""})
        )
        self.ask("POST", "/v1/audio/generate", self.sound(**changes), expected=(422,))

    def malformed(self) -> None:
        """Send what is no JSON."""
        self.ask("POST", "/v1/jobs", b'{"prompt": ', expected=(400,))

    def large(self) -> None:
        """Send too much."""
        body = {"prompt": "x" * 100_000}
        try:
            self.ask("POST", "/v1/audio/generate", body, expected=(413,))
        except (BrokenPipeError, ConnectionResetError):  # refused before all was sent
            self.counts["413"] += 1

    def broken_off(self) -> None:
        """Ask for a long sound and go away."""
        body = json.dumps(self.sound(network="teacher", num_inference_steps=50)).encode()
        head = f"POST /v1/audio/generate HTTP/1.1\r\nHost: {self.server.host}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        whole = head.encode() + body
        with socket.create_connection((self.server.host, self.server.port), timeout=30) as line:
            line.sendall(whole[: self.random.choice((20, len(head) + 3, len(whole)))])
            time.sleep(self.random.uniform(0.0, 0.2))
        self.counts["broken off"] += 1

    def _new_job(self) -> str | None:
        body = self.sound(count=self.random.randint(1, 3))
        answer = json.loads(self.ask("POST", "/v1/jobs", body, expected=(202,)))
        return answer["links"]["self"] if "links" in answer else None

    def job(self) -> None:
        """Have takes made, and fetch them."""
        if (address := self._new_job()) is None:
            return
        self.ask("GET", f"{address}/events", expected=(200,))
        self.ask("GET", f"{address}/archive.zip", expected=(200,))

    def cancelled_job(self) -> None:
        """Have takes made, and think better of it."""
        if (address := self._new_job()) is not None:
            self.ask("DELETE", address, expected=(200,))

    def listener(self) -> None:
        """Follow a job, and go away in the middle."""
        if (address := self._new_job()) is None:
            return
        with socket.create_connection((self.server.host, self.server.port), timeout=30) as line:
            line.sendall(
                f"GET {address}/events HTTP/1.1\r\nHost: {self.server.host}\r\n\r\n".encode()
            )
            line.recv(1000)
        self.counts["broken off"] += 1


def watch(server: Server, clients: list[Client], end: float) -> list[tuple[float, int]]:
    """Print memory and files until the clients are done; gives them all."""
    start, rows = time.monotonic(), []
    print("seconds  memory_mb  files  answers", flush=True)
    while any(client.is_alive() for client in clients) and time.monotonic() < end + 120:
        time.sleep(INTERVAL_IN_S)
        memory, files = resources(server.processes())
        rows.append((memory, files))
        counts = sum((client.counts for client in clients), collections.Counter())
        told = " ".join(f"{name}:{count}" for name, count in sorted(counts.items()))
        print(f"{time.monotonic() - start:7.0f}  {memory:9.1f}  {files:5d}  {told}", flush=True)
    return rows


def verdict(rows: list[tuple[float, int]], faults: list[str]) -> int:
    """Compare the end with the middle; gives the exit code."""
    half = rows[len(rows) // 2 :]
    memory_middle, memory_end = half[0][0], min(memory for memory, _ in rows[-3:])
    files_middle, files_end = half[0][1], min(files for _, files in rows[-3:])
    grew = memory_end > memory_middle * (1 + ALLOWED_GROWTH)
    leaked = files_end > files_middle + SLACK_FILES
    print(f"memory {memory_middle:.1f} -> {memory_end:.1f} MB, files {files_middle} -> {files_end}")
    print(f"unexpected answers: {len(faults)}")
    for fault in faults[:10]:
        print(f"  {fault}")
    return int(grew or leaked or bool(faults))


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", help="as for soundleap serve; left out: a tiny untrained one")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=6)
    options = parser.parse_args()
    seconds, requests = min(options.seconds, MAX_SECONDS), min(options.requests, MAX_REQUESTS)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model is None:
            from soundleap.debug import write_untrained_bundle

            model = str(write_untrained_bundle(Path(folder) / "untrained").folder)
        server = Server(model, Path(folder))
        end = time.monotonic() + seconds
        budget = threading.Semaphore(requests)
        clients = [Client(server, seed, end, budget) for seed in range(options.clients)]
        for client in clients:
            client.start()
        try:
            rows = watch(server, clients, end)
            server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(120)
        finally:
            server.process.kill()
        faults = [fault for client in clients for fault in client.faults]
        faults += [f"the server ended with {code}"] if code else []
        return verdict(rows, faults)


if __name__ == "__main__":
    raise SystemExit(main())
