"""The target `defense_gan` in miniature: its files, and what an edit of its sections makes stale."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import Jobs, Workflow

from purification.models.checkpoints import load_network
from purification.purifiers import reconstruction_error
from purification.purifiers.loading import load_purifier
from purification.storage import ImageSet, read_field, read_image_set, read_split

TARGET = "defense_gan"
DATA = "digits_black_box"
RUN = f"results/{DATA}/seed0"
STEPS, RESTARTS = [1, 12], [1, 3]
CLEAN = {(1, 2), (12, 2), (3, 2), (2, 1), (2, 3)}
"""Tables 8, 3 and 10; Tables 9 and 11 and Figures 4 and 5 want the same."""
WANTED = {
    "clean/test": CLEAN,
    "clean/validation": CLEAN,
    # Figure 6's too.
    "black_box/plain/D/E/fgsm": CLEAN | {(1, 1), (12, 1), (2, 2)},
    "black_box/plain/D/E/fgsm@0.2": {(3, 2)},
}
"""The (L, R) in each file of a sweep."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """All of the micro config's Defense-GAN on one data set, so that it shares what it can."""
    workflow = Workflow(tmp_path_factory.mktemp(TARGET) / "workflow")
    config, here = workflow.config, {"datasets": [DATA]}
    for table in ("table1", "table2"):
        config[table] |= {"defenses": ["defense_gan"]}
    config["table4"] = here | {"classifiers": ["D"], "attacks": ["fgsm"]}
    config["table4"] |= {"defenses": ["defense_gan"]}
    config["table12"] = config["table4"]
    config["sweep"] |= {"validation_images": 60}
    for table in ("table8", "table9"):
        config[table] |= {"steps": STEPS}
    config["figure6"]["over_steps"] |= {"steps": STEPS}
    config["figure8"] |= here
    config["table13"] |= here | {"steps": [2], "restarts": [1]}
    workflow.run(TARGET)
    return workflow


@pytest.fixture
def edited(paper: Workflow, tmp_path: Path) -> Workflow:
    """That run, to edit."""
    return paper.copy(tmp_path / "workflow")
