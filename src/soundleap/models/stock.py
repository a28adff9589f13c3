"""Classes of the libraries that published networks are built from, imported when first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from soundleap.errors import SoundleapError


def stock_class(module: str, name: str) -> Any:
    """Import one class of an optional library.

    Args:
        module: full name of the module, such as ``diffusers.models``.
        name: the class.

    Raises:
        SoundleapError: naming the package to install, if it is missing.
    """
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name != package:
            raise
        raise SoundleapError(
            f"this model needs the package {package}; install what published systems need with: "
            "pip install 'soundleap[published]'"
        ) from None
