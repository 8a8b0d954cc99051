"""Samples of a trained BiGAN, side by side."""

from pathlib import Path

import numpy as np
import pytest
import torch

from purification.evaluation.samples import generated_samples, sample_blocks
from purification.models.bigan import BiGAN
from purification.models.checkpoints import load_network, save_network
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
