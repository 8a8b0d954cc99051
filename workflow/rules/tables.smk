# The papers' tables.


TABLE1 = paper_table(CATALOGUE, "table1")
TABLE2 = paper_table(CATALOGUE, "table2")
TABLE4 = paper_table(CATALOGUE, "table4")
TABLE13 = timing_table(CATALOGUE)


rule paper_table:
    input:
        measurements=lambda wildcards: paper_table(CATALOGUE, wildcards.table).inputs,
        paper="resources/papers/defense_gan.csv",
    output:
        wide=report(
            "results/{table}.csv",
            caption="../report/paper_table.rst",
            category="Tables",
            labels={"table": "Defense-GAN, {table}"},
        ),
        long="results/{table}.long.csv",
        markdown="results/{table}.md",
    log:
        "logs/paper_table/{table}.log",
    benchmark:
        "logs/paper_table/{table}.benchmark.tsv"
    wildcard_constraints:
        table="|".join(PAPER_TABLES),
    group:
        "measurements"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: paper_table(CATALOGUE, wildcards.table).recipe,
        notes=lambda wildcards: table_notes(CATALOGUE, wildcards.table),
    message:
        "Defense-GAN, {wildcards.table}"
    script:
        "../scripts/paper_table.py"


rule detection:
    input:
        measurements=lambda wildcards: [run.path for run in detections(CATALOGUE)],
        paper="resources/papers/defense_gan.csv",
    output:
        report(
            "results/detection.csv",
            caption="../report/detection.rst",
            category="Tables",
            labels={"table": "Detection"},
        ),
    log:
        "logs/detection/detection.log",
    benchmark:
        "logs/detection/detection.benchmark.tsv"
    group:
        "measurements"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: [run.digest for run in detections(CATALOGUE)],
    message:
        "Detection by reconstruction error"
    script:
        "../scripts/detection.py"


rule table13:
    input:
        timings=lambda wildcards: timing_table(CATALOGUE).inputs,
        paper="resources/papers/defense_gan.csv",
    output:
        wide=report(
            "results/table13.csv",
            caption="../report/table13.rst",
            category="Tables",
            labels={"table": "Defense-GAN, Table 13"},
        ),
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
        recipe=lambda wildcards: timing_table(CATALOGUE).recipe,
        notes=lambda wildcards: timing_notes(CATALOGUE),
    message:
        "Defense-GAN, Table 13"
    script:
        "../scripts/table13.py"


# The paper on one page.


rule defense_gan_page:
    input:
        tables=expand("results/{table}.long.csv", table=PAPER_TABLES),
        figures=expand("results/figures/{figure}.png", figure=FIGURES),
        timing="results/table13.long.csv",
        detection="results/detection.csv",
    output:
        "results/defense_gan.md",
    log:
        "logs/defense_gan_page/defense_gan_page.log",
    benchmark:
        "logs/defense_gan_page/defense_gan_page.benchmark.tsv"
    group:
        "measurements"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        page=lambda wildcards: vars(defense_gan_page(CATALOGUE)),
    message:
        "The Defense-GAN paper on one page"
    script:
        "../scripts/defense_gan_page.py"
