"""Generator and critic of Defense-GAN (Samangouei et al. 2018, appendix C, Table 6).

Table 6 prints stride 1 for the transposed convolutions, with which 4x4 cannot become 28x28. The
published code has stride 2 and cuts the first result from 8x8 to 7x7, and so have these networks.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, int, int]
MNIST: Shape = (1, 28, 28)
SLOPE = 0.2  # of LeakyReLU


class Generator(nn.Module):
    """z (N, latent) -> images (N, *output_shape) in (0, 1).

    Linear to 4 * width maps of 4x4, then three transposed convolutions (5x5, stride 2) to
    2 * width, width and C maps, with ReLU between them and a sigmoid at the end:
    4 -> 7 -> 14 -> 28. `width=64` is the paper's. Other image sizes start at an eighth of the
    side, rounded up (32 = 4 -> 8 -> 16 -> 32).

    Where that would be 8x8 or more, as for CelebA's 64x64, a further layer of `width` maps stands
    before the last: 4 -> 8 -> 16 -> 32 -> 64. The paper (app. F) adds ConvT(128, 5x5) to Table 6,
    whose maps its published code halves here as everywhere; that code has no activation after the
    added layer, which makes one linear map of the last two. Here it has a ReLU like the others.
    The code's CelebA images are in [-1, 1], from a tanh: (tanh(y) + 1) / 2 is the sigmoid of 2 y.

    Initial weights as in the published code: uniform with He's deviation (transposed convolutions)
    or Glorot's (linear), biases zero, drawn from the global RNG. z has 128 numbers there; `width`
    are the maps before the last layer.
    """

    def __init__(self, latent: int = 128, width: int = 64, output_shape: Shape = MNIST) -> None:
        super().__init__()
        self.latent = latent
        channels, *sides = output_shape
        doublings = _doublings(sides)
        start, *sizes = reversed(halvings(sides, doublings))
        self._start = (4 * width, *start)
        self.project = nn.Linear(latent, math.prod(self._start))
        layers: list[nn.Module] = []
        maps = [4 * width, 2 * width, *[width] * (doublings - 2), channels]
        for (inputs, outputs), size in zip(pairwise(maps), sizes, strict=True):
            # Output 2n - 1 + output_padding. Without the padding the last row and column are
            # just left out: the published code's crop of 8x8 to 7x7, without computing them.
            extra = tuple(1 - side % 2 for side in size)
            up = nn.ConvTranspose2d(inputs, outputs, 5, 2, padding=2, output_padding=extra)
            layers += [nn.ReLU(), up]
        self.upsample = nn.Sequential(*layers, nn.Sigmoid())
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.upsample(self.project(z).view(-1, *self._start))


class Critic(nn.Module):
    """images (N, C, H, W) -> scores (N,), unbounded.

    Three convolutions (5x5, stride 2) to width, 2 * width and 4 * width maps with LeakyReLU(0.2),
    then linear. Table 6 ends in a sigmoid; a Wasserstein critic must not (Gulrajani et al. 2017,
    section 4), and the published code has none.

    Of 64x64 images the convolutions leave 8x8 maps. The published code cuts these into rows of
    4,096 features, which gives four scores an image; here all of them go into the image's one.
    """

    def __init__(self, width: int = 64, input_shape: Shape = MNIST) -> None:
        super().__init__()
        self.features, count = downsampling(width, input_shape)
        self.score = nn.Linear(count, 1)
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.score(self.features(images)).squeeze(1)


class LeakyReLU(nn.Module):
    """max(x, 0.2 x), whose slopes are constants for autograd.

    The values and gradients are those of `torch.nn.LeakyReLU(0.2)`. The difference is in the
    gradient penalty, which differentiates a gradient: PyTorch's own layer then sends a gradient of
    zeros (its second derivative) back through the whole critic, this one sends nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _LeakyReLU.apply(x)


class _LeakyReLU(torch.autograd.Function):
    generate_vmap_rule = True  # for torch.func's transforms, which want `setup_context` too

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return functional.leaky_relu(x, SLOPE)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
    ) -> None:
        ctx.save_for_backward(output)  # its signs are those of x, which nobody else keeps

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return _TimesSlopes.apply(gradient, ctx.saved_tensors[0].detach())


class _TimesSlopes(torch.autograd.Function):
    """Linear in its first argument, so that its derivative is itself; the second is a constant."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, signs: Tensor) -> Tensor:
        return torch.ops.aten.leaky_relu_backward(x, signs, SLOPE, False)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor
    ) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return _TimesSlopes.apply(gradient, ctx.saved_tensors[0]), None


def downsampling(width: int, input_shape: Shape) -> tuple[nn.Sequential, int]:
    """The critic's convolutions, flattened (also MagNet's encoder), and the number of features."""
    channels, *sides = input_shape
    layers: list[nn.Module] = []
    maps = [channels, width, 2 * width, 4 * width]
    for inputs, outputs in pairwise(maps):
        layers += [nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), LeakyReLU()]
    return nn.Sequential(*layers, nn.Flatten()), 4 * width * math.prod(halvings(sides, 3)[-1])


def _doublings(sides: list[int]) -> int:
    """How many layers the generator grows by: three, or as many as let it start below 8x8."""
    doublings = 3
    while max(halvings(sides, doublings)[-1]) >= 8:
        doublings += 1
    return doublings


def halvings(sides: list[int], times: int) -> list[tuple[int, ...]]:
    """The image size and its halvings, rounded up: 28, 14, 7, 4 in three."""
    return [tuple(-(-side // 2**n) for side in sides) for n in range(times + 1)]


@torch.no_grad()
def initialise(layer: nn.Module) -> None:
    """The published code's initial weights, in place: uniform with mean 0, biases zero.

    Standard deviation sqrt(4 / (fan_in + fan_out)) for convolutions, where a stride s divides the
    fan of the strided side by s^2, and sqrt(2 / (fan_in + fan_out)) for linear layers.
    """
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        fine, coarse = layer.in_channels, layer.out_channels
        if isinstance(layer, nn.ConvTranspose2d):
            fine, coarse = coarse, fine
        kernel, stride = math.prod(layer.kernel_size), math.prod(layer.stride)
        deviation = math.sqrt(4 / (kernel * (fine + coarse / stride)))
    elif isinstance(layer, nn.Linear):
        deviation = math.sqrt(2 / (layer.in_features + layer.out_features))
    else:
        return
    limit = math.sqrt(3) * deviation
    layer.weight.uniform_(-limit, limit)
    layer.bias.zero_()
