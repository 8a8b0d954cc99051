# Later purifiers beside the papers': the figures around the leaderboard `modern`, and the study of t*.


rule plot_modern:
    """Draw accuracy around the leaderboard of later purifiers: over evaluations, over costs, over draws"""
    input:
        lambda wildcards: modern(wildcards.figure).files,
    output:
        png=shown("results/figures/{figure}.png"),
        pdf="results/figures/{figure}.pdf",
        points="results/figures/{figure}.csv",
    log:
        "logs/plot_modern/{figure}.log",
    wildcard_constraints:
        figure="modern_evaluations|modern_costs|modern_draws",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: modern(wildcards.figure).job,
    message:
        "Draw the figure {wildcards.figure}"
    script:
        "../scripts/plot_modern.py"


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
