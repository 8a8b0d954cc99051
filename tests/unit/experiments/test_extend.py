"""What docs/extend.md shows, as far as the config and its recipes go."""

from pathlib import Path

import pytest
from conftest import digests, merged, micro_catalogue
from extend import blocks, example

from purification.experiments import paper_table

OWN = {"attack": "gradient_step", "data set": "bars", "classifier": "two_layers"}


@pytest.mark.parametrize("what", OWN)
def test_an_example_is_one_short_file_and_decides_what_it_makes(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    article = "An" if what == "attack" else "A"
    config = example(f"{article} {what} of your own", tmp_path)
    if what == "attack":
        few = dict.fromkeys(("gray_box", "white_box", "white_box_bpda"), 8)
        config["attacks"]["gradient_step"]["images"] = few
    (code,) = blocks(f"{article} {what} of your own", "python")
    assert what != "attack" or len([line for line in code.splitlines()[1:] if line]) <= 15
    (file,) = tmp_path.iterdir()

    def made(**changes: object) -> dict[str, str]:
        return digests(paper_table(micro_catalogue(**merged(config, changes)), "table4"))

    before = made()
    own = {path for path in before if OWN[what] in path and path.endswith((".h5", "tensors"))}
    assert own
    file.write_text(code + "# An edit.\n")
    after = made()
    assert {path for path in before if before[path] != after[path]} >= own
    if what == "attack":
        others = {path for path in before if "classifiers/" in path or "dataset" in path}
        assert others and all(before[path] == after[path] for path in others)
        file.write_text(code)
        stronger = made(attacks={"gradient_step": {"settings": {"epsilon": 2.0}}})
        changed = {path for path in before if before[path] != stronger[path]}
        assert {path for path in changed if path.endswith(".h5")} == own
