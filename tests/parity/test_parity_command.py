"""`soundleap parity` on a part of the reference files, and what makes it fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from parity_writer import Reference
from safetensors.torch import load_file, save_file
from torch import Tensor

from soundleap.cli.main import main
from soundleap.parity import Kind, compare
from soundleap.parity.compare import Row

EXTRACTS = Path(__file__).parents[1] / "golden"
SOLVER, SCHEDULE = "p_audiolcm_solver_a", "p_ctta_heun_schedule_a"


def transformer() -> Reference:
    """AudioLCM's teacher, asked once by the authors' code."""
    tensors = load_file(EXTRACTS / "n1_concat_dit.safetensors")
    prefix = "weights/"
    weights = {
        name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)
    }
    sizes = {
        "in_channels": 20,
        "context_dim": 24,
        "hidden_size": 32,
        "depth": 1,
        "num_heads": 4,
        "max_len": 48,
    }
    return Reference(
        "audiolcm_concatdit2mlp",
        sizes,
        {"x": tensors["out/x_noisy"], "context": tensors["in/cond"], "t0": tensors["in/t"]},
        {"t0/no_w": tensors["out/teacher_eps_cond"]},
        weights,
        extra={"class": "ConcatDiT2MLP"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of items that agree; tests may spoil it."""
    folder = tmp_path / "references"
    folder.mkdir()
    for path in EXTRACTS.glob("p_*_a.*"):
        shutil.copy(path, folder)
    transformer().write(folder, "a")
    (folder / "README.md").write_text("not an item")
    (folder / "manifests").mkdir()
    return folder


def run(folder: Path, *options: str) -> int:
    return main(["parity", str(folder), *options])


def change(folder: Path, item: str, name: str, new: Callable[[Tensor], Tensor]) -> None:
    path = folder / f"{item}.safetensors"
    tensors = load_file(path)
    tensors[name] = new(tensors[name])
    save_file(tensors, path)


def describe(folder: Path, item: str, new: Callable[[dict], object]) -> None:
    path = folder / f"{item}.json"
    description = json.loads(path.read_text())
    new(description)
    path.write_text(json.dumps(description))


def failures(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "  FAIL" in line]


def test_reference_files_agree(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(folder) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(line.endswith("  pass") for line in lines)
    assert last == f"all {len(lines)} outputs of 3 items agree"
    line = next(line for line in lines if line.startswith(f"{SOLVER} x_prev"))
    assert [word for word in line.split() if word.isalpha()] == ["max", "rel", "tol", "pass"]


def test_only_some_items(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(folder, "--only", "p_ctta*,audiolcm_concatdit2mlp") == 0
    assert "of 2 items agree" in capsys.readouterr().out
    assert run(folder, "--only", "ctta_guided_unet") == 2
    assert "unknown item 'ctta_guided_unet'" in capsys.readouterr().err


def test_the_result_as_a_file(folder: Path, tmp_path: Path):
    change(folder, SOLVER, "out/c_out", lambda x: x + 0.1)
    assert run(folder, "--json", str(tmp_path / "result.json")) == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["passed"], result["failed"]) == (False, 1)
    (failed,) = (row for row in result["rows"] if not row["passed"])
    assert (failed["item"], failed["output"]) == (SOLVER, "c_out")
    assert failed["difference"] == pytest.approx(0.1, rel=1e-3)
    assert run(folder, "--json", str(tmp_path / "nowhere" / "result.json")) == 2


@pytest.mark.parametrize(
    ("item", "name", "new"),
    [
        (SOLVER, "out/x_prev", lambda x: x * (1 + 1e-4)),
        (SOLVER, "out/lcm_timesteps/orig50_n4", lambda x: x + 1),
        (SOLVER, "out/alphas_cumprod", lambda x: x * float("nan")),
        (SOLVER, "out/c_skip", lambda x: x[:-1]),
        (SOLVER, "in/pred_x0", lambda x: x + 1e-3),
        (SCHEDULE, "out/karras/n18/timesteps", lambda x: x + 0.1),
        (SCHEDULE, "out/linspace/n4/sigmas", lambda x: x * 1.0001),
        ("audiolcm_concatdit2mlp_a", "out/t0/no_w", lambda x: x + 1e-4),
        ("audiolcm_concatdit2mlp_a", "weights/pos_emb.weight", lambda x: x.flip(0)),
    ],
)
def test_other_numbers_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], item: str, name: str, new: Callable
):
    change(folder, item, name, new)
    assert run(folder) == 1
    (line,) = failures(capsys)
    assert line.startswith(item)


def unknown_output(description: dict) -> None:
    description["outputs"]["out/x_next"] = description["outputs"]["out/x_prev"]


def other_shape(description: dict) -> None:
    description["outputs"]["out/x_prev"]["shape"] = [1]


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (lambda d: d.update(name="audiolcm_unheard_of"), "unknown item 'audiolcm_unheard_of'"),
        (unknown_output, "x_next  FAIL: audiolcm_solver is known but this output is not"),
        (lambda d: d["outputs"].pop("out/x_prev"), "stored but not described"),
        (lambda d: d["inputs"].update({"in/more": {"shape": [1]}}), "described but not stored"),
        (other_shape, "is described as [1] but stored as"),
        (lambda d: d["constructor"].update(beta_schedule="cosine"), "beta_schedule is 'cosine'"),
        (lambda d: d["constructor"].pop("linear_start"), "linear_start is None"),
        (lambda d: d.pop("constructor"), "linear_start is None"),
        (lambda d: d.pop("outputs"), "describes no inputs and outputs"),
    ],
)
def test_other_descriptions_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], new: Callable, says: str
):
    describe(folder, SOLVER, new)
    assert run(folder) == 1
    lines = failures(capsys)
    assert lines
    assert any(says in line for line in lines), lines


def test_an_output_of_no_pattern_fails(folder: Path, capsys: pytest.CaptureFixture[str]):
    path = folder / f"{SOLVER}.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "out/x_next": tensors["out/x_prev"].clone()}, path)
    describe(folder, SOLVER, unknown_output)
    assert run(folder) == 1
    assert failures(capsys) == [
        f"{SOLVER} x_next  FAIL: audiolcm_solver is known but this output is not"
    ]


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_missing_and_damaged_files_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], ending: str
):
    path = folder / f"{SOLVER}.{ending}"
    path.write_bytes(path.read_bytes()[:-100])
    assert run(folder) == 1
    assert failures(capsys)[0].startswith(f"{SOLVER}  FAIL: {path.name} can't be read")
    path.unlink()
    assert run(folder) == 1
    assert failures(capsys) == [f"{SOLVER}  FAIL: {path.name} is missing"]


def test_weights_of_another_item(folder: Path, capsys: pytest.CaptureFixture[str]):
    item = transformer()
    item.weights.clear()
    item.extra["weights_file"] = "audiolcm_concatdit2mlp_a.safetensors (same weights)"
    item.write(folder, "b")
    assert run(folder) == 0
    for other, says in (("gone.safetensors", "is not beside the item"), ("../x.safetensors", "it")):
        item.extra["weights_file"] = other
        item.write(folder, "b")
        assert run(folder) == 1
        assert says in failures(capsys)[0]


def test_weights_that_do_not_fit_fail(folder: Path, capsys: pytest.CaptureFixture[str]):
    item = transformer()
    item.weights.pop("pos_emb.weight")
    item.write(folder, "a")
    assert run(folder) == 1
    assert "missing pos_emb.weight, unexpected nothing" in failures(capsys)[0]


def test_folders_without_items_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(tmp_path / "nowhere") == 2
    assert run(tmp_path) == 2
    assert "holds no NAME_SET.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ours", "reference", "kind", "passed"),
    [
        ([1.0, 2.0], [1.0, 2.0], Kind.TABLE, True),
        ([1.0, 2.00001], [1.0, 2.0], Kind.NETWORK, True),
        ([1.0, 2.0001], [1.0, 2.0], Kind.NETWORK, False),
        ([0.0], [0.0], Kind.NETWORK, True),
        ([1e-9], [0.0], Kind.NETWORK, False),
        ([float("inf")], [1.0], Kind.NETWORK, False),
        ([-11.0, 0.0], [-11.5, 0.0], Kind.LN, True),
        ([-11.5, 0.1], [-11.5, 0.0], Kind.LN, False),
        ([1.0], [2], Kind.NETWORK, False),
        ([3, 5], [4, 5], Kind.COUNT, True),
        ([3, 5], [5, 5], Kind.COUNT, False),
        ([700.04], [700.0], Kind.LOOKUP, True),
        ([700.06], [700.0], Kind.LOOKUP, False),
    ],
)
def test_tolerances(ours: list[float], reference: list[float], kind: Kind, passed: bool):
    row = compare("item", "output", torch.tensor(ours), torch.tensor(reference), kind)
    assert row.passed is passed, row.line()


def test_tolerances_stay_tight():
    assert all(kind.tolerance <= 1e-4 for kind in Kind if not kind.absolute)


def test_a_row_without_numbers():
    assert Row("item_a", "", note="why").line() == "item_a  FAIL: why"
