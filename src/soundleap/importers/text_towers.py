"""Text encoders of the published systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from soundleap.errors import BundleError
from soundleap.importers.checkpoint import Checkpoint, open_checkpoint
from soundleap.importers.hub import fetch_first, parse_hub_id
from soundleap.importers.keys_1d import bert_t5_state
from soundleap.importers.keys_2d import t5_config, t5_state
from soundleap.importers.plan import Options, TextPlan
from soundleap.importers.tokenizer_files import T5_HUB_ID, bert_tokenizer, t5_tokenizer
from soundleap.models.bert_t5_network import BertConfig, BertT5Config
from soundleap.models.text_bert_t5 import BERT_TOKENIZER_FILE, T5_TOKENIZER_FILE
from soundleap.models.text_t5 import TOKENIZER_FILE

COND_STAGE = "cond_stage_model."
WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
BERT_HEAD_WIDTH = 64
TOKENS = 77


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
    state = bert_t5_state(bert, projection, t5)
    config = BertT5Config(
        bert=_bert_config(state),
        t5=t5_config(t5),
        projection_dim=_shape(state, "projection.linear1.weight")[0],
        max_tokens=TOKENS,
    )
    texts = {
        BERT_TOKENIZER_FILE: bert_tokenizer(options.bert_tokenizer, config.bert.vocab_size),
        T5_TOKENIZER_FILE: t5_tokenizer(options.tokenizer, config.t5.vocab_size),
    }
    return TextPlan(config, state, texts)


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


def _bert_config(state: Mapping[str, Tensor]) -> BertConfig:
    vocab_size, dim = _shape(state, "bert.embeddings.word_embeddings.weight")
    prefix = "bert.encoder.layer."
    layers = {int(x.removeprefix(prefix).split(".")[0]) for x in state if x.startswith(prefix)}
    return BertConfig(
        vocab_size=vocab_size,
        dim=dim,
        num_layers=max(layers, default=-1) + 1,
        num_heads=max(1, dim // BERT_HEAD_WIDTH),
        hidden_dim=_shape(state, f"{prefix}0.intermediate.dense.weight")[0],
        max_positions=_shape(state, "bert.embeddings.position_embeddings.weight")[0],
    )


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise BundleError(f"the text encoder's tensor {name} is missing")
    return tuple(state[name].shape)
