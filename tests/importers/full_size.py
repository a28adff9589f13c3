"""Checkpoints of the published sizes with random numbers, written with little memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.serialization import skip_data

from soundleap.models.alias_free import half_band_filter

MANIFESTS = Path(__file__).parents[3] / "shared" / "golden" / "manifests"
DTYPES = {"float32": torch.float32, "int64": torch.int64}
BLOCK = 1 << 22
TIED = "encoder.embed_tokens.weight"

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]


def manifest(name: str, prefix: str = "") -> Shapes:
    """Read names, shapes and types of a published file; skips the test where there are none."""
    path = MANIFESTS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    tensors = json.loads(path.read_text())["tensors"]
    return {prefix + key: (tuple(shape), DTYPES[kind]) for key, (shape, kind) in tensors.items()}


def write_torch(
    path: Path,
    shapes: Shapes,
    wrap: Callable[[dict[str, Tensor]], Any] = lambda state: state,
    values: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a torch file of these tensors, filled with random numbers afterwards.

    Args:
        path: where to.
        shapes: what; T5's two names of one table share it.
        wrap: puts other things around the tensors, which are without numbers at that time.
        values: numbers of some tensors, by the end of their names.
    """
    with FakeTensorMode(), skip_data(materialize_fake_tensors=True):
        state = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}
        for name in state:
            if name.endswith(TIED):
                state[name] = state[name.removesuffix(TIED) + "shared.weight"]
        torch.save(wrap(state), path)
    with FakeTensorMode():
        content = torch.load(path, map_location="cpu", weights_only=False)
    _fill(path, _flat(content), values or {})


def _flat(content: Any, name: str = "") -> dict[str, Tensor]:
    if isinstance(content, Tensor):
        return {name: content}
    if isinstance(content, dict):
        pairs = content.items()
    elif isinstance(content, list):
        pairs = enumerate(content)
    else:
        return {}
    return {k: x for key, inner in pairs for k, x in _flat(inner, f"{name}.{key}").items()}


def _fill(path: Path, tensors: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    block = 0.05 * torch.randn(BLOCK, generator=torch.Generator().manual_seed(0))
    data, size, shift = block.numpy().tobytes(), path.stat().st_size, 0
    with path.open("r+b") as file:
        for name, fake in tensors.items():
            file.seek(fake.untyped_storage()._checkpoint_offset)  # pyright: ignore
            given = [x for end, x in values.items() if name.endswith(end)]
            if given:
                file.write(given[0].numpy().tobytes())
                continue
            left = fake.untyped_storage().nbytes()
            if fake.dtype != torch.float32:
                continue
            shift = (shift + 4096) % (len(data) // 2)  # so that tensors differ from each other
            while left:
                piece = data[shift : shift + left]
                file.write(piece)
                left -= len(piece)
    assert path.stat().st_size == size


def adam(shapes: Shapes) -> dict[str, Any]:
    """Make an optimizer's state of Lightning's form for these tensors; inside `write_torch`."""
    state = {
        i: {"step": 1, "exp_avg": torch.empty(shape), "exp_avg_sq": torch.empty(shape)}
        for i, (shape, _) in enumerate(shapes.values())
    }
    return {"state": state, "param_groups": [{"lr": 1e-4, "params": list(state)}]}


def write_bigvgan(folder: Path) -> None:
    """Write the vocoder's folder."""
    folder.mkdir()
    record = json.loads((MANIFESTS / "bigvgan_16k.json").read_text())
    write_torch(
        folder / "best_netG.pt",
        manifest("bigvgan_16k"),
        lambda state: {"generator": state},
        {".filter": half_band_filter().float()},
    )
    (folder / "args.yml").write_text(json.dumps(record["config"]))


def pack(source: Path, target: Path, member: str, *, stored: bool) -> None:
    """Move a file into a zip; "deflated" is without compression, which costs hours here."""
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(target, "w", method, compresslevel=0) as archive:
        folder = Path(member).parent.parent.as_posix()
        archive.writestr(f"{folder}/summary.jsonl", '{"num_diffusion_steps": 18}\n')
        archive.write(source, member)
    source.unlink()


class Imported(NamedTuple):
    """What an import took.

    Attributes:
        size: bytes of the bundle.
        peak: bytes of memory at most, mapped pages included.
        seconds: wall time.
        out: what it printed.
    """

    size: int
    peak: int
    seconds: float
    out: str


_CODE = """
import sys, time
from soundleap.cli.main import main
start = time.perf_counter()
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("took", code, int(peak.split()[1]) * 1024, time.perf_counter() - start)
"""


def run_import(*arguments: str | Path) -> Imported:
    """Run ``soundleap import`` in a process of its own, offline."""
    run = subprocess.run(
        [sys.executable, "-c", _CODE, "import", *map(str, arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, last = run.stdout.splitlines()
    _, code, peak, seconds = last.split()
    assert code == "0", run.stderr
    files = [path for path in Path(arguments[1]).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    taken = Imported(size, int(peak), float(seconds), "\n".join(lines))
    print(f"{size / 1e9:.3f} GB, peak {taken.peak / 1e9:.3f} GB, {taken.seconds:.0f} s")
    return taken


def need_space(folder: Path, size: float) -> None:
    """Skip the test where the disk is too full."""
    free = shutil.disk_usage(folder).free
    if free < size + 5e9:
        pytest.skip(f"needs {size / 1e9:.0f} GB at {folder}, where {free / 1e9:.0f} GB are free")
