"""The page of a training run in a real browser: from the disk, by keyboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import browser, chromium

from soundleap.training.run_page import run_page
from soundleap.training.teacher import TeacherSettings

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here")


def test_the_page_of_a_run_from_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "my run #1"
    for iteration in (5, 10):
        snapshot = folder / f"snapshot-{iteration:06d}"
        snapshot.mkdir(parents=True)
        for i in range(2):
            tone = 0.3 * np.sin(np.arange(32000) * 0.1 * (i + 1))
            soundfile.write(snapshot / f"{i}-a b.wav", tone, 16000)
    settings = TeacherSettings(
        run_dir=str(folder), cache="c", heldout_cache="h", codec="k", preview_prompts=("rain",)
    )
    path = folder / "index.html"
    path.write_text(run_page(settings, folder, 10, "running"), encoding="utf-8")
    with browser(tmp_path / "profile") as page:
        page.open(path.as_uri())
        in_focus = "document.activeElement"
        page.key("j")
        assert page.js(f"{in_focus}.getAttribute('aria-label')") == "rain, iteration 10"
        page.key("p")
        page.wait(f"!{in_focus}.paused && {in_focus}.currentTime > 0")
        page.key("j")
        page.key("p")
        page.wait(f"!{in_focus}.paused")
        page.wait("[...document.querySelectorAll('audio')].filter(a => !a.paused).length === 1")
        page.key("p")
        page.key("k")
        assert page.js(f"{in_focus}.getAttribute('aria-label')") == "rain, iteration 10"
        assert page.complaints() == []
