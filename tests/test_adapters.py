"""Adapters in use: what may be given, what sounds they make, and how these are made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapter_files import write_random_adapter
from soundleap.adapters import AskedAdapter, parse_adapter
from soundleap.audio.metadata import read_metadata
from soundleap.bundle import Bundle
from soundleap.cli.main import main
from soundleap.debug import write_untrained_bundle
from soundleap.errors import AdapterError, InputError
from soundleap.generator import Generator
from soundleap.output import AudioOutput
from soundleap.pipeline import TextToAudio


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_untrained_bundle(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def files(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [write_random_adapter(folder / f"{i}.safetensors", bundle, seed=i) for i in (1, 2)]


def sound(pipeline: TextToAudio) -> AudioOutput:
    return pipeline("a tone", duration_in_s=0.5, seed=3)


def test_files_with_weights_are_read(tmp_path: Path) -> None:
    assert parse_adapter("a.safetensors") == AskedAdapter(Path("a.safetensors"))
    assert parse_adapter("a.safetensors:0.5") == AskedAdapter(Path("a.safetensors"), 0.5)
    assert parse_adapter(("a", -1)) == AskedAdapter(Path("a"), -1.0)
    assert parse_adapter(r"C:\a.safetensors") == AskedAdapter(Path(r"C:\a.safetensors"))
    odd = tmp_path / "take:2"
    odd.touch()
    assert parse_adapter(str(odd)) == AskedAdapter(odd)
    with pytest.raises(InputError, match="weight is 7; allowed: -4 to 4"):
        parse_adapter("a.safetensors:7")


def test_a_weight_of_0_makes_the_same_sound_and_others_do_not(
    bundle: Bundle, files: list[Path]
) -> None:
    plain = sound(TextToAudio(bundle)).audios[0]
    nothing = sound(TextToAudio(bundle, adapters=[(files[0], 0.0)])).audios[0]
    changed = sound(TextToAudio(bundle, adapters=files)).audios[0]
    assert np.array_equal(plain, nothing)
    assert not np.allclose(plain, changed, atol=1e-3)


def test_adapters_are_told_changed_and_taken_away(bundle: Bundle, files: list[Path]) -> None:
    pipeline = TextToAudio(bundle)
    plain = sound(pipeline)
    assert "adapters" not in plain.metadata[0]
    pipeline.load_adapters([f"{files[0]}:0.5"])
    changed = sound(pipeline)
    told = changed.metadata[0]["adapters"]
    assert [(entry["name"], entry["weight"]) for entry in told] == [("1", 0.5)]
    assert pipeline.adapters == told
    assert not np.array_equal(changed.audios[0], plain.audios[0])
    again = sound(pipeline.load_adapters([]))
    assert np.array_equal(again.audios[0], plain.audios[0])
    low = Generator(bundle.folder, low_memory=True, adapters=[f"{files[0]}:0.5"])
    assert np.array_equal(sound(low.pipeline).audios[0], changed.audios[0])


def test_a_saved_model_has_them_merged(bundle: Bundle, files: list[Path], tmp_path: Path) -> None:
    saved = TextToAudio(bundle, adapters=files[:1]).save_pretrained(tmp_path / "merged")
    assert [entry["name"] for entry in saved.manifest.provenance["adapters"]] == ["1"]
    assert saved.manifest.parts.student != bundle.manifest.parts.student
    assert saved.manifest.parts.teacher == bundle.manifest.parts.teacher
    again = TextToAudio(saved).load_adapters(files[1:], any_base=True)
    told = again.save_pretrained(tmp_path / "twice").manifest.provenance["adapters"]
    assert [entry["name"] for entry in told] == ["1", "2"]


def test_another_model_or_network_is_refused_by_name(
    bundle: Bundle, files: list[Path], tmp_path: Path
) -> None:
    other = write_untrained_bundle(tmp_path / "other", seed=1)
    with pytest.raises(AdapterError, match=r"1\.safetensors was made for untrained 0 \(student"):
        TextToAudio(other, adapters=files)
    TextToAudio(other).load_adapters(files, any_base=True)
    with pytest.raises(InputError, match="given twice"):
        TextToAudio(bundle, adapters=[files[0], files[0]])
    for_teacher = write_random_adapter(tmp_path / "t.safetensors", bundle, part="teacher")
    pipeline = TextToAudio(bundle, adapters=[for_teacher])
    with pytest.raises(InputError, match="changes the teacher, but the student is asked for"):
        sound(pipeline)
    made = pipeline("a tone", duration_in_s=0.5, network="teacher", num_inference_steps=2, seed=1)
    assert made.metadata[0]["adapters"][0]["name"] == "t"


def test_generate_uses_them_and_from_makes_the_same_again(
    bundle: Bundle, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--model", str(bundle.folder), "-q", "-o"]
    first, again = tmp_path / "a.wav", tmp_path / "b.wav"
    one, two = (str(path) for path in files)
    asked = ["--duration", "0.5", "--seed", "1", "--adapter", one, "--adapter", f"{two}:0.25"]
    assert main(["generate", "a tone", *asked, *common, str(first)]) == 0
    assert [entry["weight"] for entry in read_metadata(first)["adapters"]] == [1.0, 0.25]
    repeat = ["generate", "--from", str(first), *common, str(again)]
    assert main(repeat) == 2
    assert "1 (SHA-256" in capsys.readouterr().err
    assert main([*repeat, "--adapter", one, "--adapter", f"{two}:0.5"]) == 2
    assert "2.safetensors was used with weight 0.25" in capsys.readouterr().err
    assert main([*repeat, "--adapter", two, "--adapter", one]) == 0
    assert first.read_bytes() == again.read_bytes()


def test_shards_belong_to_their_adapters(
    bundle: Bundle, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["generate", "a tone", "--duration", "0.5", "--seed", "1", "--shard", "1/1", "-q"]
    asked += ["--model", str(bundle.folder), "-o", f"{tmp_path}/out/"]
    assert main([*asked, "--adapter", str(files[0])]) == 0
    made = next((tmp_path / "out").glob("*.wav"))
    assert read_metadata(made)["adapters"][0]["name"] == "1"
    assert main(asked) == 2
    assert capsys.readouterr().err
