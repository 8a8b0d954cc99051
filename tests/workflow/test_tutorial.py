"""The tutorial's way, from a finished run to a defence of one's own on the leaderboard, and the
code blocks of README and tutorial."""

import re
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import REPOSITORY, Workflow, merged, rows, snakemake
from extend import tutorial_blocks, tutorial_files

OWN = {
    "cascades": {
        "standard": {
            **{"images": 4, "checks": False},
            "stages": [
                {"attack": "cascade_fgsm", "threat_model": "gray_box"},
                {"attack": "cascade_fgsm", "threat_model": "white_box"},
            ],
        }
    },
    "leaderboard": {"classifiers": ["D"], "paper_attacks": ["fgsm"]},
}


def test_a_reader_puts_a_defence_on_the_leaderboard(workflow: Workflow) -> None:
    files = tutorial_files()
    assert {*files} == {"my_defense.py", "mine.yaml"}
    for name, text in files.items():
        (workflow.folder / name).write_text(text)
    workflow.config = merged(merged(workflow.config, yaml.safe_load(files["mine.yaml"])), OWN)
    workflow.run("results/leaderboard.html")
    written = {row["defense"]: row for row in rows(workflow.folder / "results/leaderboard.csv")}
    assert written.keys() == {"none", "shrink", "magnet"}
    assert 0 <= float(written["shrink"]["accuracy"]) <= float(written["shrink"]["clean_accuracy"])
    assert "shrink" in (workflow.folder / "results/leaderboard.html").read_text()
    costs = workflow.folder / "results/digits/seed0/adaptive/standard/shrink/D.costs.csv"
    assert [row["attack"] for row in rows(costs)][1:] == ["cascade_fgsm", "cascade_fgsm"]
    # As the tutorial says: an edit of the setting, or of the file, concerns this defence alone.
    asked = {"attack_adaptively": 1, "attack_defense": 1, "leaderboard": 1, "measure_costs": 1}
    workflow.config["defenses"]["shrink"]["settings"]["block"] = 2
    jobs = workflow.stale("results/leaderboard.html")
    assert jobs.rules == asked
    assert "defenses.shrink.settings.block: 4 -> 2" in jobs.printed
    workflow.config["defenses"]["shrink"]["settings"]["block"] = 4
    (workflow.folder / "my_defense.py").write_text(files["my_defense.py"] + "# An edit.\n")
    assert workflow.stale("results/leaderboard.html").rules == asked
    workflow.config["defenses"]["shrink"]["settings"] = {"bloc": 4}
    refused = workflow.run("-n", "results/leaderboard.html", check=False)
    assert refused.returncode and "bloc" in refused.stdout and "block" in refused.stdout


def test_results_are_copied_touched_and_removed_as_the_page_says(workflow: Workflow) -> None:
    """docs/files.md."""
    text = (REPOSITORY / "docs/files.md").read_text()
    (touch,) = re.findall(r"^    snakemake (--touch .*)$", text, re.MULTILINE)
    own = ("--configfile", "config/test.yaml")
    workflow.run("results/table4.csv")
    (data, *_) = (workflow.folder / "results").rglob("dataset.h5")
    data.touch()
    words = touch.split()
    done = snakemake(workflow.folder, *own, *words, environment=workflow.environment, front=True)
    assert done.returncode == 0, done.stdout
    assert workflow.stale("results/table4.csv").rules == {}
    # Deleted attacked images are not missed while the tables are there.
    for path in (workflow.folder / "results/digits/seed0").rglob("attacked/**/*.h5"):
        path.unlink()
    assert workflow.stale("results/table4.csv").rules == {}
    assert "`snakemake --delete-all-output results/table4.csv`" in text
    words = ["-n", "--delete-all-output", "results/table4.csv"]
    done = snakemake(workflow.folder, *own, *words, environment=workflow.environment, front=True)
    assert done.returncode == 0 and "Would delete results/table4.csv" in done.stdout, done.stdout


def test_code_of_the_pages_runs_on_a_finished_run(finished: Workflow) -> None:
    """With the classifier and the number of images of the small run. It is the tutorial's, too."""
    codes = [c for c in tutorial_blocks("python", "README.md") if not c.startswith("# ")]
    assert len(codes) == 1
    code = codes[0].replace('"A")', '"D")').replace("n=100", "n=4")
    assert code.count('"D")') == 1 and code.count("n=4") == 1
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished.folder,
        env=finished.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| ", done.stdout, re.MULTILINE), done.stdout


def test_readme_and_tutorial_show_the_same_code(tmp_path: Path) -> None:
    (readme,) = tutorial_blocks("python", "README.md")
    assert readme in tutorial_blocks("python")
