"""One file a training procedure: classifiers, WGAN-GP, MagNet, Defense-VAE, AE-GAN, BiGAN.

All of them train in place, move model and data to the device once, draw from the seed that they
are given, and leave torch's global random state as it was. They use Adam's fused kernel and the
channels-last layout, on a CPU too, where that takes a fifth off classifier C and about a tenth
off WGAN-GP, and leaves the other classifiers as they were to within five percent.
"""
