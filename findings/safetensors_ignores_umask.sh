#!/usr/bin/env bash
# safetensors 0.8.0: the permissions of a file that save_file writes, under the umask 002 of shared folders. Expected: 664, as of any
# file that Python opens for writing. Seen: 600, so that colleagues of the group cannot read a trained network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import os
import sys
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import save_file

os.umask(0o002)
folder = Path(sys.argv[1])
save_file({"weight": np.zeros(3, np.float32)}, folder / "network.safetensors")
(folder / "plain.txt").write_text("plain")
modes = [oct((folder / name).stat().st_mode & 0o777) for name in ("network.safetensors", "plain.txt")]
print(f"safetensors {safetensors.__version__}: network {modes[0]}, a plain file {modes[1]}")
assert modes == ["0o600", "0o664"], "the permissions have changed"
PYTHON
