"""The comparison with the papers, made by its rule."""

from pathlib import Path

from conftest import Workflow, micro_catalogue, rows
from made_up_measurements import COWBOYS, TABLE4, write_long

from purification.experiments import paper_table


def test_the_page_is_made_from_the_long_tables(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["comparison"] = {"tables": ["table4", "cowboy_table1"]}
    results = workflow.folder / "results"
    made = {name: paper_table(micro_catalogue(), name).job for name in ("table4", "cowboy_table1")}
    write_long(TABLE4, "defense_gan", "Table 4", results / "table4.long.csv", made["table4"])
    cowboys = (COWBOYS, "cowboy", "Table 1", results / "cowboy/table1.long.csv")
    write_long(*cowboys, made["cowboy_table1"])
    # That rule alone: the tables stand for those of a finished run.
    options = ("--cores", "1", "--allowed-rules", "comparison")
    workflow.run("results/comparison.md", options=options)
    assert "| all | 7 | 4 | 6 | 1 | 3 | 0 | 1 |" in (results / "comparison.md").read_text()
    written = rows(results / "comparison.csv")
    assert [row["paper_value"] for row in written][:3] == ["0.9970", "0.2170", "0.9880"]
    assert [row["counted"] for row in written].count("False") == 1
    assert written[2]["paper_iterations_L"] == "200" and written[0]["paper_iterations_L"] == ""
