"""The network that rewarded a model is no judge of it, and reports name both."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from evaluation_sets import write_set
from toy_embedder import INFO, ToyEmbedder

from soundleap.errors import InputError
from soundleap.evaluation.record import EvaluationRecord
from soundleap.evaluation.report_html import report_page
from soundleap.evaluation.report_markdown import report_markdown
from soundleap.evaluation.rewarded import check_judges
from soundleap.evaluation.run import evaluate
from soundleap.evaluation.settings import EvaluationSettings
from soundleap.evaluation.summary import summarise

OTHER = {"name": "toy", "network": f"toy:{'ab' * 32}"}
SAME = {"name": "mirror", "network": f"toy:{INFO.weights_sha256}"}


def run(tmp_path: Path, rewards: object) -> EvaluationRecord:
    return evaluate(
        write_set(tmp_path, "g", 3, 0), write_set(tmp_path, "r", 4, 50),
        EvaluationSettings(bootstrap=0, metrics=("fd",)), embedders=[ToyEmbedder()],
        cache=tmp_path / "cache", system={"name": "ours", "rewards": rewards},
    )  # fmt: skip


def test_a_judge_that_gave_the_reward_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedder toy is the network that gave reward mirror"):
        run(tmp_path, [OTHER, SAME])
    with pytest.raises(InputError, match="rewards of the system is 'toy'; needed: a list"):
        check_judges({"rewards": "toy"}, [INFO])
    check_judges({}, [INFO])


def test_a_judge_is_refused_by_what_stands_beside_the_clips(tmp_path: Path) -> None:
    generated, reference = write_set(tmp_path, "g", 3, 0), write_set(tmp_path, "r", 4, 50)
    settings = EvaluationSettings(bootstrap=0, metrics=("fd",))
    folder = Path(generated) if Path(generated).is_dir() else Path(generated).parent
    (folder / "system.json").write_text(json.dumps({"name": "student", "rewards": [SAME]}))
    with pytest.raises(InputError, match="that gave reward mirror in training"):
        evaluate(generated, reference, settings, embedders=[ToyEmbedder()], cache=tmp_path / "c")


def test_reports_say_which_network_rewarded_and_which_judged(tmp_path: Path) -> None:
    record = run(tmp_path, [OTHER])
    text = (
        "Rewarded in training by toy (SHA-256 abababababab); judged by toy (toy: of the same kind "
        "with other weights, not independent)."
    )
    again = EvaluationRecord.from_json(record.to_json())
    for report in (summarise(again), report_markdown(again), report_page(again)):
        assert text in report
    own = dataclasses.replace(again, embedders=(dataclasses.replace(INFO, ours=True),))
    assert "judged by toy (Soundleap's own model)" in report_markdown(own)
    plain = summarise(run(tmp_path / "plain", []))
    assert "Rewarded" not in plain
