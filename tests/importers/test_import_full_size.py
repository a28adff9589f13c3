"""Every published layout at its published size: read with little memory, tensor by tensor.

Each test writes up to 30 GB and deletes it again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable
from pathlib import Path

import full_size as full
import published_toys as toy
import pytest
import torch
from safetensors import safe_open

from soundleap.importers.checkpoint import open_checkpoint
from soundleap.importers.codecs import SCALE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory there"),
]
MEMBER = "ConsistencyTTA/epoch_60/pytorch_model_2.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)


def _check(taken: full.Imported) -> None:
    assert taken.peak < 1.5 * taken.size


def _compare(bundle: Path, part: str, source: Path, prefix: str, names: Iterable[str]) -> None:
    """Hold some tensors of a part, named by our names and theirs, against the source."""
    published = open_checkpoint(source)
    with safe_open(bundle / f"{part}.safetensors", "pt") as file:
        for pair in names:
            ours, _, theirs = pair.partition("=")
            found = file.get_tensor(ours)
            expected = published[prefix + (theirs or ours)]
            assert torch.equal(found, expected.to(found.dtype)), ours


UNET = [
    "unet.conv_in.weight=conv_in.weight",
    "unet.class_embedding.linear_1.weight=guidance_embedding.linear_1.weight",
    "frequencies=guidance_proj.weight",
    "unet.up_blocks.3.attentions.2.proj_out.weight=up_blocks.3.attentions.2.proj_out.weight",
]
VAE = [
    "vae.decoder.up_blocks.0.resnets.0.conv1.weight=decoder.up.2.block.0.conv1.weight",
    "vae.encoder.mid_block.resnets.1.conv2.bias=encoder.mid.block_2.conv2.bias",
]
TEXT = ["encoder.block.23.layer.1.DenseReluDense.wo.weight", "shared.weight"]


def _tokenizers(folder: Path) -> list[str]:
    t5, bert = toy.write_tokenizers(folder / "tokenizers")
    return ["--tokenizer", t5, "--bert-tokenizer", bert]


@pytest.mark.parametrize("form", ["bin", "stored", "deflated"])
def test_consistencytta(folder: Path, form: str) -> None:
    full.need_space(folder, {"bin": 18e9, "stored": 28e9, "deflated": 28e9}[form])
    tokenizer = _tokenizers(folder)[:2]
    source = folder / "pytorch_model_2.bin"
    full.write_torch(source, full.manifest("consistencytta_training_checkpoint_light"))
    extra: list[str] = ["--with-teacher"] if form == "bin" else ["--dtype", "fp16"]
    if form == "bin":
        _check(full.run_import(source, folder / "out", *tokenizer, *extra))
        out = folder / "out"
        _compare(out, "student", source, "student_ema_unet.", UNET)
        _compare(out, "teacher", source, "teacher_unet.", [UNET[0], UNET[3]])
        _compare(out, "codec", source, "vae.", VAE)
        _compare(out, "text/model", source, "text_encoder.", TEXT)
        return
    packed = folder / "ConsistencyTTA.zip"
    full.pack(source, packed, MEMBER, stored=form == "stored")
    _check(full.run_import(packed, folder / "out", *tokenizer, *extra))
    manifest = json.loads((folder / "out" / "soundleap.json").read_text())
    assert manifest["version"] == "epoch 60"


@pytest.mark.parametrize("size", ["light", "full"])
def test_consistencytta_demo(folder: Path, size: str) -> None:
    full.need_space(folder, 15e9)
    name = "easy_unet" if size == "light" else "guided_unet_full"
    full.write_torch(folder / "unet_state_dict.pt", full.manifest(f"consistencytta_{name}"))
    full.write_torch(
        folder / "vae_state_dict.pt",
        full.manifest("audioldm_vae_hifigan"),
        lambda state: {"state_dict": state, "scale_factor": SCALE},
    )
    full.write_torch(folder / "pytorch_model.bin", full.manifest("flan_t5_large_encoder"))
    text = ["--text-encoder", folder / "pytorch_model.bin"]
    _check(full.run_import(folder, folder / "out", *_tokenizers(folder)[:2], *text))
    _compare(folder / "out", "student", folder / "unet_state_dict.pt", "", UNET)
    _compare(folder / "out", "text/model", folder / "pytorch_model.bin", "", TEXT)


def test_lightweight_teacher_and_audioldm(folder: Path) -> None:
    full.need_space(folder, 12e9)
    shapes = full.manifest("consistencytta_teacher_unet_light", "unet.")
    shapes |= full.manifest("flan_t5_large_encoder", "text_encoder.")
    full.write_torch(folder / "pytorch_model_2.bin", shapes)
    source, vae = folder / "LightweightLDM.zip", folder / "audioldm-s-full.ckpt"
    member = "LightweightLDM/best/pytorch_model_2.bin"
    full.pack(folder / "pytorch_model_2.bin", source, member, stored=False)
    first = full.manifest("audioldm_vae_hifigan", "first_stage_model.")
    other = {"model.diffusion_model.input_blocks.0.0.weight": ((5000, 50000), torch.float32)}
    scale = {"scale_factor": ((), torch.float32)}
    full.write_torch(
        vae, {**first, **other, **scale}, toy.lightning, {"scale_factor": torch.tensor(SCALE)}
    )
    _check(full.run_import(source, folder / "out", *_tokenizers(folder)[:2], "--vae", vae))
    _compare(folder / "out", "codec", vae, "first_stage_model.", VAE)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_tango(folder: Path, dtype: str) -> None:
    full.need_space(folder, 13e9)
    source = folder / "tango"
    source.mkdir()
    full.write_torch(source / "pytorch_model_main.bin", full.manifest("tango_main"))
    full.write_torch(source / "pytorch_model_vae.bin", full.manifest("audioldm_vae_hifigan"))
    full.write_torch(source / "pytorch_model_stft.bin", full.manifest("audioldm_stft"))
    (source / "main_config.json").write_text("{}")
    (source / "vae_config.json").write_text(json.dumps({"scale_factor": SCALE}))
    out = folder / "out"
    _check(full.run_import(source, out, *_tokenizers(folder)[:2], "--dtype", dtype))
    main = source / "pytorch_model_main.bin"
    _compare(out, "teacher", main, "unet.", [UNET[0], UNET[3]])
    _compare(out, "codec", source / "pytorch_model_vae.bin", "", VAE)
    _compare(out, "text/model", main, "text_encoder.", TEXT)


@pytest.mark.parametrize("name", ["audiolcm", "maa2"])
def test_one_dimensional(folder: Path, name: str) -> None:
    full.need_space(folder, 16e9)
    source, out = folder / f"{name}.ckpt", folder / "out"
    shapes = full.manifest(f"{name}_checkpoint")
    trained = ("unet.",) if name == "audiolcm" else ("model.", "cond_stage_model.t5")
    moving = {k: x for k, x in shapes.items() if k.startswith(trained) and full.TIED not in k}
    scale = {"scale_factor": torch.tensor(1.3)}
    full.write_torch(
        source,
        shapes,
        lambda state: toy.lightning(state, optimizer_states=[full.adam(moving)]),
        scale,
    )
    full.write_bigvgan(folder / "vocoder")
    vocoder = ["--vocoder", folder / "vocoder"]
    extra = ["--dtype", "fp16"] if name == "maa2" else []
    _check(full.run_import(source, out, *_tokenizers(folder), *vocoder, *extra))
    part, prefix = ("student", "unet.") if name == "audiolcm" else ("teacher", "model.")
    names = ["proj_in.weight", "final_layer.linear.weight"]
    present = [n for n in names if f"{prefix}diffusion_model.{n}" in shapes]
    _compare(out, part, source, f"{prefix}diffusion_model.", present)
    _compare(out, "codec", source, "first_stage_model.", ["decoder.mid.block_2.conv1.weight"])
    t5 = [f"t5.{n}={n}" for n in TEXT]
    _compare(out, "text/model", source, "cond_stage_model.t5_transformer.", t5)
