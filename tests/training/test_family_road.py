"""From a teacher of each published kind to a student that makes sounds, by the commands alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from toy_runs import Toy

from soundleap.bundle import Bundle
from soundleap.bundle_schema import Sampling
from soundleap.cli.main import main
from soundleap.importers import audiolcm, consistencytta
from soundleap.models.registry import load_network
from soundleap.untrained import write_untrained_family

PUBLISHED = {"tango": consistencytta.sampling, "make-an-audio-2": audiolcm.sampling}
"""How the published student of each teacher is asked."""
OF_STUDENTS = {
    "prediction", "student_prediction", "boundary", "sigma_data", "timestep_scaling", "grid",
    "guidance_range", "student_guided", "initial_noise",
}  # fmt: skip
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
    model, before = Bundle(tmp_path / "model"), Bundle(teacher).manifest
    manifest = model.manifest
    assert manifest.kind == before.kind
    assert manifest.networks == ("student", "teacher")
    assert_asked_as(manifest.sampling, PUBLISHED[family](), before.sampling)
    assert_same_weights(model, run)
    stages = manifest.provenance["stages"]
    assert [stage["iterations"] for stage in stages.values()] == [1] * len(ROADS[family])
    assert stages["student-1"]["start"] is None
    assert manifest.provenance["teacher"]["fingerprint"] == before.fingerprint
    for name in ("codec", "vocoder", "teacher"):
        found, wanted = getattr(manifest.parts, name), getattr(before.parts, name)
        assert (found.sha256, found.dtype) == (wanted.sha256, wanted.dtype)
    sound = tmp_path / "sound.wav"
    soundleap("generate", "rain", "--model", tmp_path / "model", "--seed", 1, "-o", sound)
    waveform, rate = soundfile.read(sound)
    assert rate == manifest.sampling_rate
    assert abs(waveform).max() > 0


def assert_asked_as(sampling: Sampling, published: Sampling, teacher: Sampling) -> None:
    """Check a student's own values against the published one's, and all others on its teacher's."""
    found, wanted, others = (s.model_dump() for s in (sampling, published, teacher))
    for name in found.keys() - {"default_steps", "max_steps", "default_guidance_scale"}:
        assert found[name] == (wanted if name in OF_STUDENTS else others)[name], name
    assert (sampling.default_steps, sampling.max_steps) == (2, 8)
    low = published.guidance_range[0]  # AudioLCM's is above its teacher's scale
    assert sampling.default_guidance_scale == max(teacher.default_guidance_scale, low)


def assert_same_weights(model: Bundle, run: Path) -> None:
    ours, trained = model.load_network("student"), load_network(run / "student.safetensors")
    assert ours.config == trained.config
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-3, atol=1e-6)
