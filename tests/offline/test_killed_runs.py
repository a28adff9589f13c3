from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soundleap.cli.main import main
from soundleap.offline.manifest import read

COMMAND = "import sys; from soundleap.cli.main import main; sys.exit(main(sys.argv[1:]))"
WAIT_IN_S = 60.0
TOTAL = 40


def sounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wav"))


def kill_at(arguments: list[str], folder: Path, count: int, pause: float) -> int:
    """Run a command and kill it a moment after it has written so many sounds."""
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments])
    try:
        end = time.monotonic() + WAIT_IN_S
        while len(sounds(folder)) < count and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(pause)
    finally:
        process.kill()
    return process.wait(WAIT_IN_S)


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(i, marks=pytest.mark.slow) for i in range(2, 9))]
)
def test_nothing_is_lost_or_made_twice_after_kill_9(
    seed: int, untrained_folder: Path, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"sound {i}" for i in range(TOTAL)))
    folder = tmp_path / "out"
    arguments = [
        "generate", "--prompts", str(prompts), "--shard", "1/1", "-o", str(folder), "--seed", "3",
        "--duration", "0.5", "--steps", "1", "--model", str(untrained_folder),
    ]  # fmt: skip
    code = kill_at(arguments, folder, draw.randint(1, 20), draw.uniform(0, 0.05))
    assert code == -9
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sounds(folder)}
    assert 1 <= len(before) < TOTAL
    assert main(arguments) == 0
    rows = read(folder / "manifest.jsonl")[1]
    assert [row.position for row in rows] == list(range(TOTAL))
    assert [folder / row.file for row in rows] == sounds(folder)
    assert {path.name for path in folder.iterdir()} == {
        *(row.file for row in rows), "manifest.jsonl", "manifest-1-of-1.jsonl"
    }  # fmt: skip
    for path, (changed, data) in before.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (changed, data)
    straight = tmp_path / "straight"
    arguments[arguments.index(str(folder))] = str(straight)
    assert main(arguments) == 0
    assert [p.read_bytes() for p in sounds(folder)] == [p.read_bytes() for p in sounds(straight)]
