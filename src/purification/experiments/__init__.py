"""Which artifacts there are, where they lie, and what each is made from. Pure Python.

The Snakefile loads this room on every run: it imports neither torch nor pandas.
"""

from purification.experiments.artifacts import table_place
from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.cowboy import (
    comparisons,
    cowboy_figure,
    detection_runs,
    discriminator_scores,
    training_course,
)
from purification.experiments.defense_vae import run_time_table, run_times, vae_figure
from purification.experiments.detection import detection, detections
from purification.experiments.figures import FIGURES, paper_figure
from purification.experiments.page import (
    COWBOY_TABLE_CAPTIONS,
    TABLE_CAPTIONS,
    VAE_TABLE_CAPTIONS,
    cowboy_page,
    defense_gan_page,
    defense_vae_page,
)
from purification.experiments.table4 import examples, table4_examples
from purification.experiments.table13 import timing_notes, timing_table
from purification.experiments.tables import PAPER_TABLES, measurement, paper_table, table_notes

__all__ = [
    "COWBOY_TABLE_CAPTIONS",
    "FIGURES",
    "PAPER_TABLES",
    "TABLE_CAPTIONS",
    "VAE_TABLE_CAPTIONS",
    "Catalogue",
    "ConfigError",
    "comparisons",
    "cowboy_figure",
    "cowboy_page",
    "defense_gan_page",
    "defense_vae_page",
    "detection",
    "detection_runs",
    "detections",
    "discriminator_scores",
    "examples",
    "measurement",
    "paper_figure",
    "paper_table",
    "run_time_table",
    "run_times",
    "table4_examples",
    "table_notes",
    "table_place",
    "timing_notes",
    "timing_table",
    "training_course",
    "vae_figure",
]
