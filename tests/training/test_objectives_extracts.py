"""The objectives against distillation steps of the published systems, number by number.

Every network's answer is taken from an extract of the reference tensors.
"""

from __future__ import annotations

import pytest
import torch
from reference_steps import (
    answers,
    audiolcm,
    check_audiolcm,
    check_stage_1,
    check_stage_2,
    near,
    no_text,
    part,
    stage_2,
)
from torch import Tensor


def test_extract_of_consistencytta_stage_1() -> None:
    tensors = part("stage1/")
    v_T, v_S = tensors["out/teacher_v"], tensors["out/student_v"]
    check_stage_1(tensors, (answers(v_T, v_T), answers(v_S, v_S)), no_text(3), no_text(3))


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_extract_of_consistencytta_stage_2(case: str) -> None:
    tensors = part("stage2/")

    def out(name: str) -> Tensor:
        return tensors[f"out/{case}/{name}"]

    for weighting, loss in (("none", "loss_none"), ("min_snr_x0", "loss_snr5")):
        networks = (
            answers(out("teacher_v_nplus1"), out("teacher_v_n")),
            answers(out("student")),
            answers(out("target_raw")),
        )
        terms = stage_2(tensors, case, weighting, networks, no_text(3), no_text(3))
        check_stage_2(terms, out)
        near(terms.loss.mean(), out(loss))


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_extract_of_audiolcm(case: str) -> None:
    tensors = part("audiolcm/")
    names = ("teacher_eps_uncond", "teacher_eps_cond", "student_eps", "target_eps")
    uncond, cond, student, target = (tensors[f"out/{case}/{name}"] for name in names)
    networks = (answers(torch.cat([uncond, cond])), answers(student), answers(target))
    check_audiolcm(audiolcm(tensors, case, networks, no_text(3), no_text(1)), tensors, case)
