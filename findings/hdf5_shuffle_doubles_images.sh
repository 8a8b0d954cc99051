#!/usr/bin/env bash
# h5py 3.16.0: gzip with shuffle=True, commonly advised for floats, against gzip alone, on scikit-learn's two sample photographs, 8 bits
# a colour, stored as float32 in [0, 1] as networks take them. Expected: smaller. Seen: nearly twice as large. A level's four bytes
# repeat together, and shuffle takes them apart.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet h5py==3.16.0 numpy==2.4.6 pillow==13.0.0 scikit-learn==1.9.1
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import sys

import h5py
import numpy as np
from sklearn.datasets import load_sample_images

images = np.stack(load_sample_images().images).astype(np.float32) / 255
sizes = {}
for shuffle in (False, True):
    with h5py.File(f"{sys.argv[1]}/images.h5", "w") as file:
        stored = file.create_dataset("images", data=images, compression="gzip", shuffle=shuffle)
        sizes[shuffle] = stored.id.get_storage_size()
ratio = sizes[True] / sizes[False]
print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}: {images.nbytes} bytes of images; "
      f"gzip {sizes[False]}, shuffle and gzip {sizes[True]}: {ratio:.2f} times as large")
assert ratio > 1.5, "shuffle no longer makes such images larger"
PYTHON
