"""Purifiers: everything that cleans an image before a classifier sees it."""

from purification.purifiers.ae_gan import EncoderSearch
from purification.purifiers.base import (
    Defended,
    NoGradient,
    Purifier,
    StraightThrough,
    reconstruction_error,
)
from purification.purifiers.cowboy import Cowboy
from purification.purifiers.defense_gan import DefenseGAN, draw_starts
from purification.purifiers.defense_vae import DefenseVAE
from purification.purifiers.descent import SearchResult, SearchSettings
from purification.purifiers.latent_search import latent_search
from purification.purifiers.magnet import MagNet

__all__ = [
    "Cowboy",
    "Defended",
    "DefenseGAN",
    "DefenseVAE",
    "EncoderSearch",
    "MagNet",
    "NoGradient",
    "Purifier",
    "SearchResult",
    "SearchSettings",
    "StraightThrough",
    "draw_starts",
    "latent_search",
    "reconstruction_error",
]
