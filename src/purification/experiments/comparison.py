"""The papers' numbers beside ours on one page: which tables it is made from."""

from purification.experiments.artifacts import Made, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.tables import paper_table


def paper_comparison(catalogue: Catalogue) -> Made:
    """The comparison as the config asks for it. Its job is told the `tables` as [paper, printed
    name, file of the long table], with the digest of each."""
    wanted = catalogue.study("comparison").settings["tables"]
    tables = [paper_table(catalogue, name) for name in wanted]
    content = {
        "tables": [[t.study.paper, t.study.printed, t.long] for t in tables],
        "digests": [table.digest for table in tables],
    }
    return Made("results/comparison.md", told(content))
