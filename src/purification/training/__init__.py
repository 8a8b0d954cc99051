"""One file a training procedure: classifiers, WGAN-GP, MagNet, Defense-VAE, AE-GAN, BiGAN.

All of them train in place, move model and data to the device once, draw from the seed that they
are given, and leave torch's global random state as it was. They use Adam's fused kernel and the
channels-last layout, on a CPU too, where that takes a fifth off classifier C and about a tenth
off WGAN-GP, and leaves the other classifiers as they were to within five percent.

What they share is said here alone. `epochs` are passes over the images, each in a new random order,
with `batch_size` of them a step; `learning_rate` and `betas` are Adam's, of all networks that are
trained; `seed` is that of all random numbers; the networks stay on the `device` where they were
trained; messages call the training `name`. A history has a row an epoch: epoch (from 1), means over
the epoch's images, seconds.

All of them warn, on the terminal too, of what has learned nothing (`finite`): a classifier no
better than chance in its last epoch, reconstructions no better than the mean image, a generator
whose samples are all the same image. All raise FloatingPointError if a loss or a weight is not
finite any more; the message names epoch and step, or the iteration.
"""
