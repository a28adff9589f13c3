"""What an iteration of the originals does anew and a cache holds here: latents and text states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from soundleap.bench.distill_clock import Clock
from soundleap.bench.distill_parts import PROMPT_TOKENS, Shapes, fill, outline, shapes_of
from soundleap.bench.distill_settings import CaseName, DistillBenchSettings
from soundleap.models.fast_cpu import torchs_own
from soundleap.models.registry import LATENT_CODECS
from soundleap.models.text_bert_t5 import BertT5TextEncoder
from soundleap.models.text_t5 import T5TextEncoder, make_t5_network
from soundleap.untrained.text import letter_bert_tokenizer, letter_t5_tokenizer

PROMPT = "a" * (PROMPT_TOKENS - 2)
"""Letter by letter, between the sign of a word's beginning and the end token."""


class Preparation:
    """A latent codec and a text encoder with random weights, and what they are given."""

    def __init__(self, case: CaseName, settings: DistillBenchSettings) -> None:
        self.shapes, self.count = shapes_of(case, settings.size), settings.batch_size
        self.mel = torch.zeros(self.count, *self.shapes.mel)
        self.codec = None if self.shapes.codec is None else _codec(self.shapes.codec)
        self.text = _text(self.shapes)

    @torch.no_grad()
    def run(self, number: int) -> Clock:
        """Prepare the clips of one batch as a cache does, once and for all."""
        clock = Clock()
        structured = self.text.structured
        with clock.stage("encode"):
            if self.codec is not None:
                self.codec.encode(self.mel, self._noise())
        with clock.stage("text"):
            prompts = [PROMPT] * self.count
            self.text.encode(prompts, prompts if structured else None)
        return clock

    @torch.no_grad()
    def run_stock(self, number: int) -> Clock:
        """Prepare them as the originals do in every iteration, the empty prompt each time too."""
        clock = Clock()
        with torchs_own():
            with clock.stage("encode"):
                if self.codec is not None:
                    self.codec.encode(self.mel, self._noise())
            for prompt in (PROMPT, ""):
                with clock.stage("text"):
                    self._encode_to_one_length([prompt] * self.count)
        return clock

    def _encode_to_one_length(self, prompts: list[str]) -> Tensor:
        text = self.text
        if text.structured:
            return text.encode(prompts, prompts).embeds
        ids = torch.full((len(prompts), PROMPT_TOKENS), 4)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[:, max(1, len(prompts[0])) :] = False
        return text.network(input_ids=ids, attention_mask=mask).last_hidden_state

    def _noise(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.count, *self.shapes.latents, generator=generator)


def _codec(config: Any) -> Any:
    module = outline(config, LATENT_CODECS)
    module.to_empty(device="cpu")
    fill(module)
    return module.eval().requires_grad_(False)


def _text(shapes: Shapes) -> Any:
    config = shapes.text
    if config is None:
        from soundleap.models.text import TextEncoder

        return TextEncoder.default()
    if config.kind == "t5":
        network = make_t5_network(config)
        fill(network)
        return T5TextEncoder(config, network, letter_t5_tokenizer())
    from soundleap.models.bert_t5_network import BertT5Network

    both = BertT5Network(config)
    fill(both)
    return BertT5TextEncoder(config, both, letter_bert_tokenizer(), letter_t5_tokenizer())
