"""Configurations of the published families' parts, tiny and as published."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from soundleap.models.autoencoder1d import Autoencoder1dConfig
from soundleap.models.bert_t5_network import BertConfig, BertT5Config
from soundleap.models.bigvgan import BigVGANConfig
from soundleap.models.concat_dit import ConcatDiTConfig
from soundleap.models.hifigan import HifiGanConfig
from soundleap.models.text_t5 import T5Config
from soundleap.models.unet2d import (
    CROSS_DOWN,
    CROSS_UP,
    FULL,
    LIGHT,
    PLAIN_DOWN,
    PLAIN_UP,
    UNet2DConfig,
)
from soundleap.models.vae2d import VAE2dConfig

Size = Literal["tiny", "published"]
TINY_TEXT = 32
TINY_VOCAB = 300


@dataclass(frozen=True)
class FamilySizes:
    """What a family's model is made of.

    Attributes:
        parts: configuration of each part by its name in the model's description.
        text: configuration of the text encoder.
        sampling: settings in which this size differs from the published model.
    """

    parts: dict[str, Any]
    text: Any
    sampling: dict[str, Any] = field(default_factory=dict[str, Any])


def consistencytta_sizes(size: Size) -> FamilySizes:
    """Student and teacher U-Net, 2-D autoencoder, HiFi-GAN, T5."""
    teacher = LIGHT if size == "published" else _tiny_unet()
    student = replace(teacher, guided=True, prediction="x0")
    return _two_dimensional(size, {"student": student, "teacher": teacher})


def tango_sizes(size: Size) -> FamilySizes:
    """U-Net, 2-D autoencoder, HiFi-GAN, T5."""
    return _two_dimensional(size, {"teacher": FULL if size == "published" else _tiny_unet()})


def audiolcm_sizes(size: Size) -> FamilySizes:
    """Student and teacher transformer, 1-D autoencoder, BigVGAN, BERT and T5."""
    teacher = ConcatDiTConfig() if size == "published" else _tiny_transformer()
    return _one_dimensional(size, {"student": replace(teacher, guided=True), "teacher": teacher})


def make_an_audio_2_sizes(size: Size) -> FamilySizes:
    """Transformer, 1-D autoencoder, BigVGAN, BERT and T5."""
    teacher = ConcatDiTConfig() if size == "published" else _tiny_transformer()
    return _one_dimensional(size, {"teacher": teacher})


FAMILIES = {
    "consistencytta": consistencytta_sizes,
    "tango": tango_sizes,
    "audiolcm": audiolcm_sizes,
    "make-an-audio-2": make_an_audio_2_sizes,
}
"""Sizes by family."""


def _two_dimensional(size: Size, networks: dict[str, Any]) -> FamilySizes:
    if size == "published":
        parts = {"codec": VAE2dConfig(), "vocoder": HifiGanConfig(), **networks}
        return FamilySizes(parts, T5Config())
    codec = VAE2dConfig(
        block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4, fixed_length=32
    )
    parts = {"codec": codec, "vocoder": HifiGanConfig(upsample_initial_channel=32), **networks}
    seconds = {"max_duration_in_s": 1.28, "default_duration_in_s": 1.28}
    return FamilySizes(parts, _tiny_t5(), seconds)


def _one_dimensional(size: Size, networks: dict[str, Any]) -> FamilySizes:
    if size == "published":
        return FamilySizes(
            {"codec": Autoencoder1dConfig(), "vocoder": BigVGANConfig(), **networks}, BertT5Config()
        )
    codec = Autoencoder1dConfig(width=32, multipliers=(1, 1), blocks=1)
    parts = {"codec": codec, "vocoder": BigVGANConfig(width=64), **networks}
    return FamilySizes(parts, _tiny_bert_t5(), {"default_duration_in_s": 1.024})


def _tiny_unet() -> UNet2DConfig:
    return UNet2DConfig(
        text_dim=TINY_TEXT,
        block_out_channels=(16, 24),
        attention_heads=(3, 5),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=(CROSS_DOWN, PLAIN_DOWN),
        up_block_types=(PLAIN_UP, CROSS_UP),
    )


def _tiny_transformer() -> ConcatDiTConfig:
    return ConcatDiTConfig(text_dim=TINY_TEXT, width=32, blocks=1, heads=4)


def _tiny_t5() -> T5Config:
    return T5Config(
        vocab_size=TINY_VOCAB, dim=TINY_TEXT, num_layers=2, num_heads=2, head_dim=8, hidden_dim=48
    )


def _tiny_bert_t5() -> BertT5Config:
    bert = BertConfig(
        vocab_size=TINY_VOCAB, dim=24, num_layers=2, num_heads=2, hidden_dim=48, max_positions=80
    )
    return BertT5Config(bert=bert, t5=_tiny_t5(), projection_dim=TINY_TEXT)
