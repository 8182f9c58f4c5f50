"""From files and arrays to uint8 batches: named data sets, readers of formats, preprocessing, augmentation, the loader.

`load(name)` and `open(path)` give `Splits`, with data sets `train`, `test` and `validation`.
"""

from lamina.data.annotated import AnnotatedDataset
from lamina.data.checking import check
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.datasets import load, names
from lamina.data.facts import info
from lamina.data.formats import open_path as open
from lamina.data.formats.table import open_table
from lamina.data.loader import ArrayBatches, Augment
from lamina.data.looking import show
from lamina.data.preprocess import Normalize, Preprocess
from lamina.data.shards import write_shards
from lamina.data.splits import Splits
from lamina.data.streaming import StreamBatches, stream
from lamina.data.workers import WorkerBatches

__all__ = [
    "AnnotatedDataset",
    "ArrayBatches",
    "Augment",
    "FolderDataset",
    "ImageDataset",
    "Normalize",
    "Preprocess",
    "Splits",
    "StreamBatches",
    "WorkerBatches",
    "check",
    "info",
    "load",
    "names",
    "open",
    "open_table",
    "show",
    "stream",
    "write_shards",
]
