"""The Defense-GAN paper on one page: all tables and figures, our numbers beside the printed ones."""

from pathlib import Path

from purification.reporting.detection import read_detection
from purification.reporting.page import PageTable, detection_summary, paper_page
from purification.reporting.tables import read_long_table
from purification.reporting.timing import read_timings, timing_grids
from purification.runtime import log_to
from purification.storage import atomic

log_to(snakemake.log[0])
page, results = snakemake.params.page, Path(snakemake.output[0]).parent
tables = [
    PageTable(name, caption, read_long_table(Path(path.replace(".csv", ".long.csv"))), swept, file)
    for name, caption, swept, path in page["tables"]
    for file in [str(Path(path).with_suffix(".md").relative_to(results))]
]
figures = [
    (name, caption, str(Path(path).relative_to(results))) for name, caption, path in page["figures"]
]
further = [
    (
        "Table 13: time of a reconstruction",
        timing_grids(read_timings(Path(snakemake.input.timing))),
    ),
    ("Detection", detection_summary(read_detection(Path(snakemake.input.detection)))),
]
title = "Defense-GAN, reproduced"
with atomic(snakemake.output[0]) as temporary:
    temporary.write_text(paper_page(title, page["notes"], tables, figures, further))
