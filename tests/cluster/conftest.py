from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from soundleap.cluster.ray_data import LOOPBACK_ONLY

NODE = {"num_cpus": 1, "object_store_memory": 200 * 1024 * 1024, "include_dashboard": False}


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes with a CPU each on this machine, and this process connected."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed; pip install 'soundleap[ray]'")
    os.environ.setdefault(*LOOPBACK_ONLY)
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(num_cpus=2, object_store_memory=200 * 1024 * 1024)
    cluster.wait_for_nodes(timeout=60)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
    yield ray
    ray.shutdown()
    cluster.shutdown()
