"""How much of a trained defence is left under the cascade of the leaderboard?

snakemake results/table4.csv --cores all --resources gpu=1     # trains it, once
python examples/attack_with_evaluate.py results/digits/seed0
"""

import argparse

from purification import evaluate, load_classifier, load_defended, load_images


def main(run: str, classifier: str, defense: str, epsilon: float, n: int, budget: str) -> None:
    images, labels = load_images(run, n=n)
    models = {
        "no defense": load_classifier(run, classifier),
        defense: load_defended(run, defense, classifier),
    }
    for name, model in models.items():
        report = evaluate(model, images, labels, epsilon=epsilon, budget=budget)
        print(f"\n## {name}\n\n{report.markdown()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", default="results/digits/seed0")
    parser.add_argument("--classifier", default="A")
    parser.add_argument("--defense", default="defense_gan")
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("-n", type=int, default=100, help="images")
    parser.add_argument("--budget", default="quick", choices=["quick", "standard", "full"])
    main(**vars(parser.parse_args()))
