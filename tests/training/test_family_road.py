"""From a teacher of each published kind to a student that makes sounds, by the commands alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from toy_runs import Toy

from soundleap.bundle import Bundle
from soundleap.cli.main import main
from soundleap.untrained import write_untrained_family

ROADS = {
    "tango": ("consistencytta-stage1", "consistencytta-stage2"),
    "make-an-audio-2": ("audiolcm-walk",),
}


def soundleap(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize("family", ROADS)
def test_a_teacher_becomes_a_few_step_model(toy: Toy, tmp_path: Path, family: str) -> None:
    teacher, cache = tmp_path / "teacher", tmp_path / "cache"
    write_untrained_family(teacher, family, "tiny")
    soundleap(
        "data", "cache", "model-cache", f"model={teacher}", f"run_dir={cache}",
        f'manifests=["{toy.manifest}"]', "variants={'*': 1}", "text_states=none", "-q",
    )  # fmt: skip
    start: list[str] = []
    run = tmp_path
    for preset in ROADS[family]:
        run = tmp_path / preset
        soundleap(
            "distill", preset, f"run_dir={run}", f"cache={cache}", f"teacher={teacher}", *start,
            "iterations=1", "batch_size=600", "mixed_precision=no", "preview_prompts=[]", "-q",
        )  # fmt: skip
        start = [f"start={run / 'student.safetensors'}"]
    soundleap("bundle", tmp_path / "model", "--student", run, "--steps", 2)
    manifest = Bundle(tmp_path / "model").manifest
    assert manifest.kind == Bundle(teacher).manifest.kind
    assert manifest.networks == ("student", "teacher")
    sound = tmp_path / "sound.wav"
    soundleap("generate", "rain", "--model", tmp_path / "model", "--seed", 1, "-o", sound)
    waveform, rate = soundfile.read(sound)
    assert rate == manifest.sampling_rate
    assert abs(waveform).max() > 0
