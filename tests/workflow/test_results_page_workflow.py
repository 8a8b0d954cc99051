"""`results/index.html`: made from what lies there, and never from what the config does not ask for;
and what a run says at its end."""

import re

from conftest import Jobs, Workflow, rows

PAGE = "results/index.html"


def shown(workflow: Workflow, page: str = PAGE) -> dict[str, str]:
    """The recipes on the page, by the files of the results."""
    text = (workflow.folder / page).read_text().replace("<wbr>", "")
    found = re.findall(
        r'<th scope="row"><code>(\S+)</code></th>\n<td.*?<span>([0-9a-f]{16})<', text
    )
    return dict(found)


def test_it_shows_what_lies_there_and_makes_nothing_else(workflow: Workflow) -> None:
    assert workflow.stale(PAGE) == Jobs(
        {"results_page": 1}, {"All results that lie there, on one page"}
    )
    done = workflow.run(PAGE)
    assert set(shown(workflow)) == {
        "results/table4.csv",
        "results/digits/seed0/figures/examples/D/fgsm.png",
        "results/digits/seed0/generators/wgan_gp.samples.png",
        "results/digits/seed0/generators/wgan_gp.curve.png",
    }
    text = (workflow.folder / PAGE).read_text()
    clean = rows(workflow.folder / "results/table4.csv")[0]["no_attack"]
    assert f'data-value="{float(clean):g}"' in text and ", n = 40<" in text
    assert "Not shown" not in text and "classifiers.D.epochs" in text.replace("<wbr>", "")
    assert re.search(r"\d+ jobs that made what stands here", text)
    assert workflow.stale(PAGE) == Jobs({}, set())
    assert f"Made:\n    {PAGE}\nOpen in a browser: {PAGE}" in done.stdout
    # As in a copy, where time stamps say nothing: to remake a table would delete it first.
    (workflow.folder / PAGE).unlink()
    for path in (workflow.folder / "results").rglob("dataset.h5"):
        path.touch()
    for path in (workflow.folder / "results/digits").rglob("*.long.csv"):
        path.touch()
    assert workflow.stale(PAGE).rules == {"results_page": 1}


def test_what_is_not_what_the_config_asks_for_is_named_and_not_shown(workflow: Workflow) -> None:
    workflow.run(PAGE)
    workflow.config["attacks"]["fgsm"]["epsilon"] = 0.15
    # Nothing but the page: no attack, no table.
    assert workflow.stale(PAGE).rules == {"results_page": 1}
    workflow.run(PAGE)
    assert not any("table4" in path or "examples" in path for path in shown(workflow))
    text = (workflow.folder / PAGE).read_text()
    assert "Not shown" in text and "<code>results/table4.csv</code>: " in text
    assert "0.1 in the file, 0.15 asked" in text or "made with other settings" in text
    # What the same command makes is waited for.
    jobs = workflow.stale("results/table4.csv", PAGE).rules
    assert jobs["paper_table"] == jobs["results_page"] == 1 and jobs["attack_defense"] == 2


def test_a_run_ends_with_what_it_made_and_what_it_found(workflow: Workflow) -> None:
    (workflow.folder / "results/table4.md").unlink()
    # A set that is gone is not made again to be compared.
    (workflow.folder / "results/digits/seed0/attacked/magnet/D/cw.h5").unlink()
    said = workflow.run("results/table4.csv").stdout
    assert "1 of 1 steps" in said
    page = (workflow.folder / "results/table4.md").read_text()
    assert "Numbers compared with none, because their images are gone: 2." in page
    made = said[said.index("Made:") :].splitlines()
    assert made[1:4] == [f"    results/table4{end}" for end in (".md", ".csv", ".long.csv")]
    assert re.match(r"digits, fgsm 0\.1, classifier D: 0\.\d\d \[.*\] without defense; ", made[4])
    assert made[5] == f"All results on one page: snakemake {PAGE}"
    assert "gpu: auto found " in said


def test_in_another_folder(workflow: Workflow) -> None:
    """With the results, as a folder may be renamed along with its key."""
    (workflow.folder / "runs").mkdir()
    (workflow.folder / "results").rename(workflow.folder / "runs/small")
    workflow.config["results"] = "runs/small"
    page = "runs/small/index.html"
    workflow.run(page)
    assert "runs/small/table4.csv" in shown(workflow, page)
    text = (workflow.folder / page).read_text()
    assert 'href="table4.csv"' in text and "results/table4.csv" not in text


def test_all_of_two_papers_is_current_on_it(both_papers: Workflow, tmp_path: object) -> None:
    workflow = both_papers.copy(tmp_path / "workflow")
    workflow.run(PAGE)
    text = (workflow.folder / PAGE).read_text()
    assert "Not shown" not in text
    found = shown(workflow)
    for path in ("ae_gan/table1.csv", "cowboy/figure2.png", "cowboy/mcnemar.csv"):
        assert f"results/{path}" in found
    assert workflow.stale(PAGE) == Jobs({}, set())
