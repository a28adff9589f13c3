from __future__ import annotations

from pathlib import Path

import published_toys as toy
import pytest
import torch
from torch import Tensor

State = dict[str, Tensor]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy.write_tokenizers(tmp_path_factory.mktemp("tokenizers"))[0]


@pytest.fixture(scope="session")
def students() -> dict[str, tuple[State, State]]:
    """States of the copies of the student, ours and published."""
    names = ("student", "student_target", "student_ema")
    return {name: toy.unet(toy.STUDENT, 2 + i) for i, name in enumerate(names)}


@pytest.fixture(scope="session")
def training(students: dict[str, tuple[State, State]]) -> tuple[State, State]:
    """The teacher's state, and a training checkpoint with all copies."""
    return toy.ctta_training(**{name: published for name, (_, published) in students.items()})


@pytest.fixture(scope="session")
def vae() -> tuple[State, State, State]:
    return toy.vae_and_vocoder()


@pytest.fixture(scope="session")
def training_file(tmp_path_factory: pytest.TempPathFactory, training: tuple[State, State]) -> Path:
    path = tmp_path_factory.mktemp("training") / "pytorch_model_2.bin"
    torch.save(training[1], path)
    return path
