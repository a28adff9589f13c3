"""What makes the sounds of `soundleap generate`: torch, or ONNX Runtime without torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from soundleap.errors import InputError, unknown_name

if TYPE_CHECKING:
    from soundleap.adapters import AdapterSource, UsedAdapters
    from soundleap.bundle import Bundle
    from soundleap.generator import Generator
    from soundleap.onnx.engine import OnnxGenerator
    from soundleap.onnx.folder import OnnxFolder

    Opened = Bundle | OnnxFolder

ENGINES = ("torch", "onnx")


def open_for(engine: str | None, model: str | None) -> Opened:
    """Open a model for an engine; None takes onnx for an exported folder, else torch.

    Raises:
        InputError: for an unknown engine, or onnx without a model.
        BundleError: if the model can't be opened.
    """
    from soundleap.onnx.folder import OnnxFolder, is_onnx_folder
    from soundleap.resolve import open_model

    if engine is not None and engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    exported = model is not None and is_onnx_folder(model)
    if engine == "torch" and exported:
        raise InputError(f"{model} is an exported model; leave --engine out, or give onnx")
    if engine == "onnx" and model is None:
        raise InputError(
            "--engine onnx needs --model FOLDER; make it with `soundleap export onnx FOLDER`"
        )
    return (
        OnnxFolder(model)
        if model is not None and (exported or engine == "onnx")
        else (open_model(model))
    )


def used_adapters(
    bundle: Opened, adapters: Iterable[AdapterSource], *, force: bool = False
) -> UsedAdapters | None:
    """Read the adapters that were asked for and check that they fit; None where there are none.

    Raises:
        InputError: for a weight out of range, or an exported model.
        AdapterError: if one can't be read or was made for another model (unless forced).
    """
    asked = list(adapters)
    if not asked:
        return None
    from soundleap.adapters import UsedAdapters
    from soundleap.onnx.folder import OnnxFolder

    if isinstance(bundle, OnnxFolder):
        raise InputError(
            "the engine onnx takes no adapters; save the model with them merged "
            "(TextToAudio.save_pretrained), and export that"
        )
    return UsedAdapters(asked, bundle.manifest, any_base=force)


def make_generator(
    bundle: Opened,
    *,
    device: str,
    dtype: str | None,
    low_memory: bool,
    adapters: UsedAdapters | None = None,
) -> Generator | OnnxGenerator:
    """Make the generator for an opened model, with adapters of `used_adapters`.

    Raises:
        InputError: for a value that the engine does not take.
    """
    from soundleap.onnx.folder import OnnxFolder

    if not isinstance(bundle, OnnxFolder):
        from soundleap.generator import Generator
        from soundleap.pipeline import TextToAudio

        pipeline = TextToAudio(bundle, device=device, dtype=dtype, low_memory=low_memory)
        pipeline.parts.use_adapters(adapters)
        return Generator(pipeline)
    from soundleap.onnx.engine import OnnxGenerator

    allowed: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "device": (device, ("auto", "cpu")),
        "dtype": (dtype, (None, "float32")),
        "low_memory": (low_memory, (False,)),
    }
    for name, (value, fine) in allowed.items():
        if value not in fine:
            known = ", ".join(str(entry) for entry in fine if entry is not None)
            raise InputError(f"{name} is {value}; the engine onnx takes: {known}")
    return OnnxGenerator(bundle)
