# Quality of generators as numbers, and the accuracy behind the defences that have them.


rule measure_generators:
    """Measure the quality of a run's generators"""
    input:
        unpack(lambda wildcards: with_old_dataset(judged(wildcards))),
    output:
        "results/{dataset}/seed{seed}/measurements/generator_quality.csv",
    log:
        "logs/measure_generators/{dataset}/seed{seed}.log",
    threads: 1
    resources:
        mem_mb=memory(2500, copies=1),
        runtime=growing(60),
    params:
        recipe=lambda wildcards: judged(wildcards).job,
    message:
        "Quality of generators, {wildcards.dataset}"
    script:
        "../scripts/measure_generators.py"


rule generator_quality_table:
    """Tabulate the quality of generators and the accuracy behind their defenses"""
    input:
        lambda wildcards: asked(quality_file, CATALOGUE).files,
    output:
        table=shown("results/generator_quality.csv"),
        markdown="results/generator_quality.md",
    log:
        "logs/generator_quality_table/generator_quality_table.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(quality_file, CATALOGUE).job,
    message:
        "Quality of generators, and accuracies behind their defenses"
    script:
        "../scripts/generator_quality_table.py"


rule plot_generator_quality:
    """Draw accuracy over the quality of the generator"""
    input:
        lambda wildcards: asked(quality_figure, CATALOGUE).files,
    output:
        png=shown("results/figures/generator_quality.png"),
        pdf="results/figures/generator_quality.pdf",
        points="results/figures/generator_quality.csv",
    log:
        "logs/plot_generator_quality/plot_generator_quality.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(quality_figure, CATALOGUE).job,
    message:
        "Accuracy over the quality of the generator"
    script:
        "../scripts/plot_generator_quality.py"
