# Later purifiers beside the papers': the figures around the leaderboard `modern`, and the study of t*.


rule plot_evaluations:
    """Draw accuracy over evaluations, on fresh and on known draws"""
    input:
        lambda wildcards: modern("modern_evaluations").files,
    output:
        png=shown("results/figures/modern_evaluations.png"),
        pdf="results/figures/modern_evaluations.pdf",
        points="results/figures/modern_evaluations.csv",
    log:
        "logs/plot_evaluations/modern_evaluations.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: modern("modern_evaluations").job,
    message:
        "Draw accuracy over evaluations, on fresh and on known draws"
    script:
        "../scripts/plot_evaluations.py"


rule plot_costs:
    """Draw accuracy over the cost of a purification"""
    input:
        lambda wildcards: modern("modern_costs").files,
    output:
        png=shown("results/figures/modern_costs.png"),
        pdf="results/figures/modern_costs.pdf",
        points="results/figures/modern_costs.csv",
    log:
        "logs/plot_costs/modern_costs.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: modern("modern_costs").job,
    message:
        "Draw accuracy over the cost of a purification"
    script:
        "../scripts/plot_costs.py"


rule plot_draws:
    """Draw accuracy over the draws of an attack's look"""
    input:
        lambda wildcards: modern("modern_draws").files,
    output:
        png=shown("results/figures/modern_draws.png"),
        pdf="results/figures/modern_draws.pdf",
        points="results/figures/modern_draws.csv",
    log:
        "logs/plot_draws/modern_draws.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: modern("modern_draws").job,
    message:
        "Draw accuracy over the draws of an attack's look"
    script:
        "../scripts/plot_draws.py"


rule clean_by_each:
    """Clean the same attacked images by each of several defenses"""
    input:
        unpack(lambda wildcards: with_old_dataset(cleaned(wildcards))),
    output:
        "results/{dataset}/seed{seed}/cleaned/{classifier}/{attack}.h5",
    log:
        "logs/clean_by_each/{dataset}/seed{seed}/{classifier}/{attack}.log",
    threads: config["threads"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: cleaned(wildcards).job,
    message:
        "{wildcards.attack} on classifier {wildcards.classifier}, {wildcards.dataset}, cleaned by each defense"
    script:
        "../scripts/clean_by_each.py"


rule plot_cleaned_by_each:
    """Draw the same attacked images, cleaned by each defense"""
    input:
        lambda wildcards: modern("modern_pictures").files,
    output:
        png=shown("results/figures/modern_pictures.png"),
        pdf="results/figures/modern_pictures.pdf",
        points="results/figures/modern_pictures.csv",
    log:
        "logs/plot_cleaned_by_each/modern_pictures.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: modern("modern_pictures").job,
    message:
        "Draw the same attacked images, cleaned by each defense"
    script:
        "../scripts/plot_cleaned_by_each.py"


rule time_study:
    """Tabulate accuracy over the noise that a diffusion purifier adds, on validation images"""
    input:
        lambda wildcards: asked(time_table, CATALOGUE).files,
    output:
        table=shown("results/modern_time.csv"),
        markdown="results/modern_time.md",
    log:
        "logs/time_study/modern_time.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: asked(time_table, CATALOGUE).job,
    message:
        "Accuracy over the noise that a diffusion purifier adds, on validation images"
    script:
        "../scripts/time_study.py"
