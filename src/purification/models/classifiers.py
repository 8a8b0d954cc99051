"""The classifiers A to F of Defense-GAN (Samangouei et al. 2018, appendix C, Table 5).

Defense-VAE (Li and Ji 2019, appendix A) prints three of them otherwise, AE-GAN+rs (2020, appendix
B) one; the differing ones have names of their own. Cowboy (Santhanam and Grnarova 2018, section 4)
has "a simple CNN".
"""

from collections.abc import Mapping

import torch
from torch import nn

from purification.guests import GuestClassifier
from purification.models.initialisation import xavier
from purification.models.wgan import MNIST, Shape
from purification.plugins import files_for, import_named

ARCHITECTURES = (
    *("A", "B", "C", "D", "E", "F", "C_published", "D_published"),
    *("B_vae", "D_vae", "B_ae_gan", "simple_cnn"),
)
DROPOUT_MEANINGS = ("paper", "keep_probability")
READ_OTHERWISE = ("A", "B", "C", "C_published", "B_vae", "D_vae")
"""Those with a printed rate other than a half, which is another network as a keep probability."""


def build_classifier(
    architecture: str,
    *,
    input_shape: Shape = MNIST,
    classes: int = 10,
    dropout: str = "paper",
    files: Mapping[str, str] | None = None,
) -> nn.Module:
    """Builds one classifier of Table 5, or a user's own.

    The table prints no paddings. As in the published code, the first convolution keeps its size
    (TensorFlow's SAME) and the others are unpadded (VALID), so that B runs 28 -> 14 -> 5 -> 1.
    The weights start as in that code: Gaussian, each unit's incoming weights scaled to unit l2
    norm, biases zero. They are drawn from the global RNG: build inside
    `purification.randomness.isolated_rng` to get the same weights for the same seed.

    Args:
        architecture: "A" to "F"; "C_published" (the published code's 5x5 second kernel where the
            table prints 3x3); "D_published" (its one dropout where the table prints two); "B_vae"
            (Defense-VAE's padding of 5 in the first convolution, so that 28 -> 16 -> 6 -> 2) and
            "D_vae" (its second dropout of .25), beside which its A and E are ours and its C is
            "C_published"; "B_ae_gan" (AE-GAN+rs's B, without the input dropout), beside which its A
            is ours and its C is "D"; "simple_cnn" (Cowboy's, see `_simple_cnn`); or
            "package.module:Name", which is imported and called as `Name(input_shape, classes)`, and
            stands behind a wall (`guests.GuestClassifier`).
        input_shape: (channels, height, width) of one image.
        dropout: what a printed rate p means. "paper": a unit is dropped with probability p;
            "keep_probability": it is *kept* with probability p, which is what the published code
            does (it hands p to TensorFlow 1's `tf.nn.dropout(x, keep_prob)`). E and F have none,
            "simple_cnn" has one of a half, and a user's own classifier is not told.
        files: of a user's own alone, the SHA-256 of each file that it reads, by name: it is called
            with their paths as `files` too (`plugins.files_for`).

    Returns a module from images (N, C, H, W) in [0, 1] to logits (N, classes).

    Raises:
        ValueError: unknown architecture or dropout meaning, images too small for the kernels, or
            a user's module or name that cannot be imported, or its files not found.
        GuestError: a user's own is no classifier, or returns something else than logits.
    """
    if dropout not in DROPOUT_MEANINGS:
        raise ValueError(f"dropout {dropout!r}: expected one of {', '.join(DROPOUT_MEANINGS)}")
    if ":" in architecture:
        make = import_named(architecture)
        own = make(input_shape, classes, **files_for(architecture, make, files))
        return GuestClassifier(own, architecture, input_shape, classes)
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"classifier {architecture!r}: expected one of {', '.join(ARCHITECTURES)}, "
            "or 'package.module:Name'"
        )
    if architecture == "simple_cnn":
        return _simple_cnn(input_shape, classes)

    def drop(printed: float) -> nn.Dropout:
        return nn.Dropout(printed if dropout == "paper" else 1 - printed)

    channels, height, width = input_shape
    pixels = channels * height * width
    match architecture:
        case "A" | "C" | "C_published":
            maps, first, second = {"A": (64, 5, 5), "C": (128, 3, 3)}.get(architecture, (128, 3, 5))
            body = [
                *(_same(channels, maps, first, 1, input_shape), nn.ReLU()),
                *(nn.Conv2d(maps, 64, second, stride=2), nn.ReLU(), nn.Flatten(), drop(0.25)),
            ]
            head = [nn.Linear(_features(body, input_shape), 128), nn.ReLU(), drop(0.5)]
            last = 128
        case "B" | "B_vae" | "B_ae_gan" | "F":
            if architecture == "B_vae":
                first = nn.Conv2d(channels, 64, 8, stride=2, padding=5)
            else:
                first = _same(channels, 64, 8, 2, input_shape)
            body = [first, nn.ReLU(), nn.Conv2d(64, 128, 6, stride=2), nn.ReLU()]
            body += [nn.Conv2d(128, 128, 5), nn.ReLU(), nn.Flatten()]
            last = _features(body, input_shape)
            head = [] if architecture == "F" else [drop(0.5)]
            if architecture in ("B", "B_vae"):
                body = [drop(0.2), *body]
        case "D" | "D_published" | "D_vae" | "E":
            first_drop = [] if architecture == "E" else [drop(0.5)]
            second_drop = {"D": [drop(0.5)], "D_vae": [drop(0.25)]}.get(architecture, [])
            body = [nn.Flatten(), nn.Linear(pixels, 200), nn.ReLU(), *first_drop]
            head = [nn.Linear(200, 200), nn.ReLU(), *second_drop]
            last = 200
    model = nn.Sequential(*body, *head, nn.Linear(last, classes))
    model.apply(_unit_norm_)
    return model


def _simple_cnn(input_shape: Shape, classes: int) -> nn.Module:
    """Cowboy's classifier: "a simple CNN" with batch norm, dropout and Xavier's initial weights.

    No more is known: the architecture was in a supplement that is not published with the paper.
    Chosen: two 3x3 convolutions, to 32 and 64 maps, each with batch norm, ReLU and 2x2 max pooling,
    then 128 units, a dropout of a half, and the logits. No batch norm after the 128 units: it
    could not train on a last batch of one image.
    """
    body: list[nn.Module] = []
    for inputs, outputs in ((input_shape[0], 32), (32, 64)):
        body += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
        body += [nn.ReLU(), nn.MaxPool2d(2)]
    body.append(nn.Flatten())
    hidden = nn.Linear(_features(body, input_shape), 128)
    model = nn.Sequential(*body, hidden, nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes))
    model.apply(xavier)
    return model.train()


def _same(inputs: int, outputs: int, kernel: int, stride: int, input_shape: Shape) -> nn.Module:
    """A convolution with TensorFlow's SAME padding: output side = ceil(side / stride)."""
    before_after = []
    for side in (input_shape[2], input_shape[1]):  # ZeroPad2d wants left, right, top, bottom
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        before_after += [total // 2, total - total // 2]
    if len(set(before_after)) == 1:
        return nn.Conv2d(inputs, outputs, kernel, stride, padding=before_after[0])
    return nn.Sequential(
        nn.ZeroPad2d(tuple(before_after)), nn.Conv2d(inputs, outputs, kernel, stride)
    )


def _features(body: list[nn.Module], input_shape: Shape) -> int:
    """Length of the flattened output of `body` for one image."""
    with torch.no_grad():
        image = torch.zeros(1, *input_shape)
        try:
            return nn.Sequential(*body).eval()(image).shape[1]
        except RuntimeError as error:
            raise ValueError(
                f"images of shape {input_shape} are too small for this classifier: {error}"
            ) from error


@torch.no_grad()
def _unit_norm_(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        weight = torch.randn_like(layer.weight)
        norms = weight.flatten(1).norm(dim=1)
        layer.weight.copy_(weight / norms.view(-1, *[1] * (weight.dim() - 1)))
        layer.bias.zero_()
