"""One file a training procedure: classifiers, WGAN-GP, MagNet's autoencoder.

All of them train in place, move model and data to the device once, draw from the seed that they
are given, and leave torch's global random state as it was. On a CPU too they use Adam's fused
kernel and the channels-last layout, which save 10 to 20 percent of the time on these networks.
"""
