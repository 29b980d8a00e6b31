"""Saving a training run and resuming it, through one safe file.

>>> import tempfile, born
>>> from born import checkpoint, nn
>>> model = nn.Linear(2, 1, born.get_backend("numpy"))
>>> with tempfile.TemporaryDirectory() as folder:
...     checkpoint.save(f"{folder}/model.safetensors", model=model)
...     checkpoint.load(f"{folder}/model.safetensors", model=model)
{}
"""

from born.checkpoint.exchange import Imported as Imported
from born.checkpoint.exchange import from_torch as from_torch
from born.checkpoint.exchange import to_torch as to_torch
from born.checkpoint.loading import PartialLoad as PartialLoad
from born.checkpoint.loading import load as load
from born.checkpoint.loading import load_weights as load_weights
from born.checkpoint.loading import verify as verify
from born.checkpoint.saving import save as save
from born.checkpoint.store import CheckpointWarning as CheckpointWarning
from born.checkpoint.store import Store as Store
