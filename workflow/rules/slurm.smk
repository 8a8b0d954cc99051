# What the SLURM executor leaves open (snakemake-executor-plugin-slurm 2.8.0).

# Ends of a job that the executor does not know: it would wait for such a job for ever. `PREEMPTED` is one where SLURM
# does not put the job into its queue again.
UNKNOWN_ENDS = ("PREEMPTED", "LAUNCH_FAILED", "RECONFIG_FAIL")


def count_every_end(settings, executor):
    """Has the executor (its module) count a job as failed that ended in any of these ways, so that
    it is submitted again. Does nothing where another executor is in use, or SLURM requeues."""
    if not getattr(settings, "no_requeue", False):
        return
    ask, told = executor.query_job_status, set()

    async def states_of_jobs(command, logger):
        states, seconds = await ask(command, logger)
        for job, state in (states or {}).items():
            # sacct says who it was: CANCELLED by 1000.
            end = state.split()[0] if state else state
            if end in UNKNOWN_ENDS and job not in told:
                told.add(job)
                logger.warning(f"SLURM job {job} ended as {end}. It counts as failed.")
            states[job] = "FAILED" if end in UNKNOWN_ENDS else end
        return states, seconds

    executor.query_job_status = states_of_jobs
