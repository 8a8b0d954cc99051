# The papers' tables.


TABLE1 = paper_table(CATALOGUE, "table1")
TABLE2 = paper_table(CATALOGUE, "table2")
TABLE4 = paper_table(CATALOGUE, "table4")
TABLE13 = timing_table(CATALOGUE)


rule paper_table:
    """Write a paper's table: as printed, in long form, and as a page"""
    input:
        measurements=lambda wildcards: table(wildcards).files,
        paper=lambda wildcards: f"resources/papers/{table(wildcards).paper}.csv",
    output:
        wide=shown("results/{table}.csv"),
        long="results/{table}.long.csv",
        markdown="results/{table}.md",
    log:
        "logs/paper_table/{table}.log",
    benchmark:
        "logs/paper_table/{table}.benchmark.tsv"
    wildcard_constraints:
        table="|".join(TABLE_PATHS),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: table(wildcards).job,
        printed=lambda wildcards: table(wildcards).printed,
    message:
        "Paper table {wildcards.table}"
    script:
        "../scripts/paper_table.py"


rule detection:
    """Tabulate detection by the reconstruction error"""
    input:
        measurements=lambda wildcards: asked(detection_table, CATALOGUE).files,
        paper="resources/papers/defense_gan.csv",
    output:
        shown("results/detection.csv", "detection of attacks by the reconstruction error"),
    log:
        "logs/detection/detection.log",
    benchmark:
        "logs/detection/detection.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(detection_table, CATALOGUE).job,
    message:
        "Detection by reconstruction error"
    script:
        "../scripts/detection.py"


rule table13:
    """Tabulate the time of a reconstruction (Defense-GAN, Table 13)"""
    input:
        timings=lambda wildcards: asked(timing_table, CATALOGUE).files,
        paper="resources/papers/defense_gan.csv",
    output:
        wide=shown("results/table13.csv"),
        long="results/table13.long.csv",
        markdown="results/table13.md",
    log:
        "logs/table13/table13.log",
    benchmark:
        "logs/table13/table13.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: timing_table(CATALOGUE).job,
    message:
        "Defense-GAN, Table 13"
    script:
        "../scripts/table13.py"


rule defense_gan_page:
    """Write the page of Defense-GAN: all tables and figures"""
    input:
        tables=of_page(defense_gan_page, "defense_gan", TABLE_CAPTIONS),
        figures=expand("results/figures/{figure}.png", figure=FIGURES),
        timing="results/table13.long.csv",
        detection="results/detection.csv",
    output:
        "results/defense_gan.md",
    log:
        "logs/defense_gan_page/defense_gan_page.log",
    benchmark:
        "logs/defense_gan_page/defense_gan_page.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: defense_gan_page(CATALOGUE).job,
    message:
        "The Defense-GAN paper on one page"
    script:
        "../scripts/defense_gan_page.py"


rule run_time_table:
    """Tabulate run times (Defense-VAE, Table 4)"""
    input:
        timings=lambda wildcards: asked(run_time_table, CATALOGUE).files,
        paper="resources/papers/defense_vae.csv",
    output:
        wide=shown("results/defense_vae/table4.csv"),
        long="results/defense_vae/table4.long.csv",
        markdown="results/defense_vae/table4.md",
    log:
        "logs/run_time_table/run_time_table.log",
    benchmark:
        "logs/run_time_table/run_time_table.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: run_time_table(CATALOGUE).job,
    message:
        "Defense-VAE, Table 4"
    script:
        "../scripts/run_time_table.py"


rule defense_vae_page:
    """Write the page of Defense-VAE: all tables and figures"""
    input:
        tables=of_page(defense_vae_page, "defense_vae", VAE_TABLE_PATHS),
        figures=expand("results/defense_vae/{figure}.png", figure=["figure1", "figure4", "figure5"]),
        timings=lambda wildcards: asked(run_time_table, CATALOGUE).files,
        paper="resources/papers/defense_vae.csv",
    output:
        "results/defense_vae.md",
    log:
        "logs/defense_vae_page/defense_vae_page.log",
    benchmark:
        "logs/defense_vae_page/defense_vae_page.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: defense_vae_page(CATALOGUE).job,
    message:
        "The Defense-VAE paper on one page"
    script:
        "../scripts/defense_vae_page.py"


rule worst_case:
    """Tabulate accuracy under the best of several attackers, image by image"""
    input:
        lambda wildcards: asked(worst_case, CATALOGUE).files,
    output:
        table=shown(
            "results/worst_case.csv", "accuracy under the best of several attacks, image by image"
        ),
        markdown="results/worst_case.md",
    log:
        "logs/worst_case/worst_case.log",
    benchmark:
        "logs/worst_case/worst_case.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: asked(worst_case, CATALOGUE).job,
    message:
        "The best of several attackers, image by image"
    script:
        "../scripts/worst_case.py"


rule comparison:
    """Compare all of our numbers with the printed ones, cell by cell"""
    input:
        lambda wildcards: asked(paper_comparison, CATALOGUE).files,
    output:
        cells=shown("results/comparison.csv", "the papers' numbers beside ours"),
        markdown="results/comparison.md",
    log:
        "logs/comparison/comparison.log",
    benchmark:
        "logs/comparison/comparison.benchmark.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(paper_comparison, CATALOGUE).job,
    message:
        "The papers' numbers and ours"
    script:
        "../scripts/comparison.py"
