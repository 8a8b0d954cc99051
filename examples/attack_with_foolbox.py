"""Attack a trained Defense-GAN with foolbox.

snakemake results/table4.csv --cores all --resources gpu=1     # trains it, once
pip install foolbox
python examples/attack_with_foolbox.py results/digits/seed0
"""

import argparse

import foolbox

from purification import load_classifier, load_defended, load_images

ATTACKS = {
    "FGSM": foolbox.attacks.LinfFastGradientAttack(),
    "PGD, 20 steps": foolbox.attacks.LinfPGD(steps=20, rel_stepsize=0.1, random_start=False),
}


def main(run: str, classifier: str, epsilon: float, n: int) -> None:
    images, labels = load_images(run, n=n)
    models = {
        "classifier alone": load_classifier(run, classifier),
        "behind Defense-GAN": load_defended(run, "defense_gan", classifier),
    }
    for name, model in models.items():
        # A torch classifier of images in [0, 1], as any other.
        shown = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        print(f"{name}: {foolbox.accuracy(shown, images, labels):.3f} without attack")
        for attack_name, attack in ATTACKS.items():
            _, _, success = attack(shown, images, labels, epsilons=epsilon)
            print(f"{name}: {1 - success.float().mean().item():.3f} under {attack_name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", default="results/digits/seed0")
    parser.add_argument("--classifier", default="A")
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("-n", type=int, default=50, help="images")
    main(**vars(parser.parse_args()))
