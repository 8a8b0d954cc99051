#!/usr/bin/env bash
# Snakemake 9.27.1: a rule's parameters `low` and `high` exchange their values. Expected: the file is made again ("Params have changed
# since last execution"), as it is if one of them gets a new value. Seen: "Nothing to be done", because the values are compared
# as a set, without their names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet snakemake==9.27.1
cd "$folder"
cat > Snakefile <<'RULE'
rule range:
    output: "range.txt"
    params: low=config["low"], high=config["high"]
    shell: "echo {params.low} to {params.high} > {output}"
RULE
run() { env/bin/snakemake --cores 1 --config "$@" 2>&1; }
run low=1 high=2 > first.log
swapped=$(run low=2 high=1 -n)
other=$(run low=1 high=3 -n)
echo "snakemake $(env/bin/snakemake --version): the file holds '$(cat range.txt)'"
echo "asked for 2 to 1: $(grep -o 'Nothing to be done' <<< "$swapped" || echo 'made again')"
echo "asked for 1 to 3: $(grep -o 'Nothing to be done' <<< "$other" || echo 'made again')"
grep -q 'Nothing to be done' <<< "$swapped" || { echo "exchanged parameters are noticed now"; exit 1; }
if grep -q 'Nothing to be done' <<< "$other"; then echo "a new value is not noticed"; exit 1; fi
