#!/usr/bin/env bash
# A real SLURM on this machine, for the tests: munged, slurmctld and slurmd, one node with pretend GPUs, in
# partitions `cpu` and `gpu`, and `urgent`, whose jobs preempt theirs. Everything lives in STATE_DIR; nothing outside it is touched.
#
#   start-slurm.sh [--install] STATE_DIR     --install: get SLURM by apt-get where it is missing
#   . STATE_DIR/env.sh                       then sbatch, srun, squeue and scontrol talk to this SLURM
#   stop-slurm.sh STATE_DIR
#
# Environment: SLURM_TEST_CPUS (default: this machine's), SLURM_TEST_MEM_MB (default: 90 %), SLURM_TEST_GPUS (1),
# SLURM_TEST_PORT (default: two free ones are looked for).
# Exit status: 0 up, and a job has run; 3 this machine cannot have it (the last line says why); else: it failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
PATH=$PATH:/usr/sbin:/sbin

usage() { echo "usage: ${0##*/} [--install] STATE_DIR" >&2; exit 2; }
impossible() { echo "$*" >&2; exit 3; }

install=0
[ "${1:-}" = --install ] && { install=1; shift; }
[ $# -eq 1 ] || usage

# Settings of a surrounding SLURM job or client would reach our daemons.
for name in $(compgen -e | grep -E '^(SLURM|SBATCH|SRUN)_' | grep -v '^SLURM_TEST_' || true); do
  unset "$name"
done

[ "$(uname -s)" = Linux ] || impossible "SLURM's daemons need Linux"
[ "$(id -u)" = 0 ] || impossible "SLURM's daemons need root, this is user $(id -un)"

missing() {
  local program
  for program in munged munge slurmctld slurmd sbatch srun squeue scontrol sinfo; do
    command -v "$program" >/dev/null || echo "$program"
  done
}
if [ -n "$(missing)" ] && [ $install = 1 ]; then
  command -v apt-get >/dev/null || impossible "not installed: $(missing | xargs), and there is no apt-get"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
fi
[ -z "$(missing)" ] || impossible "not installed: $(missing | xargs) (Debian: apt-get install slurmctld slurmd slurm-client munge)"

mkdir -p "$1"
state=$(cd "$1" && pwd -P)
[ ! -e "$state/slurm.conf" ] || { echo "$state already holds a SLURM; stop it first" >&2; exit 1; }
mkdir -p "$state"/{bin,controller,dev,log,munge,run,spool}
chmod 755 "$state" "$state/munge" # munged refuses a socket in a folder that others cannot enter

# From here on a failure leaves nothing running.
failed() {
  local status=$?
  trap - EXIT
  [ $status = 0 ] && return
  echo "--- SLURM did not start; last lines of its logs:" >&2
  tail -n 15 "$state"/log/* >&2 || true
  "$here/stop-slurm.sh" "$state" >&2 || true
  exit $status
}
trap failed EXIT

within() { # SECONDS COMMAND...: repeat the command until it succeeds
  local end=$((SECONDS + $1))
  shift
  until timeout 60 "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "not in time: $*" >&2; return 1; }
    sleep 0.2
  done
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
port=${SLURM_TEST_PORT:-}
if [ -z "$port" ]; then
  # Below the range that the kernel gives to outgoing connections.
  for _ in $(seq 50); do
    port=$((20000 + RANDOM % 10000))
    port_is_free "$port" && port_is_free $((port + 1)) && break
  done
fi

cpus=${SLURM_TEST_CPUS:-$(nproc)}
memory=${SLURM_TEST_MEM_MB:-$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)}
gpus=${SLURM_TEST_GPUS:-1}
host=$(hostname -s)

# Pretend cards: slurmd wants character devices whose names end in a number; these are twins of /dev/null.
: >"$state/gres.conf"
gres=""
for ((card = 0; card < gpus; card++)); do
  gres=Gres=gpu:$gpus
  mknod -m 666 "$state/dev/nvidia$card" c 1 3 2>"$state/log/mknod" \
    || impossible "no pretend GPU: $(cat "$state/log/mknod")"
  echo "NodeName=node1 Name=gpu File=$state/dev/nvidia$card" >>"$state/gres.conf"
done

# Without slurmdbd there is no sacct: a large MinJobAge keeps finished jobs in squeue's sight. Memory is enforced
# by slurmd's own sampling (OverMemoryKill), since a container seldom has cgroups to hand out.
cat >"$state/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$state/munge/socket
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/run/slurmctld.pid
SlurmdPidFile=$state/run/slurmd.pid
SlurmctldLogFile=$state/log/slurmctld
SlurmdLogFile=$state/log/slurmd
PlugStackConfig=$state/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
ReturnToService=2
MinJobAge=3600
KillWait=5
InactiveLimit=0
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory $gres State=UNKNOWN
PartitionName=cpu Nodes=node1 Default=YES MaxTime=2-00:00:00 DefaultTime=01:00:00 DefMemPerCPU=512 State=UP
PartitionName=gpu Nodes=node1 Default=NO MaxTime=2-00:00:00 DefaultTime=01:00:00 DefMemPerCPU=512 State=UP
PartitionName=urgent Nodes=node1 Default=NO PriorityTier=2 PreemptMode=OFF MaxTime=2-00:00:00 DefMemPerCPU=512 State=UP
CONF
: >"$state/plugstack.conf"
export SLURM_CONF=$state/slurm.conf

# Snakemake's jobstep plugin drops SLURM_CONF from the environment of the srun inside a job (0.6.1), where a
# cluster has its configuration in /etc. Ours is not there, so an srun that knows it stands first on PATH.
srun=$(command -v srun)
cat >"$state/bin/srun" <<WRAPPER
#!/bin/sh
SLURM_CONF='$state/slurm.conf' exec '$srun' "\$@"
WRAPPER
chmod 755 "$state/bin/srun"
cat >"$state/env.sh" <<ENVIRONMENT
export SLURM_CONF='$state/slurm.conf'
export PATH='$state/bin':"\$PATH"
ENVIRONMENT

(umask 077 && head -c 1024 /dev/urandom >"$state/munge/key")
munged --force --num-threads=2 --key-file="$state/munge/key" --seed-file="$state/munge/seed" \
  --socket="$state/munge/socket" --pid-file="$state/run/munged.pid" --log-file="$state/log/munged"
within 120 munge -n -S "$state/munge/socket"
setsid slurmctld -f "$SLURM_CONF" </dev/null >>"$state/log/slurmctld.out" 2>&1
within 120 sh -c 'scontrol ping | grep -q UP'
setsid slurmd -f "$SLURM_CONF" -N node1 </dev/null >>"$state/log/slurmd.out" 2>&1
within 120 sh -c 'sinfo -h -N -n node1 -o %t | grep -qx idle'
within 120 srun -n1 --mem=50 true
echo "$(sinfo --version) is up: $cpus CPUs, $memory MB, $gpus pretend GPUs, ports $port and $((port + 1))"
