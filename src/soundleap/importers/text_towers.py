"""Text encoders of the published systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from soundleap.errors import BundleError
from soundleap.importers.checkpoint import Checkpoint, open_checkpoint
from soundleap.importers.hub import fetch_first, parse_hub_id
from soundleap.importers.keys_1d import bert_t5_config, bert_t5_state
from soundleap.importers.keys_2d import t5_config, t5_state
from soundleap.importers.plan import Options, TextPlan
from soundleap.importers.tokenizer_files import T5_HUB_ID, bert_tokenizer, t5_tokenizer
from soundleap.models.text_bert_t5 import BERT_TOKENIZER_FILE, T5_TOKENIZER_FILE
from soundleap.models.text_t5 import TOKENIZER_FILE

COND_STAGE = "cond_stage_model."
WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
BERT_HEAD_WIDTH = 64
"""Of every published BERT; no shape tells it."""


def t5_text(published: Mapping[str, Tensor], options: Options) -> TextPlan:
    """Plan the text encoder of ConsistencyTTA and TANGO.

    Args:
        published: T5's tensors without prefix; a decoder among them is left out.
        options: where the tokenizer is.

    Raises:
        BundleError: if these are not T5's, or there is no tokenizer.
    """
    config = t5_config(published)
    tokenizer = t5_tokenizer(options.tokenizer, config.vocab_size)
    return TextPlan(config, t5_state(published), {TOKENIZER_FILE: tokenizer})


def bert_t5_text(checkpoint: Checkpoint, options: Options) -> TextPlan:
    """Plan the two text encoders of AudioLCM and Make-An-Audio 2, as the checkpoint holds them.

    Raises:
        BundleError: if they are not there, or there is no tokenizer for one.
    """
    bert = checkpoint.under(f"{COND_STAGE}caption_encoder.base.")
    projection = checkpoint.under(f"{COND_STAGE}caption_encoder.projection.")
    t5 = checkpoint.under(f"{COND_STAGE}t5_transformer.")
    width = max(bert.get("embeddings.LayerNorm.weight", torch.empty(0)).shape[0], BERT_HEAD_WIDTH)
    config = bert_t5_config(bert, projection, t5, bert_heads=width // BERT_HEAD_WIDTH)
    texts = {
        BERT_TOKENIZER_FILE: bert_tokenizer(options.bert_tokenizer, config.bert.vocab_size),
        T5_TOKENIZER_FILE: t5_tokenizer(options.tokenizer, config.t5.vocab_size),
    }
    return TextPlan(config, bert_t5_state(bert, projection, t5), texts)


def open_t5(source: str | None) -> Checkpoint:
    """Open the weights of a T5 or FLAN-T5.

    Args:
        source: a file, a folder with one, a hub id, or None for FLAN-T5-large on the hub.

    Raises:
        BundleError: if there are none.
    """
    path = Path(source or T5_HUB_ID)
    if source is not None and path.is_dir():
        found = next((path / name for name in WEIGHTS_NAMES if (path / name).is_file()), None)
        if found is None:
            raise BundleError(f"{path} holds no weights; it needs {' or '.join(WEIGHTS_NAMES)}")
        path = found
    elif source is None or not path.is_file():
        parsed = parse_hub_id(source or T5_HUB_ID)
        if parsed is None:
            raise BundleError(f"--text-encoder {source} does not exist")
        try:
            path = fetch_first(parsed.repo, WEIGHTS_NAMES)
        except BundleError as error:
            raise BundleError(
                f"the checkpoint holds no text encoder, and {error}; "
                f"give {' or '.join(WEIGHTS_NAMES)} of {T5_HUB_ID} with --text-encoder"
            ) from None
    return open_checkpoint(path)
