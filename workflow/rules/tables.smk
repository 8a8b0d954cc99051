# The papers' tables.


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
        measurements=[run.path for run in detections(CATALOGUE)],
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
        recipe=[run.digest for run in detections(CATALOGUE)],
    message:
        "Detection by reconstruction error"
    script:
        "../scripts/detection.py"
