from __future__ import annotations

import dataclasses

import pytest
from evaluation_sets import QUICK, write_set
from toy_embedder import ToyEmbedder

from soundleap.evaluation.record import EvaluationRecord
from soundleap.evaluation.run import evaluate


@pytest.fixture(scope="session")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    return write_set(root, "generated", 34, 0), write_set(root, "reference", 36, 100)


@pytest.fixture(scope="session")
def feature_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def record(sets, feature_cache) -> EvaluationRecord:
    generated, reference = (folder / "manifest.jsonl" for folder in sets)
    settings = dataclasses.replace(QUICK, label_set="esc10")
    return evaluate(generated, reference, settings, embedders=[ToyEmbedder()], cache=feature_cache)
