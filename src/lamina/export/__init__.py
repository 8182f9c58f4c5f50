"""From a trained network to files that run without this library, each checked to answer the same."""

from lamina.export.deployable import Answering, Deployable
from lamina.export.program import program

__all__ = ["Answering", "Deployable", "program"]
