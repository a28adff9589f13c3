from __future__ import annotations

import shutil

import pytest
from evaluation_sets import numbers
from toy_embedder import ToyEmbedder

from soundleap.cli.main import main
from soundleap.evaluation import embedders as table
from soundleap.evaluation.record_io import read_record


@pytest.fixture
def with_toy(monkeypatch):
    import toy_embedder

    toy_embedder.open_toy = lambda weights, device: ToyEmbedder()
    monkeypatch.setitem(table.EMBEDDERS, "toy", "toy:open_toy")
    monkeypatch.setattr(table, "OFFLINE", ("toy",))
    monkeypatch.setitem(
        __import__("sys").modules, "soundleap.evaluation.embedders.toy", toy_embedder
    )


def test_command_writes_record_and_report(sets, tmp_path, with_toy, capsys):
    generated = tmp_path / "generated"
    shutil.copytree(sets[0], generated)
    (generated / "system.json").write_text('{"name": "student", "num_inference_steps": 2}')
    arguments = ["evaluate", "--generated", str(generated), "--reference", str(sets[1])]
    arguments += ["--embedder", "toy", "--metric", "fd", "--metric", "kl", "--bootstrap", "10"]
    arguments += ["--system", "guidance_scale=4.5", "--cache", str(tmp_path / "cache")]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "system: student" in printed
    assert "kl " in printed
    found = read_record(tmp_path / "out")
    assert found.system == {"name": "student", "num_inference_steps": 2, "guidance_scale": 4.5}
    assert [value.metric for value in found.metrics] == ["fd", "kl"]
    assert found.command.startswith("soundleap evaluate --generated ")
    assert "--metric fd --metric kl" in found.command


def test_command_does_shards_and_merges_them(sets, tmp_path, with_toy, capsys):
    common = ["evaluate", "--generated", str(sets[0]), "--reference", str(sets[1])]
    common += ["--embedder", "toy", "--metric", "fd", "--bootstrap", "0"]
    for part in ("1/2", "2/2"):
        assert main([*common, "--shard", part, "-o", str(tmp_path / "parts")]) == 0
    assert main(["evaluate", "merge", str(tmp_path / "parts"), "-o", str(tmp_path / "a")]) == 0
    assert main([*common, "--cache", str(tmp_path / "parts/cache"), "-o", str(tmp_path / "b")]) == 0
    one, two = (read_record(tmp_path / name) for name in "ab")
    assert numbers(one) == numbers(two)
    capsys.readouterr()
    assert main([*common, "--shard", "1/2"]) == 2
    assert "--shard needs --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "give --generated and --reference"),
        (["--list", "x"], "--list belongs to --protocol"),
        (["--protocol", "x", "--resample"], "the protocol fixes --resample"),
        (["--embedder", "yamnt"], "did you mean 'yamnet'"),
        (["--metric", "fdd"], "unknown metric 'fdd'"),
        (["--system", "steps"], "--system is 'steps'; expected NAME=VALUE"),
        (["--embedder", "vggish"], "give --weights vggish=PATH"),
    ],
)
def test_command_refuses_what_does_not_go_together(sets, capsys, extra, message: str):
    base = ["--generated", str(sets[0]), "--reference", str(sets[1])] if extra else []
    assert main(["evaluate", *base, *extra]) == 2
    assert message in capsys.readouterr().err
