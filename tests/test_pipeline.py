from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from soundleap.audio.metadata import read_metadata
from soundleap.errors import BundleError, InputError, NotFiniteError
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig
from soundleap.output import scale_down
from soundleap.pipeline import TextToAudio

SHORT = 0.6


def test_one_prompt_gives_one_sound(pipeline: TextToAudio) -> None:
    output = pipeline("rain on a tin roof", duration_in_s=1.3, seed=7)
    assert output.sampling_rate == 16000
    assert output.seeds == [7]
    (audio,) = output.audios
    assert audio.shape == (1, 20800)
    assert audio.dtype == np.float32
    assert 0 < np.abs(audio).max() <= 1
    (metadata,) = output.metadata
    expected = {
        "ai_generated": True,
        "prompt": "rain on a tin roof",
        "negative_prompt": None,
        "duration_in_s": 1.3,
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "seed": 7,
        "network": "student",
        "model": "untrained",
        "model_fingerprint": pipeline.manifest.fingerprint,
        "gain": 1.0,
    }
    assert {name: metadata[name] for name in expected} == expected


def test_the_same_seed_gives_the_same_samples(pipeline: TextToAudio) -> None:
    first, second, other = (
        pipeline("rain", duration_in_s=SHORT, seed=seed).audios[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize(("network", "steps"), [("student", 1), ("student", 4), ("teacher", 3)])
def test_the_batch_changes_nothing(pipeline: TextToAudio, network: str, steps: int) -> None:
    durations = [1.1, 0.5, 1.1, 0.8]
    prompts = ["rain on a roof at night", "dog", "a bell rings", "wind"]
    settings = {"num_inference_steps": steps, "network": network}
    together = pipeline(prompts, duration_in_s=durations, seed=5, **settings)
    for i, (prompt, duration) in enumerate(zip(prompts, durations, strict=True)):
        alone = pipeline(prompt, duration_in_s=duration, seed=5 + i, **settings).audios[0]
        assert alone.shape == together.audios[i].shape
        np.testing.assert_allclose(together.audios[i], alone, atol=1e-4)
    pair = pipeline(prompts[2:], duration_in_s=durations[2:], seed=7, **settings)
    np.testing.assert_allclose(pair.audios[0], together.audios[2], atol=1e-4)


def test_samples_of_a_prompt_count_their_seeds_up(pipeline: TextToAudio) -> None:
    output = pipeline(["rain", "dog"], duration_in_s=SHORT, seed=3, num_waveforms_per_prompt=2)
    assert output.seeds == [3, 4, 5, 6]
    assert [entry["prompt"] for entry in output.metadata] == ["rain", "rain", "dog", "dog"]
    alone = pipeline("rain", duration_in_s=SHORT, seed=4)
    np.testing.assert_allclose(output.audios[1], alone.audios[0], atol=1e-4)


def test_a_drawn_seed_is_told(pipeline: TextToAudio) -> None:
    drawn = pipeline("rain", duration_in_s=SHORT)
    again = pipeline("rain", duration_in_s=SHORT, seed=drawn.seeds[0])
    assert np.array_equal(drawn.audios[0], again.audios[0])


def test_steps_guidance_negative_and_network_matter(pipeline: TextToAudio) -> None:
    plain = pipeline("rain", duration_in_s=SHORT, seed=1).audios[0]
    for change in (
        {"num_inference_steps": 1},
        {"guidance_scale": 5.0},
        {"negative_prompt": "a car"},
        {"network": "teacher", "num_inference_steps": 4},
    ):
        other = pipeline("rain", duration_in_s=SHORT, seed=1, **change).audios[0]
        assert not np.allclose(plain, other, atol=1e-4), change


def test_an_empty_negative_prompt_is_none(pipeline: TextToAudio) -> None:
    plain, empty = (
        pipeline("rain", duration_in_s=SHORT, seed=1, negative_prompt=negative).audios[0]
        for negative in (None, "")
    )
    assert np.array_equal(plain, empty)


def test_input_is_checked_before_any_work(pipeline: TextToAudio) -> None:
    def never(step: int, timestep: float, x_0: torch.Tensor) -> None:
        raise AssertionError("work was done")

    for prompt, settings, message in [
        ("", {}, "prompt is empty"),
        ([], {}, "empty list"),
        (["rain", " "], {}, "request 2 of 2: prompt is empty"),
        ("rain " * 127, {}, "prompt has 127 tokens; allowed: at most 126"),
        ("rain", {"negative_prompt": "dog " * 127}, "negative_prompt has 127 tokens"),
        ("rain", {"duration_in_s": 11}, "allowed: 0.5 to 10 s"),
        ("rain", {"num_inference_steps": 9}, "allowed: 1 to 8"),
        ("rain", {"num_waveforms_per_prompt": 0}, "num_waveforms_per_prompt is 0"),
        (["rain", "dog"], {"duration_in_s": [1.0]}, "duration_in_s has 1 entries for 2"),
    ]:
        with pytest.raises(InputError, match=message):
            pipeline(prompt, callback_on_step_end=never, **settings)


def test_the_callback_sees_every_step_and_may_stop(pipeline: TextToAudio) -> None:
    seen: list[tuple[int, float, tuple[int, ...]]] = []

    def callback(step: int, timestep: float, x_0: torch.Tensor) -> None:
        seen.append((step, timestep, tuple(x_0.shape)))
        if len(seen) == 3:
            raise InterruptedError

    pipeline("rain", duration_in_s=SHORT, num_inference_steps=2, callback_on_step_end=callback)
    assert [(step, shape) for step, _, shape in seen] == [(0, (1, 16, 5)), (1, (1, 16, 5))]
    assert seen[0][1] == 999.0 > seen[1][1]
    with pytest.raises(InterruptedError):
        pipeline("rain", duration_in_s=SHORT, callback_on_step_end=callback, progress=True)
    assert len(seen) == 3


def test_nan_from_a_network_or_codec_is_an_error(fresh_pipeline: TextToAudio) -> None:
    fresh_pipeline.codec.vocoder.head.bias.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="the codec gave NaN"):
        fresh_pipeline("rain", duration_in_s=SHORT)
    fresh_pipeline.network("student").outward.bias.fill_(float("inf"))
    with pytest.raises(NotFiniteError, match="the student gave NaN or infinity"):
        fresh_pipeline("rain", duration_in_s=SHORT)


def test_a_loud_sound_is_scaled_down_and_says_so(fresh_pipeline: TextToAudio) -> None:
    quiet = fresh_pipeline("rain", duration_in_s=SHORT, seed=1)
    fresh_pipeline.codec.latent.mean += 3.0  # 60 dB
    loud = fresh_pipeline("rain", duration_in_s=SHORT, seed=1)
    assert quiet.metadata[0]["gain"] == 1.0
    assert loud.metadata[0]["gain"] < 1.0
    assert np.abs(loud.audios[0]).max() == pytest.approx(1.0, abs=1e-6)


def test_scale_down() -> None:
    audio = np.array([[0.5, -4.0]], dtype=np.float32)
    scaled, gain = scale_down(audio)
    assert gain == 0.25
    assert scaled.tolist() == [[0.125, -1.0]]
    assert scale_down(scaled) == (scaled, 1.0)


def test_saved_and_loaded_it_sounds_the_same(pipeline: TextToAudio, tmp_path: Path) -> None:
    bundle = pipeline.save_pretrained(tmp_path / "copy")
    assert bundle.manifest == pipeline.manifest
    assert (tmp_path / "copy" / "MODEL_CARD.md").read_bytes() == (
        pipeline.bundle.folder / "MODEL_CARD.md"
    ).read_bytes()
    again = TextToAudio.from_pretrained(tmp_path / "copy")
    one, two = (p("rain", duration_in_s=SHORT, seed=1).audios[0] for p in (pipeline, again))
    assert np.array_equal(one, two)


def test_bfloat16_is_near_float32(untrained_folder: Path, pipeline: TextToAudio) -> None:
    half = TextToAudio.from_pretrained(untrained_folder, device="cpu", dtype="bfloat16")
    outputs = [p("rain", duration_in_s=SHORT, seed=1) for p in (pipeline, half)]
    one, two = (output.audios[0] for output in outputs)
    assert [output.metadata[0]["dtype"] for output in outputs] == ["float32", "bfloat16"]
    assert not np.array_equal(one, two)
    assert np.abs(one - two).mean() < 0.3 * np.abs(one).mean()


def test_devices_and_dtypes_are_checked(untrained_folder: Path) -> None:
    with pytest.raises(InputError, match="unknown dtype 'float23'; did you mean 'float32'"):
        TextToAudio.from_pretrained(untrained_folder, dtype="float23")
    with pytest.raises(InputError, match="device 'quantum' can't be used here"):
        TextToAudio.from_pretrained(untrained_folder, device="quantum")


def test_to_moves_and_returns_itself(fresh_pipeline: TextToAudio) -> None:
    before = fresh_pipeline("rain", duration_in_s=SHORT, seed=1).audios[0]
    assert fresh_pipeline.to("cpu") is fresh_pipeline
    after = fresh_pipeline("rain", duration_in_s=SHORT, seed=1).audios[0]
    assert np.array_equal(before, after)


def test_save_writes_files_with_metadata(pipeline: TextToAudio, tmp_path: Path) -> None:
    output = pipeline(["rain!", "dog"], duration_in_s=SHORT, seed=3)
    paths = output.save(tmp_path / "sounds", format="flac")
    assert [path.name for path in paths] == ["0001-rain-3.flac", "0002-dog-4.flac"]
    assert read_metadata(paths[1]) == output.metadata[1]
    with pytest.raises(InputError, match="exists"):
        output.save(tmp_path / "sounds", format="flac")
    with pytest.raises(InputError, match="one file for 2 sounds"):
        output.save(tmp_path / "rain.wav")
    assert pipeline("rain", duration_in_s=SHORT).save(tmp_path / "rain.ogg") == [
        tmp_path / "rain.ogg"
    ]


@pytest.mark.parametrize("prompt", ["雨", "🎉 🎉", "\u200b"])
def test_prompts_without_a_known_word_are_refused(pipeline: TextToAudio, prompt: str) -> None:
    with pytest.raises(InputError, match=r"prompt .* holds no word that this model"):
        pipeline(prompt)
    with pytest.raises(InputError, match=r"negative_prompt .* holds no word"):
        pipeline("rain", negative_prompt=prompt)


def test_a_network_of_another_codec_is_refused(fresh_pipeline: TextToAudio) -> None:
    fresh_pipeline.codec.latent = PatchPCA(PatchPCAConfig(channels=24))
    with pytest.raises(BundleError, match=r"student of .*'channels': 16.*needed.*'channels': 24"):
        fresh_pipeline.network("student")


def test_a_student_without_a_guidance_input_is_refused(
    fresh_pipeline: TextToAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = fresh_pipeline.bundle.load_network("teacher")
    monkeypatch.setattr(fresh_pipeline.bundle, "load_network", lambda name: teacher)
    with pytest.raises(BundleError, match=r"student of .*'guided': False.*needed.*'guided': True"):
        fresh_pipeline.network("student")
