"""Adversarial purification with generative models: the library behind the workflow.

The package imports nothing when it is imported: the Snakefile loads `purification.experiments` on
every run, and each job loads only the rooms that it uses.
"""
