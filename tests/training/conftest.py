from __future__ import annotations

import pytest
from toy_runs import Toy, make_toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Corpus, codec, caches and teacher; don't change them."""
    return make_toy(tmp_path_factory.mktemp("toy"))
