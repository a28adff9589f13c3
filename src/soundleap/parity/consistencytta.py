"""ConsistencyTTA's network and inference."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from soundleap.bundle_schema import Sampling
from soundleap.diffusion import (
    ConsistencyFunction,
    consistencytta_timesteps,
    linspace_timesteps,
    sample_consistency,
    sample_ode,
)
from soundleap.importers.keys_2d import unet2d_name, unet2d_state
from soundleap.latents import Conditions, LatentSampler
from soundleap.models.unet2d import UNet2D

from .compare import Kind
from .conditions import halves, sampler_conditions
from .family import Family, output, take
from .items import ParityError, supported
from .networks import GUIDANCE, everything, published_gradient, unet2d
from .schedules import sampling_settings


class GuidedUNet(Family):
    """``ctta_guided_unet``: the network for several timesteps and guidance scales."""

    def __init__(self, item: Any) -> None:
        """Take an item."""
        super().__init__(item)
        self._answers: dict[int, dict[str, Tensor]] = {}

    @cached_property
    def network(self) -> UNet2D:
        """The network."""
        return unet2d(self.item.constructor, self.item.weights, "x0")

    def ask(self, case: int) -> Tensor:
        """Query the network; one guidance scale for all was a Python number, in float64."""
        x_t, context = self.item.input("sample"), self.item.input("context")
        t, w = (self.item.input(f"case{case}/{name}") for name in ("t", "w"))
        w = w.double() if len(w) == 1 else w
        t, w = t.expand(len(x_t)), w.expand(len(x_t))
        words = " ".join(
            self.item.meaning(f"out/{name}")
            for name in self.item.outputs
            if name.startswith(f"case{case}/")
        )
        unmasked = "encoder_attention_mask=None" in words
        mask = everything(context) if unmasked else self.item.input("mask").bool()
        return self.network(x_t, t, text_embeds=context, text_mask=mask, w=w)

    @output("case{case:int}/sample", Kind.NETWORK)
    def sample(self, case: int) -> Tensor:
        """Give the network's output."""
        return self.answers(case)["sample"]

    @output("case{case:int}/{module:rest}", Kind.NETWORK)
    def submodule(self, case: int, module: str) -> Tensor:
        """Give what a submodule gives, by its published name; of a tuple the first."""
        if module not in self.answers(case):
            raise ParityError(f"the network has no submodule {module}, or does not ask it")
        return self.answers(case)[module]

    def answers(self, case: int) -> dict[str, Tensor]:
        """Query once and keep what all submodules gave that are asked for."""
        if case not in self._answers:
            prefix = f"case{case}/"
            names = [n.removeprefix(prefix) for n in self.item.outputs if n.startswith(prefix)]
            seen: dict[str, Tensor] = {}
            hooks = [self._watch(name, seen) for name in names if name != "sample"]
            try:
                with torch.no_grad():
                    seen["sample"] = self.ask(case)
            finally:
                for hook in filter(None, hooks):
                    hook.remove()
            self._answers[case] = seen
        return self._answers[case]

    def _watch(self, name: str, seen: dict[str, Tensor]) -> Any:
        features = f"{name}.weight" == GUIDANCE
        own = unet2d_name("guidance_embedding." if features else f"{name}.").rstrip(".")
        try:
            module = self.network.get_submodule(own)
        except AttributeError:
            return None

        def keep(_: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
            value = inputs if features else result
            seen[name] = value[0] if isinstance(value, tuple) else value

        return module.register_forward_hook(keep)

    @cached_property
    def loss(self) -> Tensor:
        """The mean square of one case's output, with gradients in the network."""
        words = re.search(r"case (\d+)", self.item.meaning("out/grad/loss"))
        if words is None:
            raise ParityError("the description of out/grad/loss does not name its case")
        self.network.zero_grad()
        loss = (self.ask(int(words[1])) ** 2).mean()
        loss.backward()
        return loss.detach()

    @output("grad/loss", Kind.LOSS)
    def grad_loss(self) -> Tensor:
        """Give that loss."""
        return self.loss

    @output("grad/{name:rest}", Kind.GRADIENT)
    def gradient(self, name: str) -> Tensor:
        """Give its gradient by a weight's published name."""
        _ = self.loss
        return published_gradient(name, self.item.weights, unet2d_state, self.network)


class Inference(Family):
    """``ctta_inference``: whole sampling, of the student and of the teacher."""

    @cached_property
    def sampling(self) -> Sampling:
        """Settings as of an imported model."""
        supported(self.item.constructor, use_edm=True, use_karras=False)
        return sampling_settings(
            self.item.constructor["scheduler"],
            student_prediction="x0",
            boundary="identity",
            initial_noise="schedule",
        )

    def sampler(self, prefix: str) -> LatentSampler:
        """Make a sampler of the network under a prefix."""
        published = self.item.weights_of(prefix)
        prediction = "x0" if GUIDANCE in published else self.sampling.prediction
        network = unet2d(self.item.constructor["unet"], published, prediction)
        return LatentSampler(network, self.sampling, None)

    @cached_property
    def student(self) -> LatentSampler:
        """The student: its moving average, or the target network."""
        averaged = self.item.constructor.get("use_ema", True)
        return self.sampler("student_ema_unet." if averaged else "student_target_unet.")

    @cached_property
    def teacher(self) -> LatentSampler:
        """The teacher."""
        return self.sampler("teacher_unet.")

    def conditions(self, w: float, post: float = 1.0) -> Conditions:
        """Make the conditions."""
        noise = self.item.input("noise_initial")
        return sampler_conditions(*halves(self.item, len(noise)), w, noise.shape[2], post)

    @cached_property
    def start(self) -> Tensor:
        """The noise that sampling starts from."""
        schedule = self.student.schedule
        return self.item.input("noise_initial") * float(schedule.sigma(schedule.t_max))

    @output("{settings:settings}/z", Kind.SAMPLE)
    def sampled(self, settings: dict[str, float]) -> Tensor:
        """Sample from the student (``steps``) or the teacher (``teacher``) with guidance ``w``."""
        with torch.no_grad():
            return self.followed(settings) if "teacher" in settings else self.asked(settings)

    def asked(self, settings: dict[str, float]) -> Tensor:
        """Query the student at the original's list of timesteps."""
        values = take(settings, "steps", "w", post=1.0)
        steps, sampler = int(values["steps"]), self.student
        conditions = self.conditions(values["w"], values["post"])
        return sample_consistency(
            ConsistencyFunction(sampler.student_denoise(conditions), self.sampling.boundary),
            self.start,
            consistencytta_timesteps(steps, sampler.schedule.t_max),
            sampler.schedule,
            noises=[self.item.input(f"noise_{i}") for i in range(1, steps)],
        )

    def followed(self, settings: dict[str, float]) -> Tensor:
        """Follow the teacher by Heun's method."""
        values = take(settings, "teacher", "w")
        schedule = self.teacher.schedule
        denoise = self.teacher.teacher_denoise(self.conditions(values["w"]))
        path = linspace_timesteps(schedule, int(values["teacher"]))
        return sample_ode(denoise, self.start, path, schedule, solver="heun")
