#!/usr/bin/env bash
# docutils 0.22.4, which makes the captions and the front page of Snakemake's reports: a page of many paragraphs of which one line has
# 10,001 characters, such as a table in raw HTML or an embedded picture. Expected: the page, or an exception. Seen: nothing of the page
# but an error message in its place, and no exception: `snakemake --report` ends with exit status 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet docutils==0.22.4
"$folder/env/bin/python" - <<'PYTHON'
import docutils
from docutils.core import publish_parts

found = {}
for length in (10_000, 10_001):
    page = f"Title\n=====\n\nThe first paragraph.\n\n{'x' * length}\n\nThe last paragraph.\n"
    found[length] = publish_parts(page, writer="html")["whole"]
print(f"docutils {docutils.__version__}: paragraphs of the page that are left:",
      {n: [word for word in ("first", "last") if f"The {word} paragraph" in html] for n, html in found.items()})
assert "The first paragraph" in found[10_000] and "The last paragraph" in found[10_000]
assert "paragraph." not in found[10_001] and "line-length-limit" in found[10_001], "the page is no longer dropped"
PYTHON
