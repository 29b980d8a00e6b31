"""Files that earlier versions of born wrote still load, to the bit, and so do today's later.

`version_*_*.safetensors` hold runs as `make_run` makes them with seed 7, after four steps.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]  # its os.PathLike has no parameter
)

from born import optim
from born.checkpoint.reading import open_file
from tests.checkpoint.runs import make_run

CONFIGS: dict[str, optim.Config] = {
    "sgd": optim.SGDConfig(lr=0.025, momentum=0.9, weight_decay=0.01),
    "adam": optim.AdamConfig(lr=0.025, betas=(0.8, 0.99)),
}
"""What each run was made with; four steps have set its learning rate."""


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_file_of_each_version_loads_to_the_bit(name: str, version: int, backend_name: str) -> None:
    path = Path(__file__).parent / f"version_{version}_{name}.safetensors"
    run = make_run(CONFIGS[name].replace(lr=1.0), backend_name)
    metadata = run.load(path)
    assert metadata == {"epoch": 4, "loss": [0.1 + 0.2]}
    saved = {key: array.tobytes() for key, array in load_file(path).items()}
    loaded = run.everything()
    assert loaded.pop("config") == CONFIGS[name]
    with open_file(path) as file:
        assert file.version == version
        assert loaded.pop("random") == file.document["random_state"]
    assert loaded == saved
    assert run.optimizer.timestep == 4
    run.step(4)
