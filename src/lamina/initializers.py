"""lamina.layers.initializers by its short name, for `from lamina.initializers import ...`."""

import sys

from lamina.layers import initializers
from lamina.layers.initializers import *  # noqa: F403

sys.modules[__name__] = initializers
