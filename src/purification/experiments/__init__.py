"""Which artifacts there are, where they lie, and what each is made from. Pure Python.

The Snakefile loads this room on every run: it imports neither torch nor pandas.
"""

from purification.experiments.accuracy_l2 import accuracy_l2
from purification.experiments.ae_gan import inference_rule, inference_rules, rule_table
from purification.experiments.artifacts import PICTURED, File, Made, all_made, told
from purification.experiments.catalogue import GENERATIVE_MODELS, Catalogue
from purification.experiments.comparison import paper_comparison
from purification.experiments.config import ConfigError
from purification.experiments.cowboy import (
    detection_runs,
    discriminator_scores,
    mcnemar_table,
    training_course,
)
from purification.experiments.detection import detection, detection_table, detections
from purification.experiments.direct import examples, table4_examples
from purification.experiments.figures import paper_figure
from purification.experiments.generator_quality import (
    generator_quality,
    quality_figure,
    quality_file,
    quality_table,
)
from purification.experiments.layers import DEFAULT_FILES, layered
from purification.experiments.leaderboard import (
    leaderboard,
    purification_costs,
    rows_and_cells,
)
from purification.experiments.modern import (
    cleaned_by_each,
    costs_figure,
    draws_figure,
    evaluations_figure,
    pictures_figure,
    time_table,
)
from purification.experiments.page import paper_page
from purification.experiments.papers import (
    ACCURACY_FORMS,
    PAPERS,
    STUDIES,
    TIME_FORMS,
    paper_name,
    studies_of,
    study_of,
)
from purification.experiments.results_page import Shown, known_results, paper_pages, results_page
from purification.experiments.tables import (
    MEASURED_FORMS,
    cost_figure,
    cost_measurements,
    measurement,
    paper_table,
    table_notes,
)
from purification.experiments.times import run_times, times_at, timing_notes
from purification.experiments.worst_case import worst_case

# The config and the papers; artifacts; tables; figures and pictures; what a paper has besides.
__all__ = [
    "DEFAULT_FILES",
    "PAPERS",
    "STUDIES",
    "ConfigError",
    "layered",
    "paper_name",
    "studies_of",
]
__all__ += ["study_of"]
__all__ += ["ACCURACY_FORMS", "GENERATIVE_MODELS", "MEASURED_FORMS", "PICTURED", "TIME_FORMS"]
__all__ += ["Catalogue", "File", "Made", "all_made", "told"]
__all__ += ["cost_measurements", "measurement", "paper_table", "quality_file", "quality_table"]
__all__ += ["paper_comparison", "run_times", "table_notes", "times_at", "timing_notes"]
__all__ += ["cost_figure", "examples", "paper_figure", "quality_figure", "table4_examples"]
__all__ += ["detection", "detection_runs", "detection_table", "detections", "discriminator_scores"]
__all__ += ["generator_quality", "inference_rule", "inference_rules", "mcnemar_table", "paper_page"]
__all__ += ["accuracy_l2", "leaderboard", "purification_costs", "rule_table", "training_course"]
__all__ += ["cleaned_by_each", "costs_figure", "draws_figure", "evaluations_figure"]
__all__ += ["pictures_figure", "rows_and_cells", "time_table"]
__all__ += ["Shown", "known_results", "paper_pages", "results_page", "worst_case"]
