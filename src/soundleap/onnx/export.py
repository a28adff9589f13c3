"""A model of the default family as a folder of ONNX graphs.

Every graph takes any batch size and any length. What has no weights and changes from call to call
stays outside: tokens, noise, the sampler's steps, the search for a phase (see `engine`).
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from soundleap.bundle import BUILTIN_TEXT, Bundle, hash_file
from soundleap.bundle_writer import new_folder
from soundleap.errors import InputError
from soundleap.models.codec import Codec
from soundleap.models.dit import DiT
from soundleap.models.istft_vocoder import ISTFTVocoder
from soundleap.models.text import TextEncoder
from soundleap.onnx import graphs
from soundleap.onnx.folder import DESCRIPTION, TOKENIZER, Description, OnnxFolder, Sizes

OPSET = 18
BATCH, TOKENS, LENGTH = 2, 7, 12
"""Sizes of the examples that graphs are traced with; none stays fixed."""

Report = Callable[[str], None]


def export_onnx(bundle: Bundle, out: str | Path, report: Report = lambda _: None) -> OnnxFolder:
    """Write a model's parts as ONNX graphs.

    Args:
        bundle: a model of the default family.
        out: folder to make; must not exist, or be empty.
        report: called with the name of each file that is there.

    Returns:
        The folder, opened.

    Raises:
        InputError: for a model of another family, a folder that isn't empty, or without the
            packages that export needs.
        BundleError: if a part is missing or damaged.
    """
    if bundle.manifest.kind != "default-family":
        raise InputError(
            f"model {bundle.manifest.name} is of the family {bundle.manifest.kind}; only models of "
            "default-family can be exported to ONNX"
        )
    _check_packages()
    with new_folder(Path(out)) as folder:
        _write(bundle, folder, report)
    return OnnxFolder(out)


@torch.no_grad()
def _write(bundle: Bundle, folder: Path, report: Report) -> None:
    names: list[str] = []

    def save(name: str, module: nn.Module, inputs: dict[str, tuple[Tensor, dict[int, Any]]],
             outputs: list[str]) -> None:  # fmt: skip
        _export(folder / name, module, inputs, outputs)
        names.append(name)
        report(name)

    text = cast(TextEncoder, bundle.load_text())
    save("text.onnx", graphs.TextGraph(text.network), _text_inputs(), ["text_embeds"])
    source = bundle.text_folder or BUILTIN_TEXT
    shutil.copyfile(source / "tokenizer.json", folder / TOKENIZER)
    names.append(TOKENIZER)
    guided: list[Any] = []
    for name in bundle.manifest.networks:
        network = cast(DiT, bundle.load_network(name))
        wrap = graphs.GuidedNetworkGraph if network.config.guided else graphs.NetworkGraph
        guided += [name] if network.config.guided else []
        save(f"{name}.onnx", wrap(network).eval(), _network_inputs(network), ["prediction"])
    codec = bundle.load_codec()
    vocoder = cast(ISTFTVocoder, codec.vocoder)
    latent = graphs.LatentGraph(cast(nn.Module, codec.latent))
    save("latent_decoder.onnx", latent, _latent_inputs(codec), ["mel"])
    save("magnitude.onnx", graphs.MagnitudeGraph(vocoder), _mel_inputs(codec), ["magnitude"])
    refine = graphs.RefineGraph(vocoder)
    save("refine.onnx", refine, _refine_inputs(codec), ["refined_real", "refined_imaginary"])
    described = Description(
        model=bundle.manifest,
        sizes=_sizes(codec, vocoder, text),
        guided=tuple(guided),
        files={name: hash_file(folder / name) for name in names},
    )
    (folder / DESCRIPTION).write_text(described.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _sizes(codec: Codec, vocoder: ISTFTVocoder, text: TextEncoder) -> Sizes:
    mel = vocoder.config.mel
    return Sizes(
        channels=codec.channels,
        patch_frames=codec.latent.config.patch_frames,
        draws_noise=codec.latent.draws_noise,
        n_mels=mel.n_mels,
        n_fft=mel.n_fft,
        hop_length=mel.hop_length,
        phase_iterations=vocoder.config.phase_iterations,
        phase_momentum=vocoder.config.phase_momentum,
        max_tokens=text.max_tokens,
    )


Inputs = dict[str, tuple[Tensor, dict[int, Any]]]


def _text_inputs() -> Inputs:
    free = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    ids = torch.ones(BATCH, TOKENS, dtype=torch.int64)
    return {"ids": (ids, free), "mask": (ids.bool(), free)}


def _network_inputs(network: DiT) -> Inputs:
    config = network.config
    inputs: Inputs = {
        "x_t": (torch.randn(BATCH, config.channels, LENGTH), {0: Dim.DYNAMIC, 2: Dim.DYNAMIC}),
        "t": (torch.full((BATCH,), 999.0), {0: Dim.DYNAMIC}),
        "text_embeds": (
            torch.randn(BATCH, TOKENS, config.text_dim),
            {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
        ),
        "text_mask": (
            torch.ones(BATCH, TOKENS, dtype=torch.bool),
            {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
        ),
    }
    if config.guided:
        inputs["w"] = (torch.full((BATCH,), 3.0), {0: Dim.DYNAMIC})
    return inputs


def _latent_inputs(codec: Codec) -> Inputs:
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC}
    inputs: Inputs = {"latents": (torch.randn(BATCH, codec.channels, LENGTH), free)}
    if codec.latent.draws_noise:
        inputs["noise"] = _mel_inputs(codec)["mel"]
    return inputs


def _mel_inputs(codec: Codec) -> Inputs:
    mel = codec.front_end.config.n_mels
    frames = LENGTH * codec.latent.config.patch_frames
    return {"mel": (torch.randn(BATCH, mel, frames), {0: Dim.DYNAMIC, 2: Dim.DYNAMIC})}


def _refine_inputs(codec: Codec) -> Inputs:
    mel, free = _mel_inputs(codec)["mel"]
    bins = codec.front_end.config.n_fft // 2 + 1
    part = torch.randn(BATCH, bins, mel.shape[2])
    return {"mel": (mel, free), "real": (part, free), "imaginary": (part + 1, free)}


def _export(path: Path, module: nn.Module, inputs: Inputs, outputs: list[str]) -> None:
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(value for value, _ in inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple(free for _, free in inputs.values()),
            opset_version=OPSET,
            verbose=False,
            dynamo=True,
        )
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass

        assert program is not None  # only the old exporter gives None
        ClearMetadataAndDocStringPass()(program.model)  # lines and folders of the sources
        program.save(path, external_data=False)


@contextmanager
def _quiet():
    """Keep the exporter's progress off the log."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_packages() -> None:
    from importlib.util import find_spec

    lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if lacking:
        raise InputError(
            f"the export needs {', '.join(lacking)}: install with `pip install 'soundleap[onnx]'`"
        )
