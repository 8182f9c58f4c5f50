"""lamina.training.tuner by its short name, for `from lamina.tuner import ...`."""

import sys

from lamina.training import tuner
from lamina.training.tuner import *  # noqa: F403

sys.modules[__name__] = tuner
