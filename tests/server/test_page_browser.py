from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Browser, browser, chromium

from soundleap.audio.metadata import read_metadata

if TYPE_CHECKING:
    from live_server import Live

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="needs Chromium (apt-get install chromium)"),
]
TAKES = "document.querySelectorAll('.take').length"
FOCUS = "document.activeElement.id"
SOUNDING = (
    "[...document.querySelectorAll('.take')].findIndex(e => e.classList.contains('sounding')) + 1"
)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as found:
        downloads = tmp_path / "downloads"
        downloads.mkdir()
        found.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        yield found
        assert found.complaints() == []


def visit(page: Browser, url: str) -> None:
    page.open(url)
    page.wait("document.getElementById('server-state').textContent === 'Ready'")
    page.wait("!document.getElementById('make').disabled")


def make(page: Browser, prompt: str, **fields: object) -> None:
    before = page.js(TAKES)
    for name, value in {"prompt": prompt, "duration_in_s": 2, "count": 1, **fields}.items():
        page.js(f"document.getElementById('{name}').value = {json.dumps(value)}")
    page.click("#make")
    page.wait(f"{TAKES} === {before + int(str(fields.get('count', 1)))}")


def downloaded(folder: Path, ending: str) -> Path:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if found := [path for path in folder.iterdir() if path.suffix == ending]:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no {ending} among {list(folder.iterdir())}")


def test_takes_are_made_compared_kept_and_saved_by_keyboard_alone(
    page: Browser, server: Live, tmp_path: Path
):
    visit(page, server.url)
    page.key("/")
    assert page.js(FOCUS) == "prompt"
    page.type("rain <b>on</b> a roof")
    page.key("Enter", ctrl=True)
    page.wait(f"{TAKES} === 2")
    page.wait(SOUNDING)
    assert page.js("document.querySelectorAll('.take b').length") == 0
    page.js("document.activeElement.blur()")
    page.key("l")
    page.key("2")
    page.wait(f"{SOUNDING} === 2")
    page.key("1")
    page.wait(f"{SOUNDING} === 1")
    page.key("k")
    page.wait("document.querySelectorAll('.take.kept').length === 1")
    page.key("n")
    page.type("My roof")
    page.key("Enter")
    page.key("Escape")
    page.wait(f"{SOUNDING} === 0")
    page.key("ArrowDown")
    page.wait("document.activeElement.getAttribute('aria-label').startsWith('Play take 2')")
    page.key("x")
    page.wait(f"{TAKES} === 1")
    page.key("u")
    page.wait(f"{TAKES} === 2")
    page.js("[...document.querySelectorAll('.take.kept .saves button')].at(1).click()")
    flac = downloaded(tmp_path / "downloads", ".flac")
    assert flac.name.startswith("My roof ")
    assert read_metadata(flac)["prompt"] == "rain <b>on</b> a roof"
    page.js("document.getElementById('zip').click()")
    packed = zipfile.ZipFile(io.BytesIO(downloaded(tmp_path / "downloads", ".zip").read_bytes()))
    assert packed.testzip() is None
    assert [name.rpartition(".")[2] for name in packed.namelist()] == ["wav"]


def test_history_outlives_a_reload_and_files_give_their_settings_back(page: Browser, server: Live):
    visit(page, server.url)
    make(page, "a dog barks", guidance_scale=2)
    page.js("document.querySelector('.take .keep').click()")
    page.wait("document.querySelector('.take.kept')")
    visit(page, server.url)
    page.wait(f"{TAKES} === 1")
    assert page.js("document.querySelector('.take .name').value") == "a dog barks"
    assert page.js("document.querySelector('.take').classList.contains('kept')")
    sound = server.sound(prompt="a stored prompt", duration_in_s=1.5, seed=77, guidance_scale=3)
    drop = (
        f"const file = new File([new Uint8Array({list(sound.content)})], 'old.wav');"
        "const data = new DataTransfer(); data.items.add(file);"
        "dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true}))"
    )
    page.js(f"(() => {{ {drop} }})()")
    page.wait("document.getElementById('prompt').value === 'a stored prompt'")
    assert page.js("document.getElementById('seed').value") == "77"
    assert page.js("document.getElementById('lock').getAttribute('aria-pressed')") == "true"
    page.js(
        "(() => { const data = new DataTransfer(); data.items.add(new File(['no'], 'x.wav'));"
        "dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true})) })()"
    )
    page.wait("document.getElementById('toast-text').textContent.includes('no Soundleap settings')")


def test_faults_are_told_beside_their_fields(page: Browser, start: Callable[..., Live]):
    visit(page, start(max_takes=16, max_audio_in_s=5.0).url)
    page.js("document.getElementById('duration_in_s').value = '99'")
    page.click("#make")
    assert page.js(FOCUS) == "prompt"
    assert page.js("document.getElementById('prompt-fault').textContent")
    said = page.js("document.getElementById('duration_in_s-fault').textContent")
    assert said == "The length must be a number from 0.5 to 10."
    page.js("document.getElementById('prompt').value = 'x'")
    page.js("document.getElementById('duration_in_s').value = '2'")
    page.js("document.getElementById('count').value = '9'")
    page.click("#make")
    page.wait("[...document.querySelectorAll('.fault')].some(e => e.textContent)")
    assert page.js(TAKES) == 0


def test_a_job_is_cancelled(page: Browser, server: Live):
    visit(page, server.url)
    page.js("document.querySelector('#steps input[value=teacher]').click()")
    for name, value in {"prompt": "x", "num_inference_steps": 200, "duration_in_s": 10}.items():
        page.js(f"document.getElementById('{name}').value = {json.dumps(value)}")
    page.click("#make")
    page.wait("document.querySelector('.job button')")
    page.click(".job button")
    page.wait("!document.querySelector('.job')")


def _serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).parent / "soundleap"
    command = [str(program), "serve", "--model", str(folder)]
    process = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                return process
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def test_a_server_that_goes_away_is_said_and_survived(page: Browser, untrained_folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = _serve(untrained_folder, port)
    try:
        visit(page, f"http://127.0.0.1:{port}/")
        make(page, "before")
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)
        page.wait("!document.getElementById('banner').hidden")
        assert page.js(TAKES) == 1
        process = _serve(untrained_folder, port)
        page.wait("document.getElementById('banner').hidden")
        make(page, "after")
        page.js("[...document.querySelectorAll('.take')].at(1).querySelector('.keep').click()")
        page.js("document.getElementById('zip-format').value = 'flac'")
        page.js("document.getElementById('zip').click()")  # made anew from settings and seed
        page.wait("document.getElementById('announce').textContent.includes('downloaded')")
    finally:
        process.terminate()
        process.wait(60)
