#!/usr/bin/env bash
# stop-slurm.sh STATE_DIR: ends the jobs and the daemons of the SLURM that start-slurm.sh started there, and no other.
# The logs stay. Says nothing is there, and succeeds, where nothing runs.
set -uo pipefail
[ $# -eq 1 ] || { echo "usage: ${0##*/} STATE_DIR" >&2; exit 2; }
state=$(cd "$1" 2>/dev/null && pwd -P) || { echo "nothing there: $1"; exit 0; }
export SLURM_CONF=$state/slurm.conf PATH=$PATH:/usr/sbin:/sbin

daemon() { # NAME: its process id, if the pid file's process is really that daemon of this folder
  local pid
  pid=$(cat "$state/run/$1.pid" 2>/dev/null) || return 1
  [[ "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" == *"$1"*"$state"* ]] && echo "$pid"
}

if daemon slurmctld >/dev/null && timeout 5 scontrol ping 2>/dev/null | grep -q UP; then
  timeout 10 scancel --state=PENDING --user="$(id -un)" 2>/dev/null
  timeout 10 scancel --user="$(id -un)" 2>/dev/null
  for _ in $(seq 60); do
    [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break
    sleep 0.25
  done
fi
for name in slurmd slurmctld munged; do
  pid=$(daemon $name) || continue
  kill "$pid"
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -0 "$pid" 2>/dev/null && kill -9 "$pid"
  rm -f "$state/run/$name.pid"
  echo "stopped $name ($pid)"
done
exit 0
