"""The gradients of WGAN-GP's steps written out as passes of convolutions, without autograd.

The penalty is a function of the critic's gradient at an image. The critic is piecewise linear, so
this gradient depends on the critic's weights and on the signs before its LeakyReLUs, which are
constants. What autograd calls the double backward pass is then one more forward pass, of the
penalty's derivative in that gradient, without biases and with the slopes that the image has. So the
weights' gradients are sums over (map, gradient) pairs for scored and for mixed images alike, and
one batch of the three kinds has one forward pass, one backward pass and one pass to the weights.

On the CPU images lie `side_by_side`, and convolutions from and to few maps are ones of stride 1
over the phases of the image.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.models.phases import FEW_MAPS, interleaved
from purification.models.side_by_side import apart, channels_last, side_by_side
from purification.models.wgan import SLOPE, Critic, Generator
from purification.training.precision import Precision, in_float32

Sides = tuple[int, ...]


class WrittenOut:
    """Losses of a `Generator` and a `Critic`; their weights' gradients are left in `grad`.

    Values and gradients are those of autograd up to rounding. Precision is that of
    `training_network`: with "bfloat16" convolutions take and give bfloat16. All else has the
    weights' own type, float32 in training.

    Raises:
        ValueError: another precision.
        TypeError: other networks: how to differentiate them is not known here.
    """

    def __init__(
        self, generator: nn.Module, critic: nn.Module, precision: Precision = "float32"
    ) -> None:
        in_full = in_float32(precision, critic)
        if type(generator) is not Generator or type(critic) is not Critic:
            names = " and ".join(type(network).__name__ for network in (generator, critic))
            raise TypeError(f"fast_convolutions is for Generator and Critic, got {names}")
        self._generator, self._critic = generator, critic
        own = critic.score.weight.dtype
        self._dtype = own if in_full else torch.bfloat16

    @torch.no_grad()
    def images(self, noise: Tensor) -> Tensor:
        """Of codes (N, latent): (N, C, H, W) in (0, 1)."""
        generated, _ = self._generate(self._layers(self._generator.upsample), noise)
        return self._unarranged(generated, len(noise))

    @torch.no_grad()
    def critic_step(
        self, real: Tensor, fake: Tensor, mix: Tensor, gradient_penalty: float
    ) -> tuple[Tensor, Tensor]:
        """Gradients of the critic's loss, which is gradient_penalty * penalty - wasserstein.

        Args:
            real, fake: (N, C, H, W) in [0, 1].
            mix: (N, 1, 1, 1) in [0, 1], of `slope_penalty`.
            gradient_penalty: weight lambda of the penalty.

        Returns:
            wasserstein and penalty, scalars: mean score of the real minus that of the generated
            images, and `slope_penalty` of them.
        """
        count, score = len(real), self._critic.score
        layers = self._layers(self._critic.features)
        kinds = [self._arranged(kind) for kind in (real, fake, torch.lerp(fake, real, mix))]
        ones = self._arranged(real.new_ones(count, 1, 1, 1))  # 0 where a row is filled up
        rows = len(ones)
        scored, mixed = slice(0, 2 * rows), slice(2 * rows, None)

        inputs = self._judge(layers, torch.cat(kinds).to(self._dtype))
        # Derivatives of the loss in the scores; of the mixed images the scores' own sum is wanted.
        derivatives = (-1 / count, 1 / count, 1.0)
        seeds = torch.cat([derivative * ones for derivative in derivatives])
        wasserstein = -(self._scores(inputs[-1][scored]) * seeds[scored]).sum()

        gradients = self._back(layers, inputs, derivatives, ones, count)
        slopes = layers[0].back(gradients[0][mixed], inputs[0]).to(real.dtype)
        if layers[0].over_phases:
            # An odd side's last phase is beyond the image, where there is nothing to differ in.
            slopes = _phases(interleaved(slopes, 2, tuple(real.shape[2:])))
        norms = torch.linalg.vector_norm(slopes, dim=(1, 2, 3), keepdim=True)
        penalty = ((norms - 1).square() * ones).sum() / count

        # The norm has no derivative at 0; as in autograd it counts as 0.
        factors = torch.where(norms > 0, (norms - 1) / norms, 0)
        maps = slopes * (2 * gradient_penalty / count * factors)
        inputs[0][mixed] = maps
        for number, layer in enumerate(layers):
            maps = layer.forward(inputs[number][mixed], bias=False)
            # In place of the mixed images' own maps, of which only the signs are still of use.
            _times_slopes(maps, inputs[number + 1][mixed], out=inputs[number + 1][mixed])

        for layer, maps, gradient in zip(layers, inputs, gradients, strict=False):
            layer.set_weight_gradient(maps, gradient)
            layer.set_bias_gradient(gradient[scored])
        score.weight.grad = _weighted_sum(inputs[-1], seeds).reshape(1, -1)
        score.bias.grad = torch.zeros_like(score.bias)  # real and generated images cancel out
        return wasserstein, penalty

    @torch.no_grad()
    def generator_step(self, noise: Tensor) -> Tensor:
        """Gradients of the generator's loss at codes (N, latent), and the loss: minus the mean
        score of the images."""
        count, project = len(noise), self._generator.project
        up, down = self._layers(self._generator.upsample), self._layers(self._critic.features)
        images, inputs = self._generate(up, noise)
        judged = self._judge(down, images.to(self._dtype))
        ones = self._arranged(noise.new_ones(count, 1, 1, 1))
        scores = self._scores(judged[-1]) + self._critic.score.bias
        loss = -(scores * ones).sum() / count

        gradient = self._back(down, judged, (-1 / count,), ones, count)[0]
        gradient = down[0].back(gradient, judged[0])
        if down[0].over_phases:
            gradient = interleaved(gradient, 2, tuple(images.shape[2:4]))
        gradient = torch.ops.aten.sigmoid_backward(gradient.to(images.dtype), images)
        gradient = gradient.to(self._dtype)
        if up[-1].over_phases:
            gradient = channels_last(_phases(gradient))
        for layer, maps in reversed(list(zip(up, inputs, strict=True))):
            layer.set_weight_gradient(maps, gradient)
            layer.set_bias_gradient(gradient)
            gradient = layer.back(gradient, maps)
            torch.ops.aten.threshold_backward.grad_input(gradient, maps, 0, grad_input=gradient)
        projected = self._unarranged(gradient, count).to(noise.dtype).flatten(1)
        project.weight.grad = projected.T @ noise
        project.bias.grad = projected.sum(0)
        return loss

    def _layers(self, layers: nn.Module) -> list["_Layer"]:
        """With the weights as they are now."""
        found = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        # At the images is the critic's first layer and the generator's last.
        number = 0 if isinstance(found[0], nn.Conv2d) else len(found) - 1
        channels = self._critic.features[0].in_channels
        return [
            _Layer(layer, self._dtype, self._in_rows, i == number and channels <= FEW_MAPS)
            for i, layer in enumerate(found)
        ]

    @property
    def _in_rows(self) -> bool:
        return self._critic.score.weight.device.type == "cpu"

    def _arranged(self, images: Tensor) -> Tensor:
        """(N, C, H, W) as the layers want them: maps below are such, (..., C, H, W[, G])."""
        return side_by_side(images) if self._in_rows else images

    def _unarranged(self, maps: Tensor, count: int) -> Tensor:
        return apart(maps, count) if self._in_rows else maps

    def _generate(self, layers: list["_Layer"], noise: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images, arranged, in float32; and the maps that each layer has taken, after ReLU."""
        projected = self._generator.project(noise).view(-1, *self._generator._start)
        maps, inputs = self._arranged(projected.to(self._dtype)), []
        if not self._in_rows:
            maps = channels_last(maps)
        for layer in layers:
            inputs.append(maps.relu_())
            maps = layer.forward(maps)
        if layers[-1].over_phases:
            maps = interleaved(maps, 2, layers[-1].sides(inputs[-1]))
        return maps.to(projected.dtype).sigmoid_(), inputs

    def _judge(self, layers: list["_Layer"], images: Tensor) -> list[Tensor]:
        """Of arranged images the maps that each layer takes, and those that the last one gives."""
        inputs = [channels_last(_phases(images) if layers[0].over_phases else images)]
        for layer in layers:
            inputs.append(functional.leaky_relu_(layer.forward(inputs[-1]), SLOPE))
        return inputs

    def _score_weight(self, maps: Tensor) -> Tensor:
        """The last layer's weights, to be multiplied with its maps."""
        _, channels, height, width, *row = maps.shape
        weight = self._critic.score.weight.view(1, channels, height, width, *[1] * len(row))
        return channels_last(weight)

    def _scores(self, maps: Tensor) -> Tensor:
        """(..., 1, 1, 1[, G]), without the bias."""
        weight = self._score_weight(maps)
        return (maps.to(weight.dtype) * weight).sum((1, 2, 3), keepdim=True)

    def _back(
        self,
        layers: list["_Layer"],
        inputs: list[Tensor],
        derivatives: tuple[float, ...],
        ones: Tensor,
        count: int,
    ) -> list[Tensor]:
        """Gradients in what each of the critic's layers gives, before LeakyReLU.

        Args:
            layers, inputs: of `_judge`.
            derivatives: in the score, of each kind of image; of every kind are equally many.
            ones: where the images of a kind are; elsewhere rows are filled up, and gradients 0.
            count: of these images.
        """
        weight, last = self._score_weight(inputs[-1]), inputs[-1]
        gradient, kinds = torch.empty_like(last), len(derivatives)
        for derivative, maps, out in zip(
            derivatives, last.chunk(kinds), gradient.chunk(kinds), strict=True
        ):
            _times_slopes((derivative * weight).to(self._dtype), maps, out=out)
            if ones.numel() > count:
                out *= ones
        gradients = [gradient]
        for number in reversed(range(1, len(layers))):
            gradient = layers[number].back(gradient, inputs[number])
            gradients.insert(0, _times_slopes(gradient, inputs[number], out=gradient))
        return gradients


class _Layer:
    """A convolution, or transposed one, 5x5 with stride 2 and padding 2 as all of both networks.

    Maps are (N, C, H, W), or (N, C, H, W, G) with images side by side. With `over_phases` the fine
    maps are taken, or given, as `_phases` of them.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.ConvTranspose2d,
        dtype: torch.dtype,
        in_rows: bool,
        few_maps: bool,
    ) -> None:
        self._layer = layer
        self._widens = isinstance(layer, nn.ConvTranspose2d)
        self.over_phases = in_rows and few_maps
        weight, bias = (cast(Tensor, own).detach().to(dtype) for own in (layer.weight, layer.bias))
        if self.over_phases and self._widens:
            weight, bias = _transposed_over_phases(weight), bias.repeat_interleave(4)
        elif self.over_phases:
            weight = _over_phases(weight)
        self._weight, self._bias = weight[..., None] if in_rows else weight, bias
        # Nothing happens along the axis of `side_by_side`.
        step, third = (1 if self.over_phases else 2), int(in_rows)
        self._strides, self._paddings = [step] * 2 + [1] * third, [step] * 2 + [0] * third
        # Over phases the transposed convolution is a plain one.
        self._transposed = self._widens and not self.over_phases

    def sides(self, maps: Tensor) -> Sides:
        """Of what a transposed convolution makes of `maps`, before these are taken as phases."""
        extra = self._layer.output_padding
        return tuple(2 * side - 1 + more for side, more in zip(maps.shape[2:4], extra, strict=True))

    def forward(self, maps: Tensor, *, bias: bool = True) -> Tensor:
        sides = self.sides(maps) if self._transposed else None
        return self._convolve(maps, self._bias if bias else None, sides)

    def back(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """The gradient in the layer's `inputs`."""
        return self._convolve(gradient, None, None if self._transposed else inputs.shape[2:4])

    def _convolve(self, maps: Tensor, bias: Tensor | None, sides: Sides | None) -> Tensor:
        """To maps of `sides` by the transposed convolution, otherwise by the plain one."""
        ones, extra = [1] * len(self._strides), [0] * len(self._strides)
        if sides is not None:
            kernel, stride, padding = self._weight.shape[2], self._strides[0], self._paddings[0]
            for axis, side in enumerate(sides):
                extra[axis] = side - ((maps.shape[2 + axis] - 1) * stride - 2 * padding + kernel)
        made = torch.ops.aten.convolution(
            maps, self._weight, bias, self._strides, self._paddings, ones, sides is not None,
            extra, 1,
        )  # fmt: skip
        return channels_last(made)

    def set_weight_gradient(self, inputs: Tensor, gradient: Tensor) -> None:
        fine, coarse = (gradient, inputs) if self._transposed else (inputs, gradient)
        zeros = [0] * len(self._strides)
        ones = [1] * len(self._strides)
        found = torch.ops.aten.convolution_backward(
            coarse, fine, self._weight, None, self._strides, self._paddings, ones, False, zeros, 1,
            [False, True, False],
        )[1]  # fmt: skip
        if found.dim() == 5:
            found = found[..., 0]
        if self.over_phases and self._widens:
            found = _from_transposed_over_phases(found)
        elif self.over_phases:
            found = _from_over_phases(found)
        weight = self._layer.weight
        # Fused Adam reads gradients in the order in which their weights lie in memory.
        if found.dtype != weight.dtype or found.stride() != weight.stride():
            found = torch.empty_like(weight).copy_(found)
        weight.grad = found

    def set_bias_gradient(self, gradient: Tensor) -> None:
        found = gradient.movedim(1, -1).flatten(0, -2).sum(0).to(self._layer.bias.dtype)
        if self.over_phases and self._widens:
            found = found.view(-1, 4).sum(1)
        self._layer.bias.grad = found


def _weighted_sum(maps: Tensor, factors: Tensor) -> Tensor:
    """Sum (C, H, W) over images of maps (..., C, H, W[, G]), each times its factor
    (..., 1, 1, 1[, G]), in the factors' precision."""
    places = maps.to(factors.dtype).movedim(1, -1)  # as they lie in memory
    if maps.dim() == 4:
        return (places * factors).sum(0).movedim(-1, 0)
    return torch.matmul(factors, places).sum(0).squeeze(2).movedim(-1, 0)


def _times_slopes(gradient: Tensor, maps: Tensor, out: Tensor) -> Tensor:
    """The gradient below a LeakyReLU that has given `maps`, which have the signs of its inputs."""
    return torch.ops.aten.leaky_relu_backward.grad_input(
        gradient, maps, SLOPE, False, grad_input=out
    )


def _phases(maps: Tensor) -> Tensor:
    """(N, C, H, W, G) as the 4 C maps of its even and odd rows and columns, half as high and wide.

    An odd side is filled up with zeros, as a convolution's padding does.
    """
    maps = functional.pad(maps, (0, 0, 0, maps.shape[3] % 2, 0, maps.shape[2] % 2))
    count, channels, height, width, row = maps.shape
    split = maps.view(count, channels, height // 2, 2, width // 2, 2, row)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(count, -1, height // 2, width // 2, row)


def _over_phases(weight: Tensor) -> Tensor:
    """Kernels (O, C, 5, 5), stride 2, padding 2, as (O, 4 C, 3, 3) over `_phases`, padding 1.

    Output a takes tap k of input 2 a + k - 2. That is phase k modulo 2 of the pair a + k // 2 - 1.
    """
    outputs, inputs = weight.shape[:2]
    taps = functional.pad(weight, (0, 1, 0, 1)).view(outputs, inputs, 3, 2, 3, 2)
    return taps.permute(0, 1, 3, 5, 2, 4).reshape(outputs, 4 * inputs, 3, 3)


def _from_over_phases(gradient: Tensor) -> Tensor:
    """The gradient in the kernels (O, C, 5, 5), of that in `_over_phases` of them."""
    taps = gradient.unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 2, 5, 3)
    return taps.flatten(4).flatten(2, 3)[..., :5, :5]


def _transposed_over_phases(weight: Tensor) -> Tensor:
    """Transposed kernels (C, O, 5, 5) as the convolution (4 O, C, 3, 3) to the output's phases.

    Input a reaches output 2 b + p by tap p + 2 (b - a) + 2.
    """
    inputs, outputs = weight.shape[:2]
    taps = functional.pad(weight, (0, 1, 0, 1)).view(inputs, outputs, 3, 2, 3, 2).flip(2, 4)
    return taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * outputs, inputs, 3, 3)


def _from_transposed_over_phases(gradient: Tensor) -> Tensor:
    """The gradient in the kernels (C, O, 5, 5), of that in `_transposed_over_phases` of them."""
    taps = gradient.unflatten(0, (-1, 2, 2)).permute(3, 0, 4, 1, 5, 2).flip(2, 4)
    return taps.flatten(4).flatten(2, 3)[..., :5, :5]
