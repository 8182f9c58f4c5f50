"""From a trained network to files that run without this library, each checked to answer the same."""

from lamina.export.deployable import Answering, Deployable
from lamina.export.exported import Exported
from lamina.export.program import program
from lamina.export.writing import write

__all__ = ["Answering", "Deployable", "Exported", "program", "write"]
