# Accuracies: one small file for all numbers that share table, dataset, seed, classifier and attack. And the
# time that a search takes.


rule measure:
    """Measure the accuracies that share table, data set, seed, classifier and attack"""
    input:
        lambda wildcards: row(wildcards).files,
        own_files=lambda wildcards: own_files(row(wildcards)),
    output:
        "results/{dataset}/seed{seed}/measurements/{table}/{classifier}/{attack}.csv",
    log:
        "logs/measure/{dataset}/seed{seed}/{table}/{classifier}/{attack}.log",
    threads: 1
    resources:
        mem_mb=growing(2500),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: row(wildcards).job,
    message:
        "Accuracies of {wildcards.classifier} under {wildcards.attack}, {wildcards.dataset}"
    script:
        "../scripts/measure.py"


rule measure_detection:
    """Measure how well each detector of a run tells attacked images from clean ones"""
    input:
        lambda wildcards: detectors(wildcards).files,
    output:
        "results/{dataset}/seed{seed}/measurements/detection.csv",
    log:
        "logs/measure_detection/{dataset}/seed{seed}.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        recipe=lambda wildcards: detectors(wildcards).job,
    message:
        "Detection by reconstruction error, {wildcards.dataset}"
    script:
        "../scripts/measure_detection.py"


rule time_search:
    """Time the latent search over L and R (Defense-GAN, Table 13)"""
    input:
        unpack(lambda wildcards: with_old_dataset(timed("search_times", wildcards))),
    output:
        "results/{dataset}/seed{seed}/timings/{timed}.csv",
    log:
        "logs/time_search/{dataset}/seed{seed}/{timed}.log",
    # All of them, so that no other job runs beside it.
    threads: ALL_CORES
    resources:
        mem_mb=growing(4000),
        runtime=growing(4 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: timed("search_times", wildcards).job,
    message:
        "Time of {wildcards.timed}'s search, {wildcards.dataset}, alone on the machine"
    script:
        "../scripts/time_search.py"


rule time_purifiers:
    """Time a one-pass purifier and a latent search (Defense-VAE, Table 4)"""
    input:
        unpack(lambda wildcards: with_old_dataset(timed("run_times", wildcards))),
    output:
        "results/{dataset}/seed{seed}/run_times/{timed}.csv",
    log:
        "logs/time_purifiers/{dataset}/seed{seed}/{timed}.log",
    threads: ALL_CORES
    resources:
        mem_mb=growing(4000),
        runtime=growing(4 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: timed("run_times", wildcards).job,
        jobs=lambda wildcards: told({"jobs": timed("run_times", wildcards).jobs}),
    message:
        "Time of {wildcards.timed} and of a search, {wildcards.dataset}, alone on the machine"
    script:
        "../scripts/time_purifiers.py"


rule measure_costs:
    """Measure what the purification of an image costs each defense of the leaderboard"""
    input:
        unpack(lambda wildcards: with_old_dataset(costs(wildcards))),
    output:
        "results/{dataset}/seed{seed}/purification_costs/{classifier}.csv",
    log:
        "logs/measure_costs/{dataset}/seed{seed}/{classifier}.log",
    threads: ALL_CORES
    resources:
        mem_mb=growing(4000),
        runtime=growing(4 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: costs(wildcards).job,
    message:
        "Cost of a purification before classifier {wildcards.classifier}, {wildcards.dataset}, alone on the machine"
    script:
        "../scripts/measure_costs.py"


use rule measure_costs as measure_costs_of_board with:
    """Measure what the purification of an image costs each defense of another leaderboard"""
    output:
        "results/{dataset}/seed{seed}/purification_costs/{board}/{classifier}.csv",
    log:
        "logs/measure_costs_of_board/{dataset}/seed{seed}/{board}/{classifier}.log",
    params:
        recipe=lambda wildcards: costs(wildcards).job,
    message:
        "Cost of a purification, {wildcards.board}, before classifier {wildcards.classifier}, {wildcards.dataset}, alone on the machine"
