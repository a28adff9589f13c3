"""AudioLCM's transformer, autoencoder and vocoder, each by itself."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from soundleap.audio.mel import NAT_MEL
from soundleap.diffusion import sinusoidal_embedding
from soundleap.importers.keys_1d import (
    attention_levels,
    autoencoder1d_state,
    bigvgan_config,
    bigvgan_state,
    concat_dit_state,
)
from soundleap.models.alias_free import AliasFreeSnake, downsample, upsample
from soundleap.models.autoencoder1d import Autoencoder1d, Autoencoder1dConfig
from soundleap.models.bigvgan import BigVGAN
from soundleap.models.concat_dit import SINUSOID_DIM, ConcatDiT

from .compare import Kind
from .family import Family, output
from .items import ParityError, supported
from .networks import PROJ_W, concat_dit, filled, published_gradient


class Transformer(Family):
    """``audiolcm_concatdit2mlp``: with and without guidance; its embedding is an input."""

    @cached_property
    def network(self) -> ConcatDiT:
        """The network."""
        supported(self.item.description, **{"class": "ConcatDiT2MLP"})
        guided = PROJ_W in self.item.weights
        return concat_dit(self.item.constructor, self.item.weights, guided=guided)

    def times(self, number: int) -> Tensor:
        """Give the timesteps of a number."""
        return self.item.input(f"t{number}").expand(len(self.item.input("x")))

    def guidance(self, which: str) -> Tensor | None:
        """Give the embedded guidance, or none."""
        return self.item.input("w_cond") if which == "with" else None

    def ask(self, number: int, which: str) -> Tensor:
        """Query the network."""
        return self.network.predict(
            self.item.input("x"),
            self.times(number),
            self.item.input("context"),
            self.guidance(which),
        )

    @output("t{number:int}/{which:with}_w", Kind.NETWORK)
    @torch.no_grad()
    def prediction(self, number: int, which: str) -> Tensor:
        """Give the network's output."""
        return self.ask(number, which)

    @output("t{number:int}/t_embedder_{which:with}_w", Kind.NETWORK)
    @torch.no_grad()
    def time_token(self, number: int, which: str) -> Tensor:
        """Give the first token."""
        return self.network.t_embedder(self.times(number), self.guidance(which))

    @output("t{number:int}/sinusoid", Kind.EMBEDDING)
    def sinusoid(self, number: int) -> Tensor:
        """Give the embedded timesteps."""
        return sinusoidal_embedding(self.times(number).float(), SINUSOID_DIM)

    @output("t{number:int}/block{index:int}_{which:with}_w", Kind.NETWORK)
    @torch.no_grad()
    def block(self, number: int, index: int, which: str) -> Tensor:
        """Give a block's output."""
        if index >= len(self.network.blocks):
            raise ParityError(f"the network has {len(self.network.blocks)} blocks")
        seen: list[Any] = []
        hook = self.network.blocks[index].register_forward_hook(
            lambda module, inputs, result: seen.append(result)
        )
        try:
            self.ask(number, which)
        finally:
            hook.remove()
        return seen[0]

    @cached_property
    def loss(self) -> Tensor:
        """The mean square of one output, with gradients in the network."""
        words = re.search(r"out/t(\d+)/(with|no)_w", self.item.meaning("out/grad/loss"))
        if words is None:
            raise ParityError("the description of out/grad/loss does not name its output")
        self.network.zero_grad()
        loss = (self.ask(int(words[1]), words[2]) ** 2).mean()
        loss.backward()
        return loss.detach()

    @output("grad/loss", Kind.LOSS)
    def grad_loss(self) -> Tensor:
        """Give that loss."""
        return self.loss

    @output("grad/{name:rest}", Kind.GRADIENT)
    def gradient(self, name: str) -> Tensor:
        """Give its gradient by a weight's published name."""
        _ = self.loss
        return published_gradient(name, self.item.weights, concat_dit_state, self.network)


class Autoencoder(Family):
    """``audiolcm_autoencoder1d``; its latents are not scaled."""

    @cached_property
    def codec(self) -> Autoencoder1d:
        """The autoencoder."""
        values, dims = self.item.constructor, self.item.constructor["ddconfig"]
        supported(dims, double_z=True, out_ch=dims["in_channels"])
        config = Autoencoder1dConfig(
            n_mels=dims["in_channels"],
            channels=values["embed_dim"],
            inner_channels=dims["z_channels"],
            width=dims["ch"],
            multipliers=tuple(dims["ch_mult"]),
            blocks=dims["num_res_blocks"],
            kernel_size=dims["kernel_size"],
            down_levels=tuple(dims["down_layers"]),
            encoder_attention=attention_levels(self.item.weights, "encoder.down"),
            decoder_attention=attention_levels(self.item.weights, "decoder.up"),
        )
        return filled(Autoencoder1d(config), autoencoder1d_state(self.item.weights))

    @cached_property
    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance."""
        with torch.no_grad():
            return self.codec.posterior(self.item.input("mel"))

    @output("mean", Kind.NETWORK)
    def mean(self) -> Tensor:
        """Give the posterior's mean."""
        return self.posterior[0]

    @output("logvar", Kind.NETWORK)
    def logvar(self) -> Tensor:
        """Give the posterior's log-variance."""
        return self.posterior[1]

    @output("sample", Kind.NETWORK)
    @torch.no_grad()
    def sample(self) -> Tensor:
        """Give latents drawn with the stored noise."""
        return self.codec.encode(self.item.input("mel"), self.item.input("posterior_noise"))

    @output("mel", Kind.NETWORK)
    @torch.no_grad()
    def mel(self) -> Tensor:
        """Give what the stored latents are decoded to."""
        return self.codec.decode(self.item.input("z"))


class Vocoder(Family):
    """``audiolcm_bigvgan``."""

    @cached_property
    def vocoder(self) -> BigVGAN:
        """The vocoder, its weight norm folded."""
        values = self.item.constructor
        mel = replace(
            NAT_MEL, hop_length=math.prod(values["upsample_rates"]), n_mels=values["num_mels"]
        )
        return filled(BigVGAN(bigvgan_config(values, mel=mel)), bigvgan_state(self.item.weights))

    @output("wav", Kind.NETWORK)
    @torch.no_grad()
    def wav(self) -> Tensor:
        """Give the stored spectrogram's sound."""
        return self.vocoder(self.item.input("mel"))[:, None]

    @cached_property
    def activation(self) -> AliasFreeSnake:
        """The first activation."""
        module: Any = self.vocoder.get_submodule("resblocks.0.activations.0")
        return module

    @cached_property
    def stored(self) -> Tensor:
        """The input of the activation."""
        return self.item.input("activation")[:, :, None]

    @output("activation", Kind.NETWORK)
    @torch.no_grad()
    def activated(self) -> Tensor:
        """Give the activation's output."""
        return self.activation(self.stored)[:, :, 0]

    def halves(self) -> tuple[Tensor, Tensor]:
        """Give the input at twice the rate, even and odd samples with margins."""
        return upsample(self.stored, self.activation.even_taps, self.activation.odd_taps)

    @output("activation_up", Kind.NETWORK)
    def activation_up(self) -> Tensor:
        """Give the input at twice the rate."""
        even, odd = self.halves()
        length = self.stored.shape[3]
        inside = torch.stack([even[..., 2 : 2 + length], odd[..., 3 : 3 + length]], dim=-1)
        return inside.flatten(-2)[:, :, 0]

    @output("activation_down", Kind.NETWORK)
    def activation_down(self) -> Tensor:
        """Give that at the first rate again."""
        taps = self.activation.even_taps, self.activation.odd_taps
        return downsample(*self.halves(), *taps)[:, :, 0]
