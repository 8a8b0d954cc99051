"""Detection of attacks of rising strength: ROC, error rates over the threshold, accuracy."""

from pathlib import Path

from purification.provenance import start_job
from purification.reporting.csv_files import write_numbers
from purification.reporting.detection_curves import (
    detection_curves,
    detection_figure,
)
from purification.reporting.papers import paper_values
from purification.runtime import log_to

log_to(snakemake.log[0])
start_job(snakemake.params.recipe, snakemake.config["results"])
recipe, output = snakemake.params.recipe, snakemake.output
printed = recipe["paper_figure"]
folder = Path(snakemake.input.paper).parent
papers = paper_values("ae_gan", printed, folder) if printed else None
figure, table = detection_figure(recipe, papers)
write_numbers(table, Path(output.points))
detection_curves(figure, Path(output.png), Path(output.pdf))
