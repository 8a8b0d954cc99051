"""Pages and tables of results as HTML."""

from pathlib import Path

import pytest

from purification.reporting.html import markdown_html, result_html
from purification.text_tables import write_page, write_rows


def test_what_pages_have_is_shown() -> None:
    text = """# Defense-GAN, Table 4

Attack `fgsm`: epsilon **0.1**.

| attack | adv_tr |
| --- | --- |
| fgsm |  |
| a < b | **0.9860**<br>n = 500 |

**Warnings:**

- one
- two,
  of two lines
"""
    assert markdown_html(text).split("\n", 4) == [
        "<h1>Defense-GAN, Table 4</h1>",
        "<p>Attack <code>fgsm</code>: epsilon <strong>0.1</strong>.</p>",
        "<table><thead><tr><th>attack</th><th>adv_tr</th></tr></thead><tbody><tr><td>fgsm</td>"
        "<td></td></tr><tr><td>a &lt; b</td><td><strong>0.9860</strong><br>n = 500</td></tr>"
        "</tbody></table>",
        "<p><strong>Warnings:</strong></p>",
        "<ul><li>one</li><li>two,\n  of two lines</li></ul>",
    ]


def test_files_of_results_are_shown_without_their_marks(tmp_path: Path) -> None:
    recipe = {"kind": "Table"}
    write_page(tmp_path / "t.md", "# A table", recipe)
    assert result_html(tmp_path / "t.md") == "<h1>A table</h1>"
    write_rows(tmp_path / "t.csv", [{"n": 5, "auc": 0.5}], recipe)
    assert result_html(tmp_path / "t.csv") == (
        "<table><thead><tr><th>n</th><th>auc</th></tr></thead><tbody><tr><td>5</td><td>0.5</td>"
        "</tr></tbody></table>"
    )
    page = tmp_path / "t.md"
    page.write_text(page.read_text().replace("A table", "Another"))
    with pytest.raises(ValueError, match=r"t.md: .*damaged"):
        result_html(page)
    with pytest.raises(ValueError, match=r"t.png: neither a page of Markdown nor a CSV"):
        result_html(tmp_path / "t.png")
