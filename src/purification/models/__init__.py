"""Networks only: classifiers, generators, critics and autoencoders. No training, no data."""
