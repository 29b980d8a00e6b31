"""Batches: their order and the position in it, and copies to a backend ahead of their use."""

from born.data.containers import Batch as Batch
from born.data.containers import TensorBatch as TensorBatch
from born.data.loader import DataLoader as DataLoader
from born.data.prefetch import prefetch as prefetch
