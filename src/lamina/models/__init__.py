"""What a person holds: Model, Sequential, the functional graph, its summary, and the one-file format."""

from lamina.models.model import Model, model_from_json
from lamina.models.sequential import Sequential

__all__ = ["Model", "Sequential", "model_from_json"]
