"""The HTTP server: a model behind `/predict`, requests gathered into batches, limits on all that comes in, and a page."""

from lamina.serve.application import app
from lamina.serve.limits import Limits

__all__ = ["Limits", "app"]
