"""The whole method on a two-dimensional problem: a teacher, two students, one to four queries.

A teacher learns two labelled half moons. Two students are distilled from it over the same coarse
grid of eight points: one *jumps* every interval with a single solver step, one *walks* it in eight.
The picture shows what each makes of one, two and four queries. Under two minutes on one CPU core:

    python examples/toy_2d.py [--guidance 2] [--out toy_2d.png]
"""

import argparse
import copy
import math

import matplotlib
import torch
from torch import Tensor, nn

from soundleap.diffusion import (
    ConsistencyFunction,
    Denoise,
    NetworkDenoiser,
    NoiseSchedule,
    batched_guidance,
    consistency_timesteps,
    linspace_grid,
    sample_consistency,
    sample_generators,
    sample_ode,
    sampling_timesteps,
    sinusoidal_embedding,
    solve,
    training_target,
    walk_path,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SCHEDULE = NoiseSchedule.scaled_linear()
GRID = linspace_grid(SCHEDULE, 8)
NO_LABEL = 2  # the "empty prompt"


def moons(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points [count, 2] of unit scale and their labels [count], 0 or 1."""
    labels = torch.randint(2, (count,), generator=generator)
    angle = math.pi * torch.rand(count, generator=generator)
    sign = 1.0 - 2.0 * labels
    points = torch.stack([angle.cos() - 0.5 * sign, sign * (angle.sin() - 0.25)], dim=1)
    return points + 0.05 * torch.randn(count, 2, generator=generator), labels


class Network(nn.Module):
    """A small perceptron over (x_t, t, label); its output is the velocity v."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.label = nn.Embedding(3, 32)
        layers: list[nn.Module] = [nn.Linear(2 + 64 + 32, width), nn.SiLU()]
        for _ in range(3):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """Give v [B, 2] for x_t [B, 2], timesteps [B] and labels [B]."""
        features = [x_t, sinusoidal_embedding(t, 64), self.label(label)]
        return self.layers(torch.cat(features, dim=1))


def train_teacher(steps: int, generator: torch.Generator, batch: int = 256) -> Network:
    """Learn v at all noise levels; one label in ten is dropped, for guidance."""
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for _ in range(steps):
        x_0, label = moons(batch, generator)
        label = torch.where(torch.rand(batch, generator=generator) < 0.1, NO_LABEL, label)
        t = torch.randint(1000, (batch,), generator=generator)
        eps = torch.randn(batch, 2, generator=generator)
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        output = network(SCHEDULE.add_noise(x_0, eps, t), t, label)
        loss = (output - training_target(x_0, eps, alpha, sigma, "v")).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return network.eval().requires_grad_(False)


def guided(network: nn.Module, label: Tensor, w: float) -> Denoise:
    """The teacher's denoise function for these labels at guidance scale w."""
    denoiser = NetworkDenoiser(network, SCHEDULE, "v")
    if w == 1:
        return denoiser.bind(label=label)
    empty = torch.full_like(label, NO_LABEL)
    return batched_guidance(denoiser, {"label": label}, {"label": empty}, w)


def student_function(network: nn.Module, label: Tensor) -> ConsistencyFunction:
    return ConsistencyFunction(NetworkDenoiser(network, SCHEDULE, "v", {"label": label}), "lcm")


def distill(
    teacher: Network,
    steps: int,
    solver_steps: int,
    w: float,
    generator: torch.Generator,
    batch: int = 256,
) -> Network:
    """Make f the same at both ends of every interval of the grid; solver_steps = 1 jumps it."""
    online = copy.deepcopy(teacher).train().requires_grad_(True)
    target = copy.deepcopy(teacher)
    optimizer = torch.optim.Adam(online.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for _ in range(steps):
        x_0, label = moons(batch, generator)
        n = torch.randint(len(GRID) - 1, (batch,), generator=generator)
        s, t = GRID[n], GRID[n + 1]
        x_t = SCHEDULE.add_noise(x_0, torch.randn(batch, 2, generator=generator), t)
        with torch.no_grad():
            x_s = solve(guided(teacher, label, w), x_t, walk_path(t, s, solver_steps), SCHEDULE)
            wanted = student_function(target, label)(x_s, s)
        error = student_function(online, label)(x_t, t) - wanted
        loss = (error.square().sum(1) + 1e-6).sqrt().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        with torch.no_grad():
            for old, new in zip(target.parameters(), online.parameters(), strict=True):
                old.lerp_(new, 0.05)
    return target


def main(
    steps: int = 2500,
    distill_steps: int = 2500,
    guidance: float = 1.0,
    count: int = 1500,
    out: str = "toy_2d.png",
) -> dict[str, float]:
    """Train, distil, draw; return each student's RMS distance from the teacher's own samples."""
    torch.manual_seed(0)  # the networks' initial weights; everything else draws from generators
    generator = torch.Generator().manual_seed(1)
    teacher = train_teacher(steps, generator)
    students = {
        "jump": distill(teacher, distill_steps, 1, guidance, generator),
        "walk": distill(teacher, distill_steps, 8, guidance, generator),
    }
    data, label = moons(count, generator)
    x_T = torch.randn(count, 2, generator=generator)
    with torch.no_grad():
        path = sampling_timesteps(SCHEDULE, 100)
        exact = sample_ode(guided(teacher, label, guidance), x_T, path, SCHEDULE)
        panels, distances = {"data": data, "teacher, 100 steps": exact}, {}
        for name, network in students.items():
            for queries in (1, 2, 4):
                t = consistency_timesteps(GRID, queries)
                f, noise = student_function(network, label), sample_generators(range(count))
                title = f"{name}, {queries} quer{'y' if queries == 1 else 'ies'}"
                panels[title] = sample_consistency(f, x_T, t, SCHEDULE, noise)
            one = panels[f"{name}, 1 query"]
            distances[name] = float((one - exact).square().sum(1).mean().sqrt())
    draw(panels, label, out)
    return distances


def draw(panels: dict[str, Tensor], label: Tensor, out: str) -> None:
    """Draw the first panel above the second, then three to a row."""
    figure, axes = plt.subplots(2, 4, figsize=(12, 6), layout="constrained")
    places = [axes[0, 0], axes[1, 0], *axes[0, 1:], *axes[1, 1:]]
    for axis, (title, points) in zip(places, panels.items(), strict=True):
        axis.scatter(*points.T, c=label, s=3, cmap="coolwarm", alpha=0.6, linewidths=0)
        axis.set(title=title, xlim=(-2, 2), ylim=(-1.4, 1.4), xticks=[], yticks=[])
    figure.savefig(out, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--out", default="toy_2d.png")
    options = parser.parse_args()
    for name, distance in main(guidance=options.guidance, out=options.out).items():
        print(f"{name}: one query is {distance:.3f} RMS from the teacher's 100 steps")
