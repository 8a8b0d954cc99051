"""Adversarial purification with generative models: the library behind the workflow.

The package imports nothing when it is imported: the Snakefile loads `purification.experiments` on
every run, and each job loads only the rooms that it uses. A script of the workflow goes on in a
process that has its libraries already (`purification.warm_start`).
"""

import os

if os.environ.get("PURIFICATION_STARTER"):
    from purification.hand_over import hand_over

    hand_over()
