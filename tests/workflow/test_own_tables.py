"""Tables of the user's own, made by the workflow beside the papers'."""

from conftest import Jobs, Workflow, rows

HERE = {"datasets": ["digits"], "classifiers": ["D"], "attacks": ["fgsm"]}
MINE = {"form": "direct", **HERE, "defenses": ["magnet", "defense_gan"]}
TIMES = {"form": "search_times", "datasets": ["digits"], "defense": "defense_gan", "steps": [2]}
TIMES |= {"restarts": [1], "repeats": 1, "largest_batch": 4}


def test_a_table_of_ones_own_is_made_beside_the_papers(workflow: Workflow) -> None:
    """With the images that the papers' tables have made; and one of times beside Table 13's."""
    workflow.config["tables"] = {"mine": MINE, "mine_times": TIMES}
    targets = ("results/mine.csv", "results/mine_times.md")
    expected = {"measure": 2, "paper_table": 1, "time_search": 1, "time_table": 1}
    assert workflow.stale(*targets).rules == expected
    workflow.run(*targets)
    results = workflow.folder / "results"
    (row,) = rows(results / "mine.csv")
    (printed,) = (r for r in rows(results / "table4.csv") if r["attack"] == "fgsm")
    for column in ("no_defense", "magnet", "magnet_gray_box", "defense_gan_rec_bpda"):
        assert row[column] == printed[column] != ""
    assert "adv_tr" in printed and "adv_tr" not in row
    assert (results / "digits/seed0/timings/mine_times/defense_gan.csv").is_file()
    for name in ("mine", "mine_times"):
        page = (results / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n")
        for text in (
            page,
            *((results / f"{name}{end}").read_text() for end in (".csv", ".long.csv")),
        ):
            assert "paper" not in text
    assert workflow.stale(*targets, "results/table4.csv") == Jobs({}, set())
    workflow.config["tables"]["mine"]["defenses"] = ["magnet"]
    assert workflow.stale(*targets).rules == {"measure": 2, "paper_table": 1}
    # The papers' are none of its business.
    workflow.config["table13"]["repeats"] = 3
    assert "time_search" not in workflow.stale(*targets).rules
