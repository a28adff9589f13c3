from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from soundleap.audio.metadata import read_metadata
from soundleap.pipeline import TextToAudio

FILE = Path(__file__).parents[2] / "integrations" / "comfyui" / "soundleap_nodes.py"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
LINKS = {"SOUNDLEAP_MODEL", "AUDIO"}


@pytest.fixture(scope="module")
def nodes() -> ModuleType:
    """The file as ComfyUI imports it: by its path."""
    spec = importlib.util.spec_from_file_location("soundleap_nodes", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(node: Any, **values: Any) -> dict[str, Any]:
    """Fill in an input's default where no value is given, as ComfyUI's page does."""
    required: dict[str, Any] = node.INPUT_TYPES()["required"]
    return {name: values[name] if name in values else spec[1]["default"]
            for name, spec in required.items()} | values  # fmt: skip


def test_interface(nodes: ModuleType) -> None:
    assert set(nodes.NODE_CLASS_MAPPINGS) == set(nodes.NODE_DISPLAY_NAME_MAPPINGS)
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        assert set(inputs) <= {"required", "optional", "hidden"}
        for spec in {**inputs["required"], **inputs.get("optional", {})}.values():
            kind = spec[0]
            assert isinstance(kind, list) or kind in WIDGETS | LINKS
            if isinstance(kind, list):
                assert spec[1]["default"] in kind
            if kind in ("INT", "FLOAT"):
                assert spec[1]["min"] <= spec[1]["default"] <= spec[1]["max"]
        assert set(node.RETURN_TYPES) <= WIDGETS | LINKS
        assert isinstance(node.RETURN_TYPES, tuple)
        assert callable(getattr(node(), node.FUNCTION))
        assert node.CATEGORY == "audio/soundleap"
        assert node.RETURN_TYPES or node.OUTPUT_NODE


def test_from_loading_to_a_file_that_tells_its_settings(
    nodes: ModuleType, untrained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load, make, save = (node() for node in nodes.NODE_CLASS_MAPPINGS.values())
    (model,) = load.load(**settings(load, source=str(untrained_folder), device="cpu"))
    assert isinstance(model, TextToAudio)
    values = settings(make, model=model, prompt="wind", seconds=0.5, seed=9, count=2)
    audio, told = make.generate(**values)
    assert audio["waveform"].shape == (2, 1, 8000)
    assert audio["waveform"].dtype == torch.float32
    assert audio["sample_rate"] == 16000
    expected = model("wind", duration_in_s=0.5, seed=9, num_waveforms_per_prompt=2)
    np.testing.assert_array_equal(audio["waveform"].numpy(), np.stack(expected.audios))
    shown = save.save(audio, "takes/wind", "flac", told)["ui"]["audio"]
    again = save.save(audio, "takes/wind", "flac")["ui"]["audio"]
    names = [entry["filename"] for entry in shown + again]
    assert names == [f"wind_{n:05}_.flac" for n in (1, 2, 3, 4)]
    assert {entry["subfolder"] for entry in shown} == {"takes"}
    for name, entry in zip(names, json.loads(told), strict=False):
        assert read_metadata(tmp_path / "output" / "takes" / name) == entry


def test_refusals(nodes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audio = {"waveform": torch.zeros(2, 1, 100), "sample_rate": 16000}
    save = nodes.SoundleapSaveAudio()
    with pytest.raises(ValueError, match="settings are those of 1 sounds"):
        save.save(audio, "x", "wav", json.dumps([{}]))
    for outside in ("../x", "/x"):
        with pytest.raises(ValueError, match="stay in the output folder"):
            save.save(audio, outside, "wav")
    assert list(tmp_path.iterdir()) == []


def test_inside_comfyui(
    nodes: ModuleType, pipeline: TextToAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With modules of ComfyUI's names and signatures: its folder, its progress, its stop button."""
    told: list[int] = []
    stop: list[bool] = []
    for name, source in {
        "folder_paths": "",
        "comfy": "",
        "comfy.utils": "",
        "comfy.model_management": "",
    }.items():
        module = ModuleType(name, source)
        module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
        monkeypatch.setitem(sys.modules, name, module)
    paths, utils = sys.modules["folder_paths"], sys.modules["comfy.utils"]
    paths.get_output_directory = lambda: str(tmp_path)
    paths.get_save_image_path = lambda prefix, folder: (folder, prefix, 7, "", prefix)
    utils.ProgressBar = lambda total: type("Bar", (), {"update": lambda _, n: told.append(n)})()

    def check() -> None:
        if stop:
            raise KeyError("stopped")

    sys.modules["comfy.model_management"].throw_exception_if_processing_interrupted = check
    make = nodes.SoundleapGenerate()
    values = settings(make, model=pipeline, prompt="wind", seconds=0.5, steps=3)
    audio, _ = make.generate(**values)
    assert told == [1, 1, 1]
    shown = nodes.SoundleapSaveAudio().save(audio, "wind", "wav")["ui"]["audio"]
    assert shown == [{"filename": "wind_00007_.wav", "subfolder": "", "type": "output"}]
    assert (tmp_path / "wind_00007_.wav").is_file()
    stop.append(True)
    with pytest.raises(KeyError, match="stopped"):
        make.generate(**values)
