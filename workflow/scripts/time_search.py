"""How long a defence's latent search takes, alone on the machine."""

from purification.evaluation.timing import timing_rows
from purification.provenance import start_job
from purification.runtime import start
from purification.text_tables import write_rows

device = start(snakemake.log[0], snakemake.threads, snakemake.resources.gpu)
start_job(snakemake.params.recipe, snakemake.config["results"])
rows = timing_rows(snakemake.params.recipe, snakemake.input, device)
write_rows(snakemake.output[0], rows, snakemake.params.recipe)
