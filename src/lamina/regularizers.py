"""lamina.layers.regularizers by its short name, for `from lamina.regularizers import ...`."""

import sys

from lamina.layers import regularizers
from lamina.layers.regularizers import *  # noqa: F403

sys.modules[__name__] = regularizers
