"""The published families through the one pipeline, tiny and with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soundleap.audio.dc import remove_dc
from soundleap.audio.io import read_audio
from soundleap.audio.metadata import read_metadata
from soundleap.bundle import Bundle
from soundleap.cli.main import main
from soundleap.errors import InputError
from soundleap.generator import Generator, Request
from soundleap.pipeline import TextToAudio
from soundleap.untrained import write_untrained_family

FAMILIES = ["consistencytta", "tango", "audiolcm", "make-an-audio-2"]
SHORT = {"num_inference_steps": 2, "duration_in_s": 0.512, "seed": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {f: write_untrained_family(root / f, f).folder for f in FAMILIES}


@pytest.fixture(scope="module")
def pipelines(folders: dict[str, Path]) -> dict[str, TextToAudio]:
    return {family: TextToAudio.from_pretrained(folder) for family, folder in folders.items()}


def visited(pipeline: TextToAudio, **settings: Any) -> list[float]:
    """The timesteps that a run visits."""
    times: list[float] = []
    pipeline("rain", callback_on_step_end=lambda _, t, __: times.append(t), **settings)
    return times


def assert_close(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_depends_on_nothing_but_itself(
    pipelines: dict[str, TextToAudio], family: str
) -> None:
    pipe = pipelines[family]
    both = pipe(["rain", "a dog barks"], **{**SHORT, "duration_in_s": [0.512, 0.7], "seed": [3, 4]})
    alone = pipe("a dog barks", **{**SHORT, "duration_in_s": 0.7, "seed": 4})
    assert_close(both.audios[1], alone.audios[0])
    assert [a.shape for a in both.audios] == [(1, 8192), (1, 11200)]
    assert both.sampling_rate == 16000
    assert np.abs(both.audios[0]).max() > 1e-4
    other = pipe("a dog barks", **{**SHORT, "duration_in_s": 0.7, "seed": 5})
    assert np.abs(other.audios[0] - alone.audios[0]).max() > 1e-3 * np.abs(alone.audios[0]).max()
    assert both.metadata[0]["model"] == f"untrained-{family}"


@pytest.mark.parametrize("family", FAMILIES)
def test_low_memory_and_a_saved_copy_change_nothing(
    pipelines: dict[str, TextToAudio], folders: dict[str, Path], family: str, tmp_path: Path
) -> None:
    expected = pipelines[family]("rain", **SHORT).audios[0]
    lean = TextToAudio.from_pretrained(folders[family], low_memory=True)
    np.testing.assert_array_equal(lean("rain", **SHORT).audios[0], expected)
    assert lean.parts._codec is None
    assert not lean.parts._networks
    pipelines[family].save_pretrained(tmp_path / "copy")
    copy = Bundle(tmp_path / "copy")
    assert copy.manifest.kind == family
    copy.verify()
    np.testing.assert_array_equal(TextToAudio(copy)("rain", **SHORT).audios[0], expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16(pipelines: dict[str, TextToAudio], folders: dict[str, Path], family: str) -> None:
    half = TextToAudio.from_pretrained(folders[family], dtype="bfloat16")("rain", **SHORT)
    full = pipelines[family]("rain", **SHORT)
    assert half.audios[0].shape == full.audios[0].shape
    assert np.isfinite(half.audios[0]).all()
    assert half.metadata[0]["dtype"] == "bfloat16"


def test_consistencytta_asks_at_trained_levels(pipelines: dict[str, TextToAudio]) -> None:
    pipe = pipelines["consistencytta"]
    assert visited(pipe) == [999.0]
    assert visited(pipe, num_inference_steps=2) == pytest.approx([999.0, 528.882], abs=1e-3)
    assert visited(pipe, num_inference_steps=4, compat=True) == pytest.approx([999, 666, 333, 0])
    with pytest.raises(InputError, match="num_inference_steps is 18; allowed: 1 to 17"):
        pipe("rain", num_inference_steps=18)
    teacher = visited(pipe, network="teacher", num_inference_steps=4)
    assert teacher == pytest.approx([999, 666, 333, 0])


def test_consistencytta_removes_the_offset(pipelines: dict[str, TextToAudio]) -> None:
    pipe = pipelines["consistencytta"]
    prompts, settings = ["rain", "a dog barks"], {"seed": [1, 2]}
    clean, compat = pipe(prompts, **settings), pipe(prompts, compat=True, **settings)
    raw = TextToAudio(pipe.bundle)
    raw.manifest = pipe.manifest.model_copy(
        update={"sampling": pipe.manifest.sampling.model_copy(update={"remove_dc": False})}
    )
    raw.bundle.manifest, kept = raw.manifest, raw.bundle.manifest
    waveform = torch.tensor(np.stack(raw(prompts, **settings).audios))
    raw.bundle.manifest = kept
    for found, per in ((clean, "clip"), (compat, "batch")):
        expected = remove_dc(waveform, per).numpy()  # pyright: ignore[reportArgumentType]
        assert_close(np.stack(found.audios), expected)


def test_shorter_than_the_fixed_length_is_trimmed_and_told(
    pipelines: dict[str, TextToAudio],
) -> None:
    pipe = pipelines["consistencytta"]
    whole, part = pipe("rain", seed=1), pipe("rain", seed=1, duration_in_s=0.6)
    assert whole.audios[0].shape == (1, 20480)
    np.testing.assert_array_equal(part.audios[0], whole.audios[0][:, :9600])
    assert part.metadata[0]["trimmed_from_s"] == 1.28
    assert "trimmed_from_s" not in whole.metadata[0]
    with pytest.raises(InputError, match=r"duration_in_s is 2 s; allowed: 0\.5 to 1\.28 s"):
        pipe("rain", duration_in_s=2)


def test_guidance_of_consistencytta(pipelines: dict[str, TextToAudio]) -> None:
    pipe = pipelines["consistencytta"]
    plain, none, two, six = (
        pipe("rain", seed=1, **settings).audios[0]
        for settings in (
            {}, {"guidance_scale_post": 1.0}, {"guidance_scale_post": 2.0}, {"guidance_scale": 6.0}
        )
    )  # fmt: skip
    np.testing.assert_array_equal(plain, none)
    for other in (two, six, pipe("rain", seed=1, negative_prompt="wind").audios[0]):
        assert np.abs(other - plain).max() > 1e-5
    with pytest.raises(InputError, match="guidance_scale is 7; allowed: 0 to 6"):
        pipe("rain", guidance_scale=7)


def test_tango_visits_the_published_timesteps(pipelines: dict[str, TextToAudio]) -> None:
    pipe = pipelines["tango"]
    settings = {"num_inference_steps": 4, "duration_in_s": 0.5}
    assert visited(pipe, **settings) == [751, 501, 251, 1]
    assert visited(pipe, compat=True, **settings) == [750, 500, 250, 0]
    sounds = {
        solver: pipe("rain", solver=solver, seed=1, **settings).audios[0]  # pyright: ignore
        for solver in ("ddpm", "ddim", "heun", "dpmpp_2m")
    }
    for solver, sound in sounds.items():
        assert pipe.manifest.sampling.teacher_solver == "ddpm"
        assert np.isfinite(sound).all(), solver
    assert len({sound.tobytes() for sound in sounds.values()}) == 4
    with pytest.raises(InputError, match="has no student"):
        pipe("rain", network="student")


def test_audiolcm_steps_and_guidance(pipelines: dict[str, TextToAudio]) -> None:
    pipe = pipelines["audiolcm"]
    settings = {"duration_in_s": 0.512}
    assert visited(pipe, **settings) == [999, 499]
    for steps, times in ((1, [999]), (4, [999, 759, 499, 259])):
        assert visited(pipe, num_inference_steps=steps, **settings) == times
    for refused, message in (
        ({"guidance_scale": 3}, "guidance_scale is 3; allowed: 5 to 13"),
        ({"negative_prompt": "wind"}, "student takes no negative_prompt"),
        ({"duration_in_s": 27.1}, "allowed: 0.5 to 27.04 s"),
        ({"struct_prompt": "rain& all"}, "struct_prompt: character 1"),
        ({"prompt": "a " * 80}, "prompt has 80 tokens; allowed: at most 75"),
    ):
        with pytest.raises(InputError, match=message):
            pipe(**{"prompt": "rain", **refused})  # pyright: ignore[reportArgumentType]


def test_a_guided_u_net_saved_in_float16_keeps_its_frequencies(tmp_path: Path) -> None:
    folder = write_untrained_family(tmp_path / "half", "consistencytta", dtype="float16").folder
    pipe = TextToAudio.from_pretrained(folder)
    network: Any = pipe.network("student")
    network.frequencies.data += 1e-4  # numbers that float16 does not hold
    copy: Any = pipe.save_pretrained(tmp_path / "copy").load_network("student")
    assert torch.equal(copy.frequencies, network.frequencies)
    again = copy.state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(again[name], value), name


def test_structured_captions_reach_the_sound(pipelines: dict[str, TextToAudio]) -> None:
    pipe = pipelines["audiolcm"]
    prompt, settings = "Rain, then wind", {"duration_in_s": 0.512, "seed": 1}
    plain = pipe(prompt, **settings)
    split = pipe(prompt, structure="split", **settings)
    given = pipe(prompt, struct_prompt="<rain& start>@<wind& end>", **settings)
    assert plain.metadata[0]["struct_prompt"] == "<Rain, then wind& all>"
    assert split.metadata[0]["struct_prompt"] == "<rain& start>@<wind& end>"
    np.testing.assert_array_equal(split.audios[0], given.audios[0])
    assert np.abs(split.audios[0] - plain.audios[0]).max() > 1e-5


def test_make_an_audio_2_has_its_own_lengths(pipelines: dict[str, TextToAudio]) -> None:
    pipe = pipelines["make-an-audio-2"]
    settings: dict[str, Any] = {"num_inference_steps": 2, "duration_in_s": 1.0, "seed": 1}
    own = pipe("rain", compat=True, **settings).audios[0]
    cut = pipe("rain", **settings).audios[0]
    assert own.shape == (1, 32 * 512)  # 31.5 a second, rounded up to an even number
    np.testing.assert_array_equal(cut, own[:, :16000])
    assert visited(pipe, num_inference_steps=4, duration_in_s=0.5) == [751, 501, 251, 1]
    with pytest.raises(InputError, match="would be 1000"):
        pipe("rain", compat=True, num_inference_steps=3)
    far = pipe("rain", negative_prompt="wind", **settings).audios[0]
    assert np.abs(far - cut).max() > 1e-5


def test_a_list_of_mixed_requests(folders: dict[str, Path]) -> None:
    generator = Generator(folders["audiolcm"], max_batch_size=4)
    requests = [
        Request("rain", duration_in_s=0.512, seed=1),
        Request("rain", duration_in_s=0.768, seed=2),
        Request("rain", duration_in_s=0.512, seed=3, network="teacher", num_inference_steps=2),
    ]
    results = generator.generate(requests)
    assert [r.waveform.shape[1] for r in results] == [8192, 12288, 8192]
    assert_close(results[0].waveform, generator.generate(requests[:1])[0].waveform)


def test_from_the_command_line(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, again = tmp_path / "a.wav", tmp_path / "b.wav"
    model = ["--model", str(folders["tango"])]
    arguments = ["generate", "rain", "-o", str(sound), "--steps", "2", "--duration", "0.5"]
    extra = ["--solver", "heun", "--guidance", "2", "--negative", "wind", "--low-memory"]
    assert main([*arguments, *model, *extra]) == 0
    assert read_metadata(sound)["solver"] == "heun"
    assert main(["generate", "--from", str(sound), "-o", str(again), *model]) == 0
    assert again.read_bytes() == sound.read_bytes()
    short = [*arguments[4:], *model, "--seed", "1", "--teacher"]
    for name, options in (("clean.wav", []), ("compat.wav", ["--compat"])):
        assert main(["generate", "rain", "-o", str(tmp_path / name), *short, *options]) == 0
        assert read_metadata(tmp_path / name)["compat"] is bool(options)
    clean, compat = (
        read_audio(tmp_path / f"{name}.wav", sampling_rate=16000) for name in ("clean", "compat")
    )
    assert np.abs(clean - compat).max() > 1e-4  # other timesteps
    assert main(["generate", "rain", *model, "--struct-prompt", "<a& all>"]) == 2
    assert "reads no struct_prompt" in capsys.readouterr().err
