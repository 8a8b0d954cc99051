"""What Snakemake does not see: it compares a rule's params as a set of printed plain values,
without their names (snakemake.persistence, `_params`)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import DEFAULT, REPOSITORY, SCHEMA, Workflow

from purification.experiments import Catalogue
from purification.experiments.artifacts import Recipe

TARGETS = (
    *("all", "defense_gan", "defense_vae", "ae_gan", "cowboy", "results/comparison.md"),
    *(
        "results/worst_case.md",
        "results/leaderboard.md",
        "modern",
        "results/modern_time.md",
        "results/figures/accuracy_l2.png",
        "results/generator_quality.md",
        "results/figures/cost_accuracy.png",
    ),
    "results/figures/generator_quality.png",
    "results/index.html",
    "results/digits/seed0/adaptive/standard/magnet/A.h5",
    "results/digits/seed0/adaptive_fixed/standard/defense_gan_redrawn/A.h5",
    "results/digits/seed0/classifiers/plain/own.safetensors",
    "results/digits/seed0/generators/own.safetensors",
    "results/digits/seed0/diffusions/diffusion.safetensors",
    "results/digits/seed1/gans/dcgan.safetensors",
)
# Networks that were trained elsewhere, of which the default config has none.
OWN = """
classifiers: {own: {architecture: D, checkpoint: own.pt}}
generators: {own: {latent: 8, width: 4, checkpoint: own.pt}}
"""
# A dry run that leaves of each rule what is wrong with the params of its jobs.
DRY_RUN = """
import json, sys
sys.path.insert(0, sys.argv.pop(1))
place = sys.argv.pop(1)
from snakemake.cli import main
from snakemake.dag import DAG
from test_params import complaints
after = DAG.postprocess
async def postprocess(dag, *words, **named):
    await after(dag, *words, **named)
    found = {rule.name: [] for rule in dag.workflow.rules if not rule.norun}
    seen = set()
    for job in dag.jobs:
        if job.rule.name in found:
            seen.add(job.rule.name)
            found[job.rule.name] += complaints(dict(job.params._allitems()))
    found |= {name: ["in no job"] for name in found if name not in seen}
    json.dump(found, open(place, "w"))
DAG.postprocess = postprocess
sys.exit(main())
"""


def complaints(params: dict[str, Any]) -> list[str]:
    """What is wrong with the params of a job."""
    wrong = [] if params else ["no params"]
    for name, value in params.items():
        wrong += [f"{name}: a {kind} is not compared" for kind in strange(value)]
        # A swapped line of the config would make it stale: `told` prints a digest.
        wrong += [f"{name}: printed in the order of its keys"] * (type(value) is dict)
    sorts = [sort(value) for value in params.values()]
    wrong += [f"two params like {one} could swap" for one in {*sorts} if sorts.count(one) > 1]
    return wrong


def strange(value: Any) -> Iterator[str]:
    """The types in a value that do not print as plain ones do."""
    if isinstance(value, dict):
        kinds = (dict, Recipe)
        value = [
            *value,
            *value.values(),
            *(value.sources.values() if type(value) is Recipe else ()),
        ]
    else:
        kinds = (list, tuple)
    if isinstance(value, list | tuple):
        for part in value:
            yield from strange(part)
    elif type(value) not in (str, int, float, bool, type(None), *kinds):
        yield type(value).__name__


def sort(value: Any) -> str:
    """What a value is never mistaken for another of: the kind of a recipe, a path, a text, ..."""
    if isinstance(value, dict):
        return str(value.get("kind", "what is told"))
    return "path" if isinstance(value, str) and "/" in value else type(value).__name__


def test_no_rule_has_params_that_snakemake_cannot_tell_apart(tmp_path: Path) -> None:
    workflow, found = Workflow(tmp_path / "workflow"), tmp_path / "found.json"
    (workflow.folder / "own.pt").touch()
    (workflow.folder / "own.yaml").write_text(OWN)
    # A GAN that was trained before, of seed 0.
    gan = Catalogue(DEFAULT, SCHEMA).generator("digits", 0, "dcgan")
    index = workflow.folder / "resources/networks/digits/index.csv"
    index.parent.mkdir(parents=True)
    files = (f"seed0/gans/dcgan{end}" for end in (".safetensors", ".history.csv"))
    lines = [f"{file},{gan.digest},1,{'0' * 64}," for file in files]
    index.write_text("\n".join(["file,recipe,bytes,sha256,config", *lines, ""]))
    command = [sys.executable, "-c", DRY_RUN, str(Path(__file__).parent), str(found)]
    result = subprocess.run(
        [*command, "-n", "-q", "--cores", "2", "--configfile", "own.yaml", "--", *TARGETS],
        cwd=workflow.folder,
        env=workflow.environment | {"PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}/tests"},
        capture_output=True,
        text=True,
    )
    assert found.exists(), result.stdout + result.stderr
    rules = json.loads(found.read_text())
    assert len(rules) > 50
    assert {name: sorted({*wrong}) for name, wrong in rules.items() if wrong} == {}


def test_the_complaints() -> None:
    import numpy as np

    recipe = Recipe({"kind": "Table", "name": "table4"})
    assert complaints({"recipe": recipe, "printed": "Table 4", "state": "results/x"}) == []
    assert complaints({}) == ["no params"]
    for value in (Path("x"), np.float64(1), np.zeros(2), {"a": [np.int64(1)]}, Recipe({"a": {1}})):
        assert "is not compared" in str(complaints({"recipe": value}))
    for one, other in (("a", "b"), (1, 2), (recipe, Recipe({"kind": "Table"})), ("a/b", "/c")):
        assert "could swap" in str(complaints({"one": one, "other": other}))
