"""Trainings that diverge or learn nothing, in the workflow."""

from pathlib import Path

from conftest import Workflow


def test_a_diverged_classifier_fails_its_job_and_leaves_no_network(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["classifiers"]["D"]["learning_rate"] = 1.0e30
    network = "results/digits/seed0/classifiers/plain/D.safetensors"
    done = workflow.run(network, check=False)
    assert done.returncode
    assert f"{network}: training stopped at epoch 1, step " in done.stdout
    assert "smaller learning_rate (here 1e+30)" in done.stdout
    assert not list((workflow.folder / "results/digits/seed0").rglob("*.*"))


BLIND = """
from torch import nn

class Blind(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.linear = nn.Linear(1, classes)

    def forward(self, images):
        return self.linear(0 * images.flatten(1)[:, :1])
"""


def test_a_users_classifier_that_learns_nothing_warns_on_terminal_and_in_log(
    tmp_path: Path,
) -> None:
    workflow = Workflow(tmp_path / "workflow")
    (workflow.folder / "own.py").write_text(BLIND)
    workflow.config["classifiers"]["D"] |= {"architecture": "own:Blind"}
    network = "results/digits/seed0/classifiers/plain/D.safetensors"
    done = workflow.run(network)
    assert (workflow.folder / network).exists()
    log = workflow.folder / "logs/train_classifier/digits/seed0/plain/D.log"
    for text in (done.stdout, log.read_text()):
        assert text.count(f"warning: {network}: accuracy 0.") == 1
