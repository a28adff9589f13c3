from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed")

import torch
from diffusers import AudioPipelineOutput, DiffusionPipeline

from soundleap.diffusers import SoundleapPipeline
from soundleap.errors import BundleError, InputError
from soundleap.pipeline import TextToAudio


@pytest.fixture
def pipe(untrained_folder: Path) -> SoundleapPipeline:
    made = SoundleapPipeline.from_pretrained(untrained_folder)
    made.set_progress_bar_config(disable=True)
    return made


def test_code_for_audioldm2_runs(pipe: SoundleapPipeline) -> None:
    assert isinstance(pipe, DiffusionPipeline)
    generator = torch.Generator("cpu").manual_seed(0)
    output = pipe.to("cpu")(
        "the sound of a hammer on wood",
        negative_prompt="low quality",
        num_inference_steps=10,  # more than the student has
        audio_length_in_s=0.5,
        num_waveforms_per_prompt=2,
        generator=generator,
        eta=0.0,
    )
    assert isinstance(output, AudioPipelineOutput)
    assert output.audios.shape == (2, 8000)
    assert output.audios.dtype == np.float32
    assert [entry["network"] for entry in output.metadata] == ["teacher", "teacher"]
    assert output[0] is output.audios


def test_code_for_stable_audio_runs(pipe: SoundleapPipeline) -> None:
    pipe.enable_model_cpu_offload()
    audio = pipe(
        "the sound of a hammer on wood",
        num_inference_steps=2,
        audio_start_in_s=0.0,
        audio_end_in_s=0.5,
        num_waveforms_per_prompt=1,
        generator=torch.Generator("cpu").manual_seed(0),
    ).audios
    assert audio.shape == (1, 1, 8000)
    assert audio[0].T.float().cpu().numpy().shape == (8000, 1)
    assert pipe.vae.sampling_rate == pipe.sampling_rate == 16000


def test_same_sounds_as_the_pipeline_underneath(
    pipe: SoundleapPipeline, pipeline: TextToAudio
) -> None:
    ours = pipe(["rain", "wind"], audio_length_in_s=0.5, seed=4, num_waveforms_per_prompt=2)
    theirs = pipeline(["rain", "wind"], duration_in_s=0.5, seed=4, num_waveforms_per_prompt=2)
    assert ours.seeds == theirs.seeds == [4, 5, 6, 7]
    np.testing.assert_array_equal(ours.audios, np.concatenate(theirs.audios))
    assert ours.metadata == theirs.metadata


def test_seeds_come_from_generators(pipe: SoundleapPipeline) -> None:
    def call(generator: Any) -> SoundleapPipeline:
        return pipe(["rain", "wind"], audio_length_in_s=0.5, generator=generator)

    def seeded(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    (one,) = seeded(1)
    first, second = call(one), call(one)
    assert len({*first.seeds, *second.seeds}) == 4
    assert call(seeded(1)[0]).seeds == first.seeds
    assert call(seeded(1, 2)).seeds == call(seeded(2, 1)).seeds[::-1]
    again = pipe("rain", audio_length_in_s=0.5, seed=first.seeds[0])
    np.testing.assert_allclose(again.audios[0], first.audios[0], atol=1e-4)


def test_round_trip(pipe: SoundleapPipeline, tmp_path: Path) -> None:
    before = pipe("rain", audio_length_in_s=0.5, seed=1, output_type="pt").audios
    pipe.save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text())
    assert index["_class_name"] == "SoundleapPipeline"
    for folder in (tmp_path / "saved", tmp_path / "saved" / "bundle"):
        loaded = SoundleapPipeline.from_pretrained(folder)
        after = loaded("rain", audio_length_in_s=0.5, seed=1, return_dict=False)[0]
        np.testing.assert_array_equal(after, before.numpy())
    with pytest.raises(InputError, match="not an empty folder"):
        pipe.save_pretrained(tmp_path / "saved")
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioLDM2Pipeline"}')
    with pytest.raises(BundleError, match="soundleap import"):
        SoundleapPipeline.from_pretrained(tmp_path)


def test_callbacks(pipe: SoundleapPipeline) -> None:
    seen: list[Any] = []

    def on_step_end(who: Any, step: int, t: float, given: dict[str, Any]) -> dict[str, Any]:
        assert who is pipe
        seen.append((step, t, tuple(given["latents"].shape)))
        return given

    pipe("rain", audio_length_in_s=0.5, num_inference_steps=2, callback_on_step_end=on_step_end)
    assert [(step, shape) for step, _, shape in seen] == [(0, (1, 16, 4)), (1, (1, 16, 4))]
    older: list[int] = []
    pipe("rain", audio_length_in_s=0.5, num_inference_steps=3, callback_steps=2,
         callback=lambda step, t, latents: older.append(step))  # fmt: skip
    assert older == [0, 2]
    with pytest.raises(InputError, match="other latents"):
        pipe("rain", audio_length_in_s=0.5,
             callback_on_step_end=lambda *a: {"latents": a[3]["latents"] + 1})  # fmt: skip
    with pytest.raises(InputError, match="allowed: latents"):
        pipe("rain", callback_on_step_end_tensor_inputs=["prompt_embeds"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latents": torch.zeros(1)}, "latents can't be given here"),
        ({"eta": 0.5}, "eta can't be given here"),
        ({"audio_start_in_s": 1.0}, "every sound starts at 0"),
        ({"audio_length_in_s": 1.0, "audio_end_in_s": 1.0}, "mean the same"),
        ({"output_type": "latent"}, "allowed: 'np' or 'pt'"),
        ({"generator": [torch.Generator()] * 3}, "3 entries for 1 sounds"),
        ({"generator": torch.Generator(), "seed": 1}, "give one"),
        ({"num_inference_steps": 5000}, "num_inference_steps is 5000"),
        ({"audio_length_in_s": 1e4}, "duration_in_s is"),
    ],
)
def test_refusals(pipe: SoundleapPipeline, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pipe("rain", **options)


def test_unknown_argument_is_a_type_error(pipe: SoundleapPipeline) -> None:
    with pytest.raises(TypeError, match="'banana'"):
        pipe("rain", banana=1)


def test_types(
    pipe: SoundleapPipeline, untrained_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = SoundleapPipeline.from_pretrained(untrained_folder, torch_dtype=torch.float16)
    assert "run as torch.bfloat16" in caplog.text
    assert half.dtype == torch.bfloat16
    assert half.to("cpu", torch.float32).dtype == torch.float32
    assert pipe.to(dtype=torch.bfloat16).dtype == torch.bfloat16
    assert pipe.device == torch.device("cpu")
    assert list(pipe.components) == ["model"]
    with pytest.raises(InputError, match=r"dtype is torch\.int8"):
        pipe.to(torch.int8)
    with pytest.raises(InputError, match="device"):
        pipe.to("nowhere")
