# The papers' tables.
TABLE1 = paper_table(CATALOGUE, "table1")
TABLE2 = paper_table(CATALOGUE, "table2")
TABLE4 = paper_table(CATALOGUE, "table4")
TABLE12 = paper_table(CATALOGUE, "table12")


rule table4:
    input:
        measurements=TABLE4.inputs,
        paper="resources/papers/defense_gan.csv",
    output:
        wide=report(
            "results/table4.csv",
            caption="../report/table4.rst",
            category="Tables",
            labels={"table": "Defense-GAN, Table 4"},
        ),
        long="results/table4.long.csv",
        markdown="results/table4.md",
    log:
        "logs/table4/table4.log",
    benchmark:
        "logs/table4/table4.benchmark.tsv"
    group:
        "measurements"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=TABLE4.recipe,
        notes=table_notes(CATALOGUE, "table4"),
    message:
        "Defense-GAN, Table 4"
    script:
        "../scripts/table4.py"


use rule table4 as table1 with:
    input:
        measurements=TABLE1.inputs,
        paper="resources/papers/defense_gan.csv",
    output:
        wide=report(
            "results/table1.csv",
            caption="../report/black_box.rst",
            category="Tables",
            labels={"table": "Defense-GAN, Table 1"},
        ),
        long="results/table1.long.csv",
        markdown="results/table1.md",
    log:
        "logs/table1/table1.log",
    benchmark:
        "logs/table1/table1.benchmark.tsv"
    params:
        recipe=TABLE1.recipe,
        notes=table_notes(CATALOGUE, "table1"),
    message:
        "Defense-GAN, Table 1"


use rule table4 as table2 with:
    input:
        measurements=TABLE2.inputs,
        paper="resources/papers/defense_gan.csv",
    output:
        wide=report(
            "results/table2.csv",
            caption="../report/black_box.rst",
            category="Tables",
            labels={"table": "Defense-GAN, Table 2"},
        ),
        long="results/table2.long.csv",
        markdown="results/table2.md",
    log:
        "logs/table2/table2.log",
    benchmark:
        "logs/table2/table2.benchmark.tsv"
    params:
        recipe=TABLE2.recipe,
        notes=table_notes(CATALOGUE, "table2"),
    message:
        "Defense-GAN, Table 2"


use rule table4 as table12 with:
    input:
        measurements=TABLE12.inputs,
        paper="resources/papers/defense_gan.csv",
    output:
        wide=report(
            "results/table12.csv",
            caption="../report/table12.rst",
            category="Tables",
            labels={"table": "Defense-GAN, Table 12"},
        ),
        long="results/table12.long.csv",
        markdown="results/table12.md",
    log:
        "logs/table12/table12.log",
    benchmark:
        "logs/table12/table12.benchmark.tsv"
    params:
        recipe=TABLE12.recipe,
        notes=table_notes(CATALOGUE, "table12"),
    message:
        "Defense-GAN, Table 12"
