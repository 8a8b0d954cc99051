"""Defense-GAN's Table 13: how long the latent search takes, over numbers of steps and restarts."""

from purification.experiments.artifacts import Table
from purification.experiments.catalogue import Catalogue


def timing_table(catalogue: Catalogue) -> Table:
    """The table as the config asks for it, of the first seed: times differ by no seed."""
    wanted, seed = catalogue.config["table13"], catalogue.config["seeds"][0]
    timings = [catalogue.timing(dataset, seed, wanted["defense"]) for dataset in wanted["datasets"]]
    papers, notes = catalogue.printed_numbers("defense_gan"), tuple(timing_notes(catalogue))
    return Table("table13", tuple(timings), notes=notes, papers=papers)


def timing_notes(catalogue: Catalogue) -> list[str]:
    """What a reader of the table must know of its settings, a paragraph each."""
    name = catalogue.config["table13"]["defense"]
    defense = catalogue.config["defenses"][name]
    network = catalogue.config["generators"][defense["generator"]]
    width = network.get("width", "its own")
    return [
        f"Search of `{name}`: step_size {defense['step_size']}, momentum {defense['momentum']}. "
        f"Generator `{defense['generator']}`: latent {network['latent']}, width {width}."
    ]
