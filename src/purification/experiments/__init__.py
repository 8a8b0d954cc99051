"""Which artifacts there are, where they lie, and what each is made from. Pure Python.

The Snakefile loads this room on every run: it imports neither torch nor pandas.
"""

from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.table4 import examples, table4_examples
from purification.experiments.table13 import timing_notes, timing_table
from purification.experiments.tables import measurement, paper_table, table_notes

__all__ = [
    "Catalogue",
    "ConfigError",
    "examples",
    "measurement",
    "paper_table",
    "table4_examples",
    "table_notes",
    "timing_notes",
    "timing_table",
]
