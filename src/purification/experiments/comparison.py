"""The papers' numbers beside ours on one page: which tables it is made from."""

from dataclasses import dataclass

from purification.experiments.catalogue import Catalogue
from purification.experiments.tables import paper_table


@dataclass(frozen=True)
class Comparison:
    """What the script is told: `tables` as [paper, printed name, file of the long table], with the
    digest of each."""

    tables: list[list[str]]
    digests: list[str]

    @property
    def files(self) -> list[str]:
        """The long tables."""
        return [file for _, _, file in self.tables]


def paper_comparison(catalogue: Catalogue) -> Comparison:
    """The comparison as the config asks for it."""
    wanted = catalogue.config["comparison"]["tables"]
    tables = [paper_table(catalogue, name) for name in wanted]
    return Comparison(
        [[table.paper, table.printed, table.long_path] for table in tables],
        [table.digest for table in tables],
    )
