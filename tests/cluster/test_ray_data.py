from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soundleap.cluster.ray_data import RayOptions, SoundMaker, make
from soundleap.errors import InputError
from soundleap.generator import Generator, Request
from soundleap.offline.folder import encoded
from soundleap.offline.manifest import read

TOTAL = 48
LOCAL = "import sys; from soundleap.cli.main import main; sys.exit(main(sys.argv[1:]))"


def arguments(folder: Path, prompts: Path, model: Path, *more: str) -> list[str]:
    return [
        "batch", "--prompts", str(prompts), "-o", str(folder), "--seed", "3", "--duration", "0.5",
        "--model", str(model), *more,
    ]  # fmt: skip


def makers() -> list[int]:
    """Process ids of the actors that make sounds, of the cluster that this process started."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            ours = line.startswith(b"ray::MapWorker(MapBatches(SoundMaker))")
            if ours and is_descendant(int(entry.name)):
                found.append(int(entry.name))
    return found


def is_descendant(pid: int) -> bool:
    while pid > 1 and pid != os.getpid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == os.getpid()


@pytest.mark.slow
def test_every_prompt_is_answered_once_though_an_actor_is_killed(
    two_nodes: Any, untrained_folder: Path, tmp_path: Path
) -> None:
    assert len([node for node in two_nodes.nodes() if node["Alive"]]) == 2
    generator = Generator(untrained_folder, device="cpu")
    samples = generator.pipeline.check(
        [Request(f"sound {i}", seed=i, duration_in_s=2.0) for i in range(TOTAL)]
    )
    options = RayOptions(str(untrained_folder), workers=3)
    got: list[int] = []
    files: dict[int, bytes] = {}
    killed = 0
    for position, data in make(dict(enumerate(samples)), "wav", options):
        got.append(position)
        files[position] = data
        if len(got) == 5:
            pids = makers()
            assert len(pids) == 3
            os.kill(pids[0], signal.SIGKILL)
            killed = pids[0]
    assert killed
    assert killed not in makers()
    assert sorted(got) == list(range(TOTAL))
    check = (
        "import sys, torch; torch.set_num_threads(1); from soundleap.cli.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"sound {i}" for i in range(TOTAL)))
    single = [
        sys.executable, "-c", check, "generate", "--prompts", str(prompts),
        "-o", str(tmp_path / "o"), "--seed", "0",
        "--duration", "2", "--model", str(untrained_folder), "-q",
    ]  # fmt: skip
    subprocess.run(single, check=True, timeout=120)
    paths = sorted((tmp_path / "o").glob("*.wav"))
    assert [path.read_bytes() for path in paths] == [files[i] for i in range(TOTAL)]


@pytest.mark.slow
def test_the_command_gives_the_same_folder_on_either_engine(
    two_nodes: Any, untrained_folder: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("rain\nwind\na dog\n")
    local = arguments(tmp_path / "local", prompts, untrained_folder)
    subprocess.run([sys.executable, "-c", LOCAL, *local], check=True, timeout=120)
    from soundleap.cli.main import main

    on_ray = arguments(
        tmp_path / "ray", prompts, untrained_folder, "--engine", "ray", "--workers", "2"
    )
    assert main(on_ray) == 0
    rows = read(tmp_path / "local" / "manifest.jsonl")[1]
    assert rows == read(tmp_path / "ray" / "manifest.jsonl")[1]
    for row in rows:
        assert (tmp_path / "ray" / row.file).read_bytes() == (
            tmp_path / "local" / row.file
        ).read_bytes()
    (tmp_path / "ray" / rows[1].file).unlink()
    assert main(on_ray) == 0
    assert (tmp_path / "ray" / rows[1].file).exists()


@pytest.mark.slow
def test_what_a_cluster_cannot_start_is_refused(two_nodes: Any, untrained_folder: Path) -> None:
    generator = Generator(untrained_folder, device="cpu")
    samples = dict(enumerate(generator.pipeline.check([Request("rain", seed=1)])))
    with pytest.raises(InputError, match="workers is 40 with 1 CPU each; the cluster has 3 CPU"):
        list(make(samples, "wav", RayOptions(str(untrained_folder), workers=40)))
    with pytest.raises(InputError, match="with 1 GPU each; the cluster has 0 GPU"):
        list(make(samples, "wav", RayOptions(str(untrained_folder), gpus=1)))
    long = {0: replace(samples[0], prompt="rain " * 190)}
    with pytest.raises(InputError, match="tokens"):
        list(make(long, "wav", RayOptions(str(untrained_folder))))


def test_an_actor_answers_for_every_row(untrained_folder: Path) -> None:
    import json

    import torch

    threads = torch.get_num_threads()
    try:
        maker = SoundMaker(RayOptions(str(untrained_folder), threads=threads, device="cpu"), "wav")
    finally:
        torch.set_num_threads(threads)
    rows = [{"prompt": text, "seed": 4, "duration_in_s": 0.5} for text in ("rain", "wind")]
    batch = {"position": [7, 3], "request": [json.dumps(row) for row in rows]}
    answers = list(maker(batch))
    assert [answer["position"] for answer in answers] == [[7], [3]]
    results = maker.generator.generate([Request(**row) for row in rows])
    assert [answer["data"][0] for answer in answers] == [encoded(r, "wav", True) for r in results]
    batch["request"][1] = json.dumps({**rows[1], "duration_in_s": 999})
    answers = list(maker(batch))
    assert [answer["position"] for answer in answers] == [[3], [7]]
    assert all("duration_in_s is 999" in answer["error"][0] for answer in answers)


def test_batch_without_ray_or_seed_says_so(
    untrained_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from soundleap.cli.main import main

    prompts = tmp_path / "prompts.txt"
    prompts.write_text("rain\n")
    monkeypatch.setitem(sys.modules, "ray", None)
    on_ray = arguments(tmp_path / "o", prompts, untrained_folder, "--engine", "ray")
    assert main(on_ray) == 2
    assert "pip install 'soundleap[ray]'" in capsys.readouterr().err
    assert main(arguments(tmp_path / "o", prompts, untrained_folder, "--workers", "2")) == 2
    assert "go with --engine ray" in capsys.readouterr().err
    del on_ray[on_ray.index("--seed") : on_ray.index("--seed") + 2]
    assert main(on_ray) == 2
    assert "prompt 1 has no seed" in capsys.readouterr().err
