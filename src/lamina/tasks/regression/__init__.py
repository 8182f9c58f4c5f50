"""How much of something a picture shows: `Regressor`, its targets in the user's unit, and its results."""

from lamina.tasks.regression.model import Regressor

__all__ = ["Regressor"]
