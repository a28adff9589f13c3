"""Loaded graphs, and the text encoder around one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import BundleError, InputError
from soundleap.onnx.folder import TOKENIZER, OnnxFolder

TextStates = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""States ``[B, N, D]``, zero at padding, and the mask ``[B, N]`` of tokens."""


class Graph:
    """One ONNX graph, called with its inputs by name."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load a graph.

        Raises:
            InputError: if ONNX Runtime is not installed.
            BundleError: if it can't read the file.
        """
        try:
            import onnxruntime
        except ImportError:
            raise InputError(
                "the engine onnx needs ONNX Runtime: install with `pip install onnxruntime`"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base of their own
            reason = str(error).split("\n")[0]
            raise BundleError(f"ONNX Runtime can't read {path}: {reason}") from None

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Give the outputs."""
        return self._session.run(None, inputs)  # pyright: ignore[reportReturnType]


class TextGraphs:
    """Prompts to text states; see `soundleap.models.text.TextEncoder`."""

    def __init__(self, folder: OnnxFolder, graph: Graph) -> None:
        """Load the tokenizer.

        Raises:
            BundleError: if it is missing or damaged.
        """
        from tokenizers import Tokenizer

        path = folder.file(TOKENIZER)
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"can't read the tokenizer {path}: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._graph = graph
        self.max_tokens = folder.description.sizes.max_tokens

    def tokens(self, prompt: str) -> list[str]:
        """Cut a prompt into word pieces, without [CLS] and [SEP]."""
        return self._tokenizer.encode(prompt, add_special_tokens=False).tokens

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Give states and mask; an empty text is allowed.

        N is the longest prompt, so that every graph sees what it would see in torch.
        """
        rows = [self._tokenizer.encode(prompt).ids for prompt in prompts]
        lengths = np.array([len(row) for row in rows])
        ids = np.zeros((len(rows), lengths.max()), np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        (states,) = self._graph(ids=ids, mask=mask)
        return states, mask
