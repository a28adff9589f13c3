"""Agreement with reference tensors: rebuild a system from a description, run it, compare.

A reference is a pair of files, ``NAME_SET.json`` and ``NAME_SET.safetensors``: the constructor
values of published classes, inputs ``in/…``, weights ``weights/…`` under their published names, and
outputs ``out/…``. Everything here runs what the rest of the package runs: its networks, key maps,
schedules, solvers, samplers and training objectives. One module holds one family of items.
"""

from .compare import Kind, Row, compare
from .items import Item, find_pairs
from .run import FAMILIES, check_folder, summary

__all__ = [
    "FAMILIES",
    "Item",
    "Kind",
    "Row",
    "check_folder",
    "compare",
    "find_pairs",
    "summary",
]
