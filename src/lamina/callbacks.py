"""lamina.training.callbacks by its short name, for `from lamina.callbacks import ...`."""

import sys

from lamina.training import callbacks
from lamina.training.callbacks import *  # noqa: F403

sys.modules[__name__] = callbacks
