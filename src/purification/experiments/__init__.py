"""Which artifacts there are, where they lie, and what each is made from. Pure Python.

The Snakefile loads this room on every run: it imports neither torch nor pandas.
"""

from purification.experiments.ae_gan import (
    ae_gan_figure,
    inference_rule,
    inference_rules,
    rule_table,
)
from purification.experiments.artifacts import PICTURED, File, Made, all_made, table_place, told
from purification.experiments.catalogue import GENERATIVE_MODELS, Catalogue
from purification.experiments.comparison import paper_comparison
from purification.experiments.config import PAPER_TABLES, ConfigError
from purification.experiments.cowboy import (
    comparisons,
    cowboy_figure,
    detection_runs,
    discriminator_scores,
    training_course,
)
from purification.experiments.defense_vae import run_time_table, run_times, vae_figure
from purification.experiments.detection import detection, detection_table, detections
from purification.experiments.figures import FIGURES, paper_figure
from purification.experiments.generator_quality import (
    generator_quality,
    quality_figure,
    quality_file,
    quality_table,
)
from purification.experiments.page import (
    AE_GAN_TABLE_CAPTIONS,
    COWBOY_TABLE_CAPTIONS,
    TABLE_CAPTIONS,
    VAE_TABLE_CAPTIONS,
    ae_gan_page,
    cowboy_page,
    defense_gan_page,
    defense_vae_page,
)
from purification.experiments.table4 import examples, table4_examples
from purification.experiments.table13 import timing_notes, timing_table
from purification.experiments.tables import (
    cost_figure,
    cost_measurements,
    measurement,
    paper_table,
    table_notes,
)
from purification.experiments.worst_case import worst_case

__all__ = [
    "AE_GAN_TABLE_CAPTIONS",
    "COWBOY_TABLE_CAPTIONS",
    "FIGURES",
    "GENERATIVE_MODELS",
    "PAPER_TABLES",
    "PICTURED",
    "TABLE_CAPTIONS",
    "VAE_TABLE_CAPTIONS",
    "Catalogue",
    "ConfigError",
    "File",
    "Made",
    "ae_gan_figure",
    "ae_gan_page",
    "all_made",
    "comparisons",
    "cost_figure",
    "cost_measurements",
    "cowboy_figure",
    "cowboy_page",
    "defense_gan_page",
    "defense_vae_page",
    "detection",
    "detection_runs",
    "detection_table",
    "detections",
    "discriminator_scores",
    "examples",
    "generator_quality",
    "inference_rule",
    "inference_rules",
    "measurement",
    "paper_comparison",
    "paper_figure",
    "paper_table",
    "quality_figure",
    "quality_file",
    "quality_table",
    "rule_table",
    "run_time_table",
    "run_times",
    "table4_examples",
    "table_notes",
    "table_place",
    "timing_notes",
    "timing_table",
    "told",
    "training_course",
    "vae_figure",
    "worst_case",
]
