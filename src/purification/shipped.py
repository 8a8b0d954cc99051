"""Files of the repository that the library reads: the default config, its schema, the papers.

They stand at the top of the repository, where people edit them and the workflow reads them. A wheel
has copies of them inside the package (pyproject.toml); where the package is used from the
repository, as by an editable installation, they are read in place.
"""

from pathlib import Path

_COPIES = Path(__file__).with_name("_shipped")
ROOT = _COPIES if _COPIES.is_dir() else Path(__file__).parents[2]
"""Below it the files lie as in the repository: `config`, `resources/papers`, `workflow/schemas`."""
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
PAPERS = ROOT / "resources/papers"
