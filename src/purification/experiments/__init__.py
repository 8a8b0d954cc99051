"""Which artifacts there are, where they lie, and what each is made from. Pure Python.

The Snakefile loads this room on every run: it imports neither torch nor pandas.
"""

from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.table4 import (
    examples,
    table4,
    table4_examples,
    table4_measurement,
    table4_notes,
)

__all__ = [
    "Catalogue",
    "ConfigError",
    "examples",
    "table4",
    "table4_examples",
    "table4_measurement",
    "table4_notes",
]
