"""A wrong config ends a run of Snakemake at once."""

from typing import Any

import yaml
from conftest import Workflow


def test_snakemake_refuses_a_wrong_config(tmp_path: Any) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["attacks"]["fgsm"]["epsilonn"] = 0.1
    result = workflow.run("results/table4.csv", check=False)
    assert result.returncode != 0
    assert "attacks.fgsm: unknown key 'epsilonn' (did you mean 'epsilon'?)" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (workflow.folder / "results").exists()


def test_only_what_is_asked_for_must_be_right(tmp_path: Any) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["datasets"]["digits_black_box"]["test"] = 100
    workflow.config |= {"cowboy_figure3": {"attacks": ["spsa"]}, "figure6": 3}
    assert workflow.stale("results/table4.csv").rules["paper_table"] == 1
    dry = ("-n", "--cores", "1")
    refused = workflow.run("results/table1.csv", options=dry, check=False)
    assert refused.returncode and "Traceback" not in refused.stdout
    assert "table1.datasets: the black-box attacker has the first 150" in refused.stdout
    assert "table2" not in refused.stdout and "spsa" not in refused.stdout
    refused = workflow.run("cowboy", options=dry, check=False)
    assert refused.returncode and "Traceback" not in refused.stdout
    assert "cowboy_figure3.attacks: got 'spsa'" in refused.stdout


def test_two_overlays_and_the_command_line_change_one_list(tmp_path: Any) -> None:
    workflow = Workflow(tmp_path / "workflow")
    few = {"gray_box": 5, "white_box": 5, "white_box_bpda": 5}
    mine = {"method": "random_signs", "epsilon": 0.1, "images": few}
    a = {"attacks": {"mine": mine}, "table4": {"attacks+": ["mine"]}}
    (workflow.folder / "a.yaml").write_text(yaml.safe_dump(a))
    (workflow.folder / "b.yaml").write_text("table4: {attacks+: [half_masked]}\n")
    files = ("--configfile", "config/test.yaml", "a.yaml", "b.yaml")
    dry = ("-n", "--cores", "1", *files, "--config", "table4={attacks-: [cw]}")
    output = workflow.run("results/table4.csv", options=dry).stdout
    found = {a for a in ("fgsm", "cw", "mine", "half_masked") if f": {a} on classifier D" in output}
    assert found == {"fgsm", "mine", "half_masked"}
    wrong = ("-n", "--cores", "1", *files, "b.yaml")
    refused = workflow.run("results/table4.csv", options=wrong, check=False).stdout
    assert "b.yaml: table4.attacks+: 'half_masked' is in the list already" in refused
    assert "Traceback" not in refused
