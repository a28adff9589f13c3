from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_onnx import needs_export, write_small_bundle

from soundleap.audio.metadata import read_metadata
from soundleap.bundle import Bundle
from soundleap.cli.main import main
from soundleap.errors import BundleError, InputError
from soundleap.generator import Generator
from soundleap.onnx.folder import DESCRIPTION, OnnxFolder
from soundleap.requests import Request

AGREES = 1e-3  # of the torch sound's peak


def differences(exported: Path, bundle: Path, requests: list[Request]) -> list[float]:
    """Give each sound's largest difference between the engines, relative to its peak."""
    from soundleap.onnx.engine import OnnxGenerator

    ours = OnnxGenerator(exported).generate(requests)
    theirs = Generator(bundle, device="cpu").generate(requests)
    assert [a.waveform.shape for a in ours] == [b.waveform.shape for b in theirs]
    return [
        float(np.abs(a.waveform - b.waveform).max() / np.abs(b.waveform).max())
        for a, b in zip(ours, theirs, strict=True)
    ]


def test_student_agrees_at_several_durations(exported: Path, small_bundle: Bundle) -> None:
    requests = [
        Request("rain", seed=1, duration_in_s=0.5, num_inference_steps=1),
        Request("a dog barks in the rain", seed=2, duration_in_s=0.9, num_inference_steps=2),
        Request(
            "rain on a tin roof",
            negative_prompt="a dog",
            guidance_scale=2.5,
            seed=3,
            duration_in_s=1.51,
            num_inference_steps=2,
        ),
    ]
    assert max(differences(exported, small_bundle.folder, requests)) < AGREES


def test_command_makes_sounds_without_torch(exported: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"  # importing it is an error
        "from soundleap.cli.main import main\n"
        f"assert main(['generate', 'rain', '--engine', 'onnx', '--model', {str(exported)!r},"
        f" '--seed', '7', '--duration', '0.5', '-o', {str(tmp_path / 'rain.wav')!r}]) == 0\n"
        "assert sys.modules.pop('torch') is None\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'torch']"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    metadata = read_metadata(tmp_path / "rain.wav")
    assert (metadata["engine"], metadata["seed"]) == ("onnx", 7)


def test_either_engine_repeats_the_file_of_the_other(
    exported: Path, small_bundle: Bundle, tmp_path: Path
) -> None:
    first, second = str(tmp_path / "first.wav"), str(tmp_path / "second.wav")
    options = ["--duration", "0.5", "--seed", "5", "-q"]
    assert main(["generate", "wind", "--model", str(exported), "-o", first, *options]) == 0
    folder = str(small_bundle.folder)
    assert main(["generate", "--from", first, "--model", folder, "-o", second, "-q"]) == 0
    ours, theirs = read_metadata(first), read_metadata(second)
    assert "engine" not in theirs
    assert ours["model_fingerprint"] == theirs["model_fingerprint"]
    assert main(["generate", "--from", second, "--model", str(exported), "-o",
                 str(tmp_path / "third.wav"), "-q"]) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--dtype", "bfloat16"], "dtype is bfloat16; the engine onnx takes: float32"),
        (["--device", "cuda"], "device is cuda; the engine onnx takes: auto, cpu"),
        (["--low-memory"], "low_memory is True"),
        (["--engine", "torch"], "is an exported model"),
        (["--engine", "tensor"], "unknown engine 'tensor'"),
        (["--guidance-post", "2"], "guidance_scale_post needs the engine torch"),
        (["--steps", "99"], "num_inference_steps is 99; allowed: 1 to"),
    ],
)
def test_refusals(
    exported: Path,
    tmp_path: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "no.wav"
    assert main(["generate", "x", "--model", str(exported), "-o", str(out), *options]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_engine_onnx_needs_an_exported_folder(
    small_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "x", "--engine", "onnx"]) == 2
    assert "soundleap export onnx" in capsys.readouterr().err
    with pytest.raises(BundleError, match="holds no exported model"):
        OnnxFolder(small_bundle.folder)


def test_damaged_and_newer_folders(exported: Path, tmp_path: Path) -> None:
    described = json.loads((exported / DESCRIPTION).read_text())
    (tmp_path / DESCRIPTION).write_text(json.dumps(described))
    (tmp_path / "text.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"text\.onnx is damaged"):
        OnnxFolder(tmp_path).file("text.onnx")
    with pytest.raises(BundleError, match="lists no other"):
        OnnxFolder(tmp_path).file("other")
    (tmp_path / DESCRIPTION).write_text(json.dumps({**described, "onnx_format": 2}))
    with pytest.raises(BundleError, match="upgrade"):
        OnnxFolder(tmp_path)
    (tmp_path / DESCRIPTION).write_text(json.dumps({**described, "guided": ["nobody"]}))
    with pytest.raises(BundleError, match="guided"):
        OnnxFolder(tmp_path)


def test_export_refuses_a_full_folder(small_bundle: Bundle, tmp_path: Path) -> None:
    needs_export()
    from soundleap.onnx.export import export_onnx

    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not an empty folder"):
        export_onnx(small_bundle, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_export_refuses_published_families(small_bundle: Bundle, tmp_path: Path) -> None:
    from soundleap.onnx.export import export_onnx

    tango = Bundle(small_bundle.folder)
    tango.manifest = tango.manifest.model_copy(update={"kind": "tango"})
    with pytest.raises(InputError, match="only models of default-family"):
        export_onnx(tango, tmp_path / "out")


def test_files_tell_nothing_about_the_machine(exported: Path) -> None:
    for path in exported.iterdir():
        content = path.read_bytes()
        assert b".py" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


TEACHER = [
    Request("rain", seed=1, network="teacher", num_inference_steps=5, duration_in_s=0.7),
    Request("rain", seed=1, network="teacher", num_inference_steps=3, guidance_scale=1.0),
    Request("rain", "a dog", seed=2, network="teacher", num_inference_steps=4, solver="ddim"),
]


@pytest.mark.slow
def test_teacher_agrees(tmp_path: Path) -> None:
    needs_export()
    from soundleap.onnx.export import export_onnx

    bundle = write_small_bundle(tmp_path, with_teacher=True)
    exported = export_onnx(bundle, tmp_path / "exported")
    assert max(differences(exported.folder, bundle.folder, TEACHER)) < AGREES


@pytest.mark.slow
def test_default_model_agrees(tmp_path: Path) -> None:
    needs_export()
    assert main(["export", "onnx", str(tmp_path / "default"), "-q"]) == 0
    from soundleap.resolve import open_model

    requests = [
        Request("rain on a roof", seed=s, num_inference_steps=s, duration_in_s=seconds)
        for s, seconds in ((1, 0.5), (2, 2.3), (4, 10.0))
    ]
    found = differences(tmp_path / "default", open_model("default").folder, requests + TEACHER)
    assert max(found) < AGREES
