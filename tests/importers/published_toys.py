"""Small random checkpoints in the layouts of the published files."""

from __future__ import annotations

import json
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

from soundleap.importers.codecs import SCALE
from soundleap.models.alias_free import half_band_filter
from soundleap.models.autoencoder1d import Autoencoder1d, Autoencoder1dConfig
from soundleap.models.bert_t5_network import BertConfig, BertT5Config, BertT5Network
from soundleap.models.bigvgan import BigVGAN, BigVGANConfig
from soundleap.models.concat_dit import ConcatDiT, ConcatDiTConfig
from soundleap.models.hifigan import HifiGan, HifiGanConfig
from soundleap.models.text_t5 import T5Config, make_t5_network
from soundleap.models.unet2d import CROSS_DOWN, CROSS_UP, PLAIN_DOWN, PLAIN_UP, UNet2D, UNet2DConfig
from soundleap.models.vae2d import VAE2d, VAE2dConfig

HEADS = (2, 4)
T5 = T5Config(vocab_size=64, dim=32, num_layers=1, num_heads=2, head_dim=8, hidden_dim=48)
TEACHER = UNet2DConfig(
    text_dim=32,
    block_out_channels=(32, 64),
    attention_heads=HEADS,
    layers_per_block=1,
    down_block_types=(CROSS_DOWN, PLAIN_DOWN),
    up_block_types=(PLAIN_UP, CROSS_UP),
)
STUDENT = replace(TEACHER, guided=True, prediction="x0")
VAE = VAE2dConfig(block_out_channels=(32, 32, 32), layers_per_block=1, scale_factor=SCALE)
DIT = ConcatDiTConfig(text_dim=32, width=32, blocks=1)
BERT_T5 = BertT5Config(
    bert=BertConfig(vocab_size=64, dim=24, num_layers=1, num_heads=1, hidden_dim=32),
    t5=T5,
    projection_dim=32,
)
ARGS = {
    "resblock": "1",
    "num_mels": 80,
    "upsample_rates": [4, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "upsample_initial_channel": 64,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "activation": "snakebeta",
    "snake_logscale": True,
    "batch_size": 64,
}
SCALE_1D = 1.375

State = dict[str, Tensor]


def random_state(module: nn.Module, seed: int) -> State:
    """Give a module's names with random numbers of a size of their own for each seed."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in module.state_dict().items()
    }


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + name: value for name, value in state.items()}


def unet(config: UNet2DConfig, seed: int) -> tuple[State, State]:
    """Give a U-Net's state, and the same by its published names."""
    state = random_state(UNet2D(config), seed)
    published = {
        re.sub("^class_embedding", "guidance_embedding", name.removeprefix("unet.")): value
        for name, value in state.items()
    }
    if "frequencies" in published:
        published["guidance_proj.weight"] = published.pop("frequencies")
    return state, published


def vae_and_vocoder() -> tuple[State, State, State]:
    """Give the states of AudioLDM's autoencoder and vocoder, and both by published names."""
    vae = random_state(VAE2d(VAE), 11)
    vocoder = random_state(HifiGan(HifiGanConfig(upsample_initial_channel=32)), 12)
    vocoder["net.mean"], vocoder["net.scale"] = torch.zeros(64), torch.ones(64)
    published = {_vae_name(name): value for name, value in vae.items()}
    for name in published:
        if ".attn_1." in name and name.endswith("weight") and ".norm." not in name:
            published[name] = published[name][:, :, None, None]
    for name, value in vocoder.items():
        if name not in ("net.mean", "net.scale"):
            published[f"vocoder.{name.removeprefix('net.').replace('upsampler', 'ups')}"] = value
    return vae, vocoder, published


def _vae_name(name: str) -> str:
    def up(match: re.Match[str]) -> str:
        return f"decoder.up.{len(VAE.block_out_channels) - 1 - int(match[1])}."

    name = name.removeprefix("vae.")
    name = re.sub(r"^encoder\.down_blocks\.", "encoder.down.", name)
    name = re.sub(r"^decoder\.up_blocks\.(\d)\.", up, name)
    for ours, theirs in (
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
        ("mid_block.attentions.0.to_", "mid.attn_1."),
        ("resnets", "block"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
    ):
        name = name.replace(ours, theirs)
    return name


def t5() -> State:
    """Give T5's state with both names of its word table, as published."""
    state = random_state(make_t5_network(T5), 13)
    return {**state, "encoder.embed_tokens.weight": state["shared.weight"]}


def ctta_training(teacher: str = "teacher_unet.", **students: State) -> tuple[State, State]:
    """Give the teacher's state and a training checkpoint with it and `students` by prefix."""
    state, published = unet(TEACHER, 1)
    checkpoint = {**under("text_encoder.", t5()), **under(teacher, published)}
    for prefix, student in students.items():
        checkpoint |= under(f"{prefix}_unet.", student)
    vae = vae_and_vocoder()[2]
    checkpoint |= {**under("vae.", vae), "loss.vae.quant_conv.bias": vae["quant_conv.bias"]}
    return state, checkpoint


def lightning(state: State, **beside: Any) -> dict[str, Any]:
    """Wrap a state as Lightning 1.7 does, with an optimizer's state and numpy's scalars."""
    moments = {0: {"step": 3, "exp_avg": torch.zeros(1000), "exp_avg_sq": torch.zeros(1000)}}
    return {
        "epoch": 3,
        "global_step": np.int64(17),
        "pytorch-lightning_version": "1.7.0",
        "state_dict": OrderedDict(state),
        "callbacks": {"ModelCheckpoint": {"best_model_score": np.float64(0.5), "dirpath": "x"}},
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-4, "params": [0]}]}],
        "lr_schedulers": [],
        **beside,
    }


def one_dimensional(copies: Mapping[str, tuple[int, bool]]) -> tuple[dict[str, State], State]:
    """Give the parts' states, and a checkpoint of AudioLCM's or Make-An-Audio 2's form.

    Args:
        copies: prefix of each transformer, its seed, and whether it has a guidance input.
    """
    parts: dict[str, State] = {}
    checkpoint: State = {"betas": torch.rand(1000), "scale_factor": torch.tensor(SCALE_1D)}
    for prefix, (seed, guided) in copies.items():
        parts[prefix] = random_state(ConcatDiT(replace(DIT, guided=guided)), seed)
        checkpoint |= under(f"{prefix}.diffusion_model.", parts[prefix])
    sizes = Autoencoder1dConfig(width=32, multipliers=(1, 1), blocks=1, scale_factor=SCALE_1D)
    parts["codec"] = random_state(Autoencoder1d(sizes), 21)
    parts["text"] = random_state(BertT5Network(BERT_T5), 22)
    del parts["text"]["t5.encoder.embed_tokens.weight"]
    checkpoint |= under("first_stage_model.", parts["codec"])
    text = dict(parts["text"])
    text |= {"t5.encoder.embed_tokens.weight": text["t5.shared.weight"]}
    text |= {
        "bert.pooler.dense.weight": torch.zeros(24, 24),
        "bert.pooler.dense.bias": torch.zeros(24),
        "bert.embeddings.position_ids": torch.arange(512)[None],
    }
    for ours, theirs in (
        ("bert.", "caption_encoder.base."),
        ("projection.", "caption_encoder.projection."),
        ("t5.", "t5_transformer."),
    ):
        inner = {name.removeprefix(ours): x for name, x in text.items() if name.startswith(ours)}
        checkpoint |= under(f"cond_stage_model.{theirs}", inner)
    return parts, checkpoint


def audiolcm() -> tuple[dict[str, State], State]:
    return one_dimensional({"model": (1, True), "unet": (2, True), "target_unet": (3, True)})


def maa2() -> tuple[dict[str, State], State]:
    return one_dimensional({"model": (1, False)})


def write_vocoder(folder: Path) -> State:
    """Write a BigVGAN's folder, with weight norm; returns the folded state."""
    folder.mkdir(parents=True)
    sizes = BigVGANConfig(width=ARGS["upsample_initial_channel"])  # pyright: ignore
    state = random_state(BigVGAN(sizes), 31)
    published: State = {}
    for name, value in state.items():
        theirs = re.sub(r"^ups\.(\d)\.", r"ups.\1.0.", name)
        theirs = re.sub(r"\.(alpha|beta)$", r".act.\1", theirs)
        if name.endswith(".alpha"):
            stem = theirs.removesuffix("act.alpha")
            for place in ("upsample.filter", "downsample.lowpass.filter"):
                published[stem + place] = half_band_filter().reshape(1, 1, -1)
        if theirs.endswith(".weight"):
            norm = value.flatten(1).norm(dim=1).reshape(-1, *[1] * (value.ndim - 1))
            published |= {f"{theirs}_g": norm, f"{theirs}_v": value * 3}
        else:
            published[theirs] = value
    torch.save({"generator": published}, folder / "best_netG.pt")
    (folder / "args.yml").write_text(yaml.safe_dump(ARGS))
    return state


def write_tango(folder: Path, **config: Any) -> tuple[State, State, State]:
    """Write a TANGO folder; returns the states of network, autoencoder and vocoder."""
    folder.mkdir(parents=True)
    network, published = unet(TEACHER, 1)
    vae, vocoder, both = vae_and_vocoder()
    main = {**under("unet.", published), **under("text_encoder.", t5())}
    torch.save(main, folder / "pytorch_model_main.bin")
    torch.save(both, folder / "pytorch_model_vae.bin")
    torch.save({"mel_basis": torch.zeros(64, 513)}, folder / "pytorch_model_stft.bin")
    record = {"scale_factor": SCALE, "ddconfig": {}, **config}
    (folder / "vae_config.json").write_text(json.dumps(record))
    (folder / "main_config.json").write_text('{"text_encoder_name": "google/flan-t5-large"}')
    return network, vae, vocoder


def write_zip(path: Path, member: str, content: bytes, *, stored: bool, **settings: Any) -> None:
    """Write a zip as ConsistencyTTA's: a checkpoint, and the settings of its training."""
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("readme.txt", "x" * 3)
        archive.writestr(member, content)
        summary = Path(member).parent.parent / "summary.jsonl"
        text = json.dumps({"num_diffusion_steps": 18, "stage": 2, **settings})
        archive.writestr(summary.as_posix(), text + '\n\n{"epoch": 1}\n')


def write_tokenizers(folder: Path) -> tuple[str, str]:
    """Write a T5's and a BERT's tokenizer that know a few letters; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")]
    pieces += [(letter, -1.0) for letter in "▁abcdefgh"]
    t5_one = Tokenizer(models.Unigram(pieces, unk_id=2))
    t5_one.pre_tokenizer = pre_tokenizers.Metaspace()
    t5_one.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    t5_one.save(str(folder / "tokenizer.json"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return str(folder / "tokenizer.json"), str(folder / "vocab.txt")
