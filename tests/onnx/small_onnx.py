"""A small random model that is quick to export."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from soundleap.bundle import BUILTIN_TEXT, Bundle
from soundleap.models.text import BertEncoder, TextEncoderConfig

TEXT_DIM = 24


def write_small_bundle(folder: Path, *, with_teacher: bool) -> Bundle:
    """Write a random model whose networks and text encoder have one block, quick to export."""
    from soundleap.audio.mel import LogMel, MelConfig
    from soundleap.bundle_schema import Description, Sampling
    from soundleap.bundle_writer import BundleParts, save_bundle
    from soundleap.debug import _random_latent_codec, _randomise
    from soundleap.models.codec import Codec
    from soundleap.models.dit import DiT, DiTConfig
    from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig

    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        teacher, student = (
            DiT(DiTConfig(16, TEXT_DIM, width=32, blocks=1, heads=2, guided=guided))
            for guided in (False, True)
        )
        vocoder = ISTFTVocoder(ISTFTVocoderConfig(width=16, blocks=1))
        write_small_text(folder / "text")
    for module in (teacher, student, vocoder):
        _randomise(module, generator)
    codec = Codec(LogMel(MelConfig()), _random_latent_codec(generator), vocoder)
    sampling = Sampling(grid=tuple(range(19, 1000, 20)))
    description = Description(name="small", version="0", licence="CC0-1.0", sampling=sampling)
    parts = BundleParts(codec, student, teacher if with_teacher else None, folder / "text")
    return save_bundle(folder / "bundle", parts, description)


def write_small_text(folder: Path) -> None:
    """Write a text encoder of one block with the tokenizer that comes with the package."""
    from safetensors.torch import save_file

    folder.mkdir()
    shutil.copyfile(BUILTIN_TEXT / "tokenizer.json", folder / "tokenizer.json")
    known = json.loads((BUILTIN_TEXT / "config.json").read_text())["vocab_size"]
    config = TextEncoderConfig(known, 40, TEXT_DIM, num_layers=1, num_heads=2, hidden_dim=32)
    (folder / "config.json").write_text(json.dumps(asdict(config)))
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in BertEncoder(config).state_dict().items():
        if tensor.ndim == 2:
            stored[name] = torch.randint(-127, 128, tensor.shape, dtype=torch.int8)
            stored[f"{name}_scale"] = torch.full((len(tensor),), 0.004, dtype=torch.float16)
        else:
            stored[name] = (1 + 0.1 * torch.randn(tensor.shape)).half()
    save_file(stored, folder / "model.safetensors")


def needs_export() -> None:
    """Skip where the packages of the extra `onnx` are not installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra onnx is not installed")
