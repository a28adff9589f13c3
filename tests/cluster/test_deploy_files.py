from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from soundleap.cli.batch import batch
from soundleap.cli.serve import serve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, Any]]:
    text = (ROOT / "deploy" / "kubernetes.yaml").read_text()
    return {entry["kind"]: entry for entry in yaml.safe_load_all(text)}


def pod(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = entry["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def check_options(function: Any, words: list[str]) -> None:
    application = typer.Typer(add_completion=False)
    application.command()(function)
    command = typer.main.get_command(application)
    known = {name for parameter in command.params for name in parameter.opts}
    given = {word for word in words if word.startswith("-")}
    assert given <= known


def test_pods_fit_their_service_and_their_scaling(objects: dict[str, dict[str, Any]]) -> None:
    deployment = objects["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    spec, container = pod(deployment)
    assert spec["terminationGracePeriodSeconds"] > 60 + 3
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/health", "/health", "/health/live"]
    assert all(probe["port"] in ports for probe in probes)
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] in ports
    words = container["args"]
    assert words[0] == "serve"
    assert words[words.index("--port") + 1] == str(ports["http"])
    check_options(serve, words[1:])


def test_volumes_and_the_shards_of_the_list(objects: dict[str, dict[str, Any]]) -> None:
    for kind in ("Deployment", "Job"):
        spec, container = pod(objects[kind])
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
    job = objects["Job"]["spec"]
    words = shlex.split(pod(objects["Job"])[1]["args"][0])
    assert words[:3] == ["exec", "soundleap", "batch"]
    assert words[words.index("--shard") + 1].endswith(f"/{job['completions']}")
    check_options(batch, words[3:])


def test_the_container_file_copies_what_is_there_and_starts_the_server() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and line[0] != "#"]
    known = {
        "FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "STOPSIGNAL",
        "HEALTHCHECK", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    assert {name for name, _ in lines} <= known
    for name, rest in lines:
        if name == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    last = {name: rest for name, rest in lines}
    assert json.loads(last["ENTRYPOINT"]) == ["soundleap"]
    command = json.loads(last["CMD"])
    check_options(serve, command[1:])
    assert last["EXPOSE"] == command[-1]
    pinned = re.search(r"torch==[\d.]+", text)
    assert pinned is not None
    assert pinned.group() in (ROOT / "constraints-cpu.txt").read_text()
