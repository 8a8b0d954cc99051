"""Samples of trained generators, by themselves and side by side."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from purification.evaluation.samples import (
    PRIORS,
    first_samples,
    generated_samples,
    sample_blocks,
)
from purification.models.bigan import BiGAN
from purification.models.checkpoints import load_network, network_of, save_network
from purification.randomness import generator
from purification.reporting.reconstructions import reconstruction_grid

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / "bigan.safetensors"
    recipe = {"kind": "BiGAN", "settings": {"latent": 4, "width": 2}}
    save_network(path, BiGAN(4, 2, (1, 28, 28)), recipe, (1, 28, 28))
    return str(path)


def test_samples_are_of_standard_normal_codes(checkpoint: str) -> None:
    samples = generated_samples(checkpoint, "BiGAN", 6, seed=3)
    codes = torch.randn(6, 4, generator=generator(3, "samples"))
    with torch.no_grad():
        expected = load_network(checkpoint, "BiGAN").generator(codes)
    np.testing.assert_allclose(samples, expected.numpy(), atol=1e-6)
    assert not np.allclose(generated_samples(checkpoint, "BiGAN", 6, seed=4), samples)
    with pytest.raises(ValueError, match="the prior is known of BiGAN"):
        generated_samples(checkpoint, "DefenseVAE", 2, seed=0)


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("sample", [generated_samples, first_samples])
def test_each_kind_with_a_prior_has_samples(
    sample: Callable[..., np.ndarray], kind: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "network.safetensors")
    # A diffusion model's maps are of a multiple of 8, and its codes are as large as the image.
    settings = {"width": 8} if kind == "Diffusion" else {"latent": 4, "width": 2}
    recipe = {"kind": kind, "settings": settings}
    save_network(path, network_of(recipe, (1, 28, 28)), recipe, (1, 28, 28))
    samples = sample(path, kind, 5, 3)
    assert samples.shape == (5, 1, 28, 28) and samples.dtype == np.float32
    assert samples.min() >= 0 and samples.max() <= 1
    assert len(np.unique(samples.reshape(5, -1), axis=0)) == 5
    assert (sample(path, kind, 5, 3) == samples).all()


def test_first_samples_are_of_the_networks_own_codes(checkpoint: str, tmp_path: Path) -> None:
    samples = first_samples(checkpoint, "BiGAN", 6, seed=3)
    codes = torch.randn(6, 4, generator=generator(3, checkpoint, "samples"))
    network = load_network(checkpoint, "BiGAN").to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        assert (network.generator(codes).numpy() == samples).all()
    other = tmp_path / "other.safetensors"
    other.write_bytes(Path(checkpoint).read_bytes())
    assert not np.allclose(first_samples(str(other), "BiGAN", 6, seed=3), samples)


def test_panels_are_read_line_by_line(checkpoint: str, tmp_path: Path) -> None:
    panel = {"images": checkpoint, "kind": "BiGAN", "seed": 0}
    blocks = sample_blocks([panel | {"title": "a"}, panel | {"title": "b", "seed": 1}], 2, 3)
    assert [block.title for block in blocks] == ["a", "b"]
    samples = generated_samples(checkpoint, "BiGAN", 6, seed=0)
    for line in range(2):
        shown = [column.images[line] for column in blocks[0].columns]
        np.testing.assert_array_equal(shown, samples[3 * line : 3 * line + 3])
    reconstruction_grid(blocks, tmp_path / "s.png", tmp_path / "s.pdf")
    assert (tmp_path / "s.png").stat().st_size > 1000
