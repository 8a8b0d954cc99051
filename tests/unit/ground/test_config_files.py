"""Config files that are broken or hide something, and what `--config` gives."""

from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from purification.config_files import ConfigFileError, read_files, typed_values

SHIPPED = sorted((REPOSITORY / "config").rglob("*.yaml"))
FINE = {
    "of JSON": ("a.json", b'{"seeds": [0], "table4": {"datasets": ["digits"]}}'),
    "with a byte-order mark": ("a.yaml", b"\xef\xbb\xbfseeds: [0]\n"),
    "with an anchor": ("a.yaml", b"a: &x {b: 1}\nc: {<<: *x, b: 2}\nd: *x\n"),
    "with equal keys in two mappings": ("a.yaml", b"a: {b: 1}\nc: {b: 1}\n"),
}
WRONG = {
    "a key twice": (b"a: 1\nb: 2\na: 3\n", [", line 3: 'a', which line 1 has already"]),
    "two keys twice, within others": (
        b"a: {b: 1, b: 2}\nc:\n  - {d: 1}\n  - {e: 1,\n     e: 1}\n",
        [", line 1: 'a.b', which line 1", ", line 5: 'c.1.e', which line 4 has already"],
    ),
    "a merge twice": (b"<<: {a: 1}\n<<: {b: 1}\n", [", line 2: '<<', which line 1"]),
    "quoted and not": (b"a: 1\n'a': 2\n", [", line 2: 'a', which line 1"]),
    "a key twice in JSON": (b'{"a": {"b": 1, "b": 2}}', [": 'b'"]),
    "an open list": (b"a: [1\nb: 2\n", [", line 2: no YAML: "]),
    "a tab": (b"a:\n\tb: 2\n", [", line 2: no YAML: ", "(indent with blanks, not tabs)"]),
    "an alias of nothing": (b"a: *x\n", [", line 1: no YAML: found undefined alias"]),
    "a month 13": (b"a: 2020-13-01\n", [": no YAML: month must be in 1..12"]),
    "two documents": (b"a: 1\n---\nb: 1\n", [", line 2: no YAML: "]),
    "Latin-1": (b"a: caf\xe9\n", ["no UTF-8 text", "save it as UTF-8"]),
    "nothing": (b"# seeds: [0]\n", ["the config file is empty"]),
    "a list": (b"- seeds\n", ["must have keys at its top level", "this is a list"]),
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_fine(path: Path) -> None:
    read_files([path])


@pytest.mark.parametrize("case", FINE)
def test_right_file(case: str, tmp_path: Path) -> None:
    name, content = FINE[case]
    (tmp_path / name).write_bytes(content)
    read_files([tmp_path / name])


@pytest.mark.parametrize("case", WRONG)
def test_wrong_file_is_named_with_its_line(case: str, tmp_path: Path) -> None:
    content, expected = WRONG[case]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigFileError) as refused:
        read_files([SHIPPED[0], path])
    assert str(path) in str(refused.value)
    for part in expected:
        assert part in str(refused.value)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    for path, complaint in ((tmp_path / "no.yaml", "no such config file"), (tmp_path, "cannot be")):
        with pytest.raises(ConfigFileError, match=f"{path}: .*{complaint}"):
            read_files([path])


def test_values_of_the_command_line_have_the_types_of_a_file() -> None:
    """Snakemake reads each with YAML's base loader, which leaves all words text."""
    for text in (
        "[0, 1]",
        "[0.5, -2, a, a.b:c]",
        "{attack: 5, purification: auto}",
        "{a: {b: [1.0e-4, {c: true}]}, svhn: null}",
    ):
        read = yaml.load(text, Loader=yaml.BaseLoader)
        assert typed_values({"key": read}) == {"key": yaml.safe_load(text)}
        # A job is given the texts as Python writes them.
        again = yaml.load(repr(read), Loader=yaml.BaseLoader)
        assert again == read
    # As Snakemake does with a single number, beyond what YAML takes for one.
    assert typed_values({"a": ["1e-4"], "b": "1"}) == {"a": [1e-4], "b": "1"}


def test_truth_values_after_config_are_written_as_in_a_file() -> None:
    """Snakemake reads True and False alone, and hands on the others as text."""
    given = {"pretrained": "false", "a": "true", "b": False, "data_root": "false/data", "c": "~"}
    typed = {"pretrained": False, "a": True, "b": False, "data_root": "false/data", "c": "~"}
    assert typed_values(given) == typed
