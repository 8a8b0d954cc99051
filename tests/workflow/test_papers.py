"""The shared runs of the papers: complete, and stale where the recipes say so."""

from pathlib import Path

from conftest import Jobs, Workflow, merged, remade

from purification.experiments import defense_gan_page, defense_vae_page

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
        lambda catalogue: [*defense_gan_page(catalogue).shown, *defense_vae_page(catalogue).shown],
        papers.config,
        edit,
    )
    jobs = edited.stale(*TARGETS)
    assert found.paths == {path for made in jobs.outputs for path in made & found.paths}
    # What is put together of all of it.
    pages = {"results/defense_gan.md", "results/defense_vae.md", "results/detection.csv"}
    assert {path for made in jobs.without(found.paths) for path in made} == pages
    assert len(found.kinds) > 12 and "Autoencoder" not in found.kinds
