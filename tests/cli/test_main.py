from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import soundleap
from soundleap.audio.io import write_audio
from soundleap.cli.main import main
from soundleap.pipeline import TextToAudio


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"soundleap {soundleap.__version__}\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("generate", "show", "models"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize("command", ["generate", "show", "models"])
def test_help_of_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"soundleap {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["generat"], ["generate", "--stepz", "1"], ["show"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err


def test_the_console_script_passes_the_exit_code_on(tmp_path: Path) -> None:
    run = subprocess.run(
        [Path(sys.executable).parent / "soundleap", "show", tmp_path / "none.wav"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert (
        run.stderr == f"soundleap: can't read {tmp_path / 'none.wav'}: No such file or directory\n"
    )


def test_show(pipeline: TextToAudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pipeline("rain", duration_in_s=0.5, seed=7)
    path = str(output.save(tmp_path / "rain.mp3")[0])
    assert main(["show", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == output.metadata[0]
    assert main(["show", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert shown["prompt"] == "rain"
    assert shown["seed"] == "7"
    assert shown["ai_generated"] == "true"


def test_show_of_another_file(
    pipeline: TextToAudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_audio(tmp_path / "a.wav", pipeline("rain", duration_in_s=0.5).audios[0], 16000)
    assert main(["show", str(path)]) == 1
    assert capsys.readouterr().err == f"soundleap: {path} carries no Soundleap metadata\n"


def test_models(untrained_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", str(untrained_folder), "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out).values()
    assert facts["name"] == "untrained 0"
    assert facts["licence"] == "CC0-1.0"
    assert facts["sampling_rate"] == "16000 Hz"
    assert facts["student"] == "1 to 8 steps (default 2), guidance 1 to 6"
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("default\n")
    assert "can be imported" in out
    assert main(["models", "/nowhere/at/all"]) == 1
    assert "/nowhere/at/all does not exist" in capsys.readouterr().err
