from __future__ import annotations

import json

import numpy as np
import pytest

from soundleap.errors import InputError
from soundleap.evaluation.frechet import FrechetResult
from soundleap.evaluation.report import (
    ClipResult,
    EvaluationReport,
    SetSummary,
    spectrogram_grid,
    write_report,
)
from soundleap.evaluation.tags import tag_accuracy

REPORT = EvaluationReport(
    embedder="toy",
    label_set="esc10",
    frechet=(FrechetResult(1.25, 4, 3, 9, ("generated: only 3 feature rows",)),),
    sets=(
        SetSummary("generated", 1, 1, 0, 3, 2.0, tag_accuracy(["rain"], ["rain"])),
        SetSummary("reference", 1, 0, 0, 9, 5.0),
    ),
    clips=(
        ClipResult("generated", "a.wav", "rain", "rain", 2.0, "rain"),
        ClipResult("generated", "b|c.wav", None, None, fault="is silent"),
        ClipResult("reference", "r.wav", None, None, 5.0),
    ),
)


def test_written_files_hold_everything(tmp_path):
    paths = write_report(REPORT, tmp_path / "out")
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "out").iterdir()}
    data = json.loads(paths[0].read_text())
    assert data["frechet"][0]["distance"] == 1.25
    assert data["refused"][0]["fault"] == "is silent"
    rows = [json.loads(line) for line in paths[2].read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a.wav", "b|c.wav", "r.wav"]


def test_markdown_names_distances_intervals_and_refused_clips():
    text = REPORT.to_markdown()
    assert "| 4 | 1.25 | 3 | 9 |" in text
    assert "- generated: only 3 feature rows" in text
    assert "100.0 % (20.7 to 100.0, n = 1)" in text
    assert "| generated | b\\|c.wav | is silent |" in text
    assert "zero-padded" in text


def test_spectrogram_grid_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "grid.png"
    waveforms = [np.random.default_rng(i).standard_normal(3000) for i in range(5)]
    spectrogram_grid(waveforms, list("abcde"), path, columns=3)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="5 waveforms, 1 titles"):
        spectrogram_grid(waveforms, ["a"], path)
