"""A headless Chromium, driven over a pipe in its own protocol; only the browser is needed."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAIT_IN_S = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PIPES = "import os, sys; r, w = map(int, sys.argv[1:3]); r, w = os.dup(r), os.dup(w); \
r2, w2 = os.dup(r), os.dup(w); os.dup2(r2, 3); os.dup2(w2, 4); os.execvp(sys.argv[3], sys.argv[3:])"
_CODES = {"Enter": 13, "Escape": 27, " ": 32, "Tab": 9, "ArrowUp": 38, "ArrowDown": 40}


def chromium() -> str | None:
    """Path of a Chromium, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one page."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        flags = (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--remote-debugging-pipe", "--mute-audio",
            "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank",
        )  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PIPES, str(to_read), str(to_write), chromium() or "", *flags],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._ids = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        threading.Thread(target=self._read, daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := os.read(self._in, 1 << 16):
                *messages, rest = (rest + data).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.put(message)
                    else:
                        self.events.append(message)

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        answer = self._answers.get(timeout=WAIT_IN_S)
        assert answer["id"] == number
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, code: str) -> Any:
        """Evaluate an expression in the page; promises are awaited."""
        found = self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, code: str) -> Any:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + WAIT_IN_S
        while time.monotonic() < end:
            if found := self.js(f"(({code}) || false) && true"):
                return found
            time.sleep(0.03)
        raise AssertionError(f"waited in vain for {code}; {self.js('document.body.innerText')}")

    def key(self, key: str, *, ctrl: bool = False, shift: bool = False) -> None:
        """Press and release a key."""
        code = _CODES.get(key) or ord(key.upper())
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        held = 2 * ctrl + 8 * shift
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": held}
        shown = {} if ctrl or not text else {"text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown", **event, **shown)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element."""
        where = (
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        x, y = self.js(where)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def complaints(self) -> list[str]:
        """What the page's console holds of errors (also refusals by the security policy)."""
        found: list[str] = []
        for event in self.events:
            params = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                if params["entry"]["source"] != "network":
                    found.append(params["entry"]["text"])
        return found

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self._out, self._in):
            with contextlib.suppress(OSError):
                os.close(pipe)


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    found = Browser(folder)
    try:
        yield found
    finally:
        found.close()
