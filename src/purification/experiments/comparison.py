"""The papers' numbers beside ours on one page: which tables it is made from."""

from purification.experiments.artifacts import Recipe, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.tables import paper_table


def paper_comparison(catalogue: Catalogue) -> Recipe:
    """The comparison as the config asks for it: `tables` as [paper, printed name, file of the long
    table], with the digest of each."""
    wanted = catalogue.config["comparison"]["tables"]
    tables = [paper_table(catalogue, name) for name in wanted]
    return told(
        {
            "tables": [[table.paper, table.printed, table.long] for table in tables],
            "digests": [table.digest for table in tables],
        }
    )
