from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soundleap.audio.io import read_audio, write_audio
from soundleap.audio.metadata import read_metadata
from soundleap.cli.jobs import read_prompts
from soundleap.cli.main import main
from soundleap.pipeline import TextToAudio
from soundleap.requests import Request

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(untrained_folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `soundleap generate` with the untrained model; gives exit code, stdout and stderr."""

    def generate(*arguments: object, model: Path = untrained_folder) -> tuple[int, str, str]:
        code = main(["generate", *map(str, arguments), "--model", str(model)])
        return code, *capsys.readouterr()

    return generate


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_sound_into_a_file(run: Run, tmp_path: Path, pipeline: TextToAudio) -> None:
    path = tmp_path / "rain.wav"
    code, out, err = run("rain on a roof", "-o", path, "--seed", 7, "--duration", 0.6)
    assert (code, err) == (0, "")
    assert out.startswith(f"{path}  seed 7  0.6 s in ")
    assert out.count("\n") == 1
    same = pipeline("rain on a roof", duration_in_s=0.6, seed=7)
    samples = read_audio(path, sampling_rate=16000)
    np.testing.assert_allclose(samples, same.audios[0][0], atol=2**-15)
    assert read_metadata(path) == same.metadata[0]


def test_every_option_reaches_the_model(run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        "rain", "-o", tmp_path / "a.flac", "--seed", 1, "--duration", 0.7, "--steps", 3,
        "--guidance", 2.5, "--negative", "wind", "--teacher", "--device", "cpu",
    )  # fmt: skip
    assert (code, err) == (0, "")
    metadata = read_metadata(tmp_path / "a.flac")
    expected = {
        "prompt": "rain", "seed": 1, "duration_in_s": 0.7, "num_inference_steps": 3,
        "guidance_scale": 2.5, "negative_prompt": "wind", "network": "teacher",
    }  # fmt: skip
    assert {name: metadata[name] for name in expected} == expected


def test_several_sounds_into_a_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "sounds"
    code, out, _ = run(
        "rain", "a dog", "-o", folder, "--count", 2, "--seed", 3, "--duration", 0.5,
        "--format", "ogg", "--spectrogram", "--no-metadata",
    )  # fmt: skip
    assert code == 0
    stems = ["0001-rain-3", "0002-rain-4", "0003-a-dog-5", "0004-a-dog-6"]
    assert names(folder) == sorted(f"{stem}.{end}" for stem in stems for end in ("ogg", "png"))
    assert [line.split("  ")[1] for line in out.splitlines()] == [f"seed {i}" for i in range(3, 7)]
    assert main(["show", str(folder / "0001-rain-3.ogg")]) == 1


def test_quiet_prints_nothing(run: Run, tmp_path: Path) -> None:
    assert run("rain", "-o", tmp_path / "a.wav", "--duration", 0.5, "-q") == (0, "", "")


def test_prompts_from_a_text_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffrain\n\n  a dog  \n", encoding="utf-8")
    arguments = ("--prompts", tmp_path / "prompts.txt", "-o", tmp_path / "out", "--seed", 1)
    assert run("bell", *arguments, "--duration", 0.5)[0] == 0
    assert names(tmp_path / "out") == ["0001-bell-1.wav", "0002-rain-2.wav", "0003-a-dog-3.wav"]


def test_prompts_with_settings(run: Run, tmp_path: Path) -> None:
    lines = [
        {"prompt": "rain", "duration_in_s": 0.6, "seed": 40},
        {"prompt": "dog", "num_inference_steps": 4, "guidance_scale": 2, "negative_prompt": "car"},
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    arguments = ("--prompts", path, "-o", tmp_path / "out", "--seed", 1, "--duration", 0.5)
    assert run(*arguments)[0] == 0
    assert names(tmp_path / "out") == ["0001-rain-40.wav", "0002-dog-2.wav"]
    first, second = (read_metadata(tmp_path / "out" / name) for name in names(tmp_path / "out"))
    assert (first["duration_in_s"], first["num_inference_steps"]) == (0.6, 2)
    assert (second["duration_in_s"], second["num_inference_steps"]) == (0.5, 4)
    assert (second["guidance_scale"], second["negative_prompt"]) == (2.0, "car")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "\n", "holds no prompt"),
        ("p.txt", b"\xff\xfe", "is not UTF-8 text"),
        ("p.jsonl", "{", "p.jsonl, line 1: not valid JSON"),
        ("p.jsonl", '{"prompt": "a"}\n"b"', "line 2: needed is an object with a prompt"),
        ("p.jsonl", '{"prompt": "a", "step": 1}', "line 1: unknown setting 'step'"),
        ("p.jsonl", '{"prompt": 5}', "prompt is 5; give a text"),
        ("p.jsonl", '{"prompt": "a", "seed": "x"}', "seed is 'x'; give a whole number"),
    ],
)
def test_wrong_prompt_files(
    run: Run, tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, out, err = run("--prompts", path, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no prompt is given"),
        ([""], "prompt is empty"),
        (["rain " * 127], "prompt has 127 tokens; allowed: at most 126"),
        (["rain " * 300], "prompt has 1500 characters"),
        (["rain", "--duration", "0.1"], "duration_in_s is 0.1 s; allowed: 0.5 to 10 s"),
        (["rain", "--steps", "9"], "num_inference_steps is 9; allowed: 1 to 8"),
        (["rain", "--steps", "201", "--teacher"], "allowed: 1 to 200"),
        (["rain", "--guidance", "7"], "guidance_scale is 7; allowed: 1 to 6"),
        (["rain", "--count", "0"], "count is 0"),
        (["rain", "--seed", "-1"], "seed is -1"),
        (["rain", "--format", "xyz"], "unknown format 'xyz'"),
        (["rain", "-o", "OUT/a.xyz"], "unknown format 'xyz'"),
        (["rain", "dog", "-o", "OUT/a.wav"], "one file for 2 sounds"),
        (["rain", "-o", "OUT/a.wav", "--format", "mp3"], "ends in .wav but format is mp3"),
        (["rain", "--prompts", "OUT/none.txt"], "none.txt: No such file"),
        (["rain", "--device", "quantum"], "device 'quantum' can't be used here"),
        (["rain", "-o", "/proc/sounds/"], "can't write to /proc"),
    ],
)
def test_wrong_input_is_one_line_and_no_file(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [argument.replace("OUT", str(tmp_path)) for argument in arguments]
    target = [] if "-o" in given else ["-o", str(tmp_path / "out")]
    code, out, err = run(*given, *target)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("soundleap: ")
    assert err.count("\n") == 1
    assert names(tmp_path) == []


def test_existing_files_are_kept(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rain.wav"
    path.write_text("mine")
    code, _, err = run("rain", "-o", path, "--duration", 0.5)
    assert code == 2
    assert f"{path} exists" in err
    assert path.read_text() == "mine"
    assert run("rain", "-o", path, "--duration", 0.5, "--overwrite")[0] == 0
    (tmp_path / "dog.png").write_text("mine")
    code, _, err = run("dog", "-o", tmp_path / "dog.wav", "--spectrogram")
    assert (code, names(tmp_path)) == (2, ["dog.png", "rain.wav"])


def test_the_same_again_bit_for_bit(run: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "a.wav", tmp_path / "b.wav"
    settings = ("--duration", 0.7, "--steps", 3, "--negative", "wind", "--guidance", 2.2)
    assert run("rain", "-o", first, *settings)[0] == 0
    assert run("--from", first, "-o", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()


def test_repeating_refuses_other_settings(run: Run, tmp_path: Path) -> None:
    first = tmp_path / "a.wav"
    assert run("rain", "-o", first, "--duration", 0.5)[0] == 0
    code, _, err = run("dog", "--from", first, "--steps", 1, "--seed", 3, "-o", tmp_path / "b.wav")
    assert code == 2
    assert "leave out: a prompt, num_inference_steps, seed" in err
    assert names(tmp_path) == ["a.wav"]


def test_repeating_needs_whole_metadata(run: Run, tmp_path: Path) -> None:
    path = write_audio(
        tmp_path / "a.wav", np.zeros((1, 99), np.float32), 16000, metadata={"prompt": "rain"}
    )
    code, _, err = run("--from", path, "-o", tmp_path / "b.wav")
    assert code == 2
    assert "its metadata lacks duration_in_s, num_inference_steps, guidance_scale, seed" in err


def test_repeating_needs_the_same_model(
    run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from soundleap.debug import write_untrained_bundle

    other = write_untrained_bundle(tmp_path_factory.mktemp("other") / "model", seed=1).folder
    first, second = tmp_path / "a.wav", tmp_path / "b.wav"
    assert run("rain", "-o", first, "--duration", 0.5)[0] == 0
    code, _, err = run("--from", first, "-o", second, model=other)
    assert code == 2
    assert "was made by another model" in err
    assert names(tmp_path) == ["a.wav"]
    assert run("--from", first, "-o", second, "--force", model=other)[0] == 0
    assert first.read_bytes() != second.read_bytes()


def test_models_that_are_missing_damaged_or_newer(
    run: Run, tmp_path: Path, untrained_folder: Path
) -> None:
    model = Path(shutil.copytree(untrained_folder, tmp_path / "model"))
    target = ("rain", "-o", tmp_path / "out")
    code, _, err = run(*target, model=tmp_path / "nowhere")
    assert (code, "nowhere does not exist" in err) == (1, True)
    student = model / "student.safetensors"
    student.write_bytes(student.read_bytes()[:-1])
    code, _, err = run(*target, model=model)
    assert (code, "student.safetensors is damaged" in err) == (1, True)
    student.unlink()
    code, _, err = run(*target, model=model)
    assert (code, "student.safetensors is missing" in err) == (1, True)
    manifest = model / "soundleap.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 2}))
    code, _, err = run(*target, model=model)
    assert (code, "upgrade" in err) == (1, True)
    assert names(tmp_path) == ["model"]


def test_a_model_that_gives_nan(run: Run, tmp_path: Path, untrained_folder: Path) -> None:
    from soundleap.bundle import Bundle
    from soundleap.bundle_schema import Description
    from soundleap.bundle_writer import BundleParts, save_bundle

    bundle = Bundle(untrained_folder)
    student = bundle.load_network("student")
    student.outward.weight.fill_(3e38)  # finite, but every product overflows
    description = Description(
        **{name: getattr(bundle.manifest, name) for name in Description.model_fields}
    )
    parts = BundleParts(bundle.load_codec(), student)
    save_bundle(tmp_path / "model", parts, description, dtypes={"student": "float32"})
    code, out, err = run("rain", "-o", tmp_path / "a.wav", model=tmp_path / "model")
    assert (code, out) == (1, "")
    assert "the student gave NaN or infinity" in err
    assert names(tmp_path) == ["model"]


def test_a_full_disk(run: Run, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        code, out, err = run("rain", "-o", tmp_path / "a.wav", "--duration", 0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (code, out) == (1, "")
    assert "can't write" in err
    assert names(tmp_path) == []


def test_ctrl_c_leaves_whole_files_only(run: Run, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        code, _, err = run(
            "rain", "-o", tmp_path, "--teacher", "--steps", 200, "--duration", 10, "--count", 500
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert code == 130
    assert err == "soundleap: stopped\n"
    for path in tmp_path.iterdir():
        assert len(read_audio(path, sampling_rate=16000)) == 160000


def test_only_line_feeds_end_a_line_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "rain\u2028and\x85wind"}\r\n\n{"prompt": "sea"}\n', encoding="utf-8"
    )
    prompts = [request.prompt for request in read_prompts(path, Request(""))]
    assert prompts == ["rain\u2028and\x85wind", "sea"]


def test_bytes_that_are_no_text_and_names_that_are_too_long(run: Run, tmp_path: Path) -> None:
    code, _, err = run("rain\udcff", "-o", tmp_path / "a.wav")
    assert (code, err.count("\n")) == (2, 1)
    assert "prompt is not valid Unicode" in err
    code, _, err = run("rain", "-o", tmp_path / ("x" * 300 + ".wav"))
    assert (code, err.count("\n")) == (2, 1)
    assert "can't write" in err
    assert not names(tmp_path)
