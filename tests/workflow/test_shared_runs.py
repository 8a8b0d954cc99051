"""The shared runs of the papers: complete, and stale where the recipes say so."""

from pathlib import Path

from conftest import Jobs, Workflow, merged, remade

from purification.experiments import paper_page

TARGETS = ("defense_gan", "defense_vae")


def test_a_finished_run_has_nothing_to_do(papers: Workflow) -> None:
    assert papers.stale(*TARGETS) == Jobs({}, set())


def test_a_dry_run_finds_stale_what_the_recipes_say(papers: Workflow, tmp_path: Path) -> None:
    edit = {
        "defenses": {"defense_gan": {"steps": 5}, "defense_vae_e2e": {"classifier_weight": 3.0}},
        "substitute": {"step": 0.05},
        "table8": {"steps": [1, 6, 12]},
        "copies": {"cw": {"learning_rate": [6.0]}},
        "figure8": {"steps": [2, 3, 4]},
    }
    edited = papers.copy(tmp_path / "workflow")
    edited.config = merged(edited.config, edit)
    found = remade(
        lambda catalogue: [
            *paper_page(catalogue, "defense_gan").shown,
            *paper_page(catalogue, "defense_vae").shown,
        ],
        papers.config,
        edit,
    )
    pending = edited.pending(*TARGETS)
    assert found.paths <= pending
    # What stands beside these files, by other endings, and what is put together of all of it.
    pages = {"results/defense_gan", "results/defense_vae", "results/detection"}
    assert stems(pending) == stems(found.paths) | pages
    assert len(found.kinds) > 12
    run = "results/digits_black_box/seed0"
    for kept in ("generators/wgan_gp.safetensors", "classifiers/plain/D.safetensors"):
        assert (edited.folder / run / kept).exists() and f"{run}/{kept}" not in pending


def stems(paths: set[str]) -> set[str]:
    return {path.split(".")[0] for path in paths}
