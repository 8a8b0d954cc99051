# The papers' tables.
TABLE4 = table4(CATALOGUE)


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
        notes=table4_notes(CATALOGUE),
    message:
        "Defense-GAN, Table 4"
    script:
        "../scripts/table4.py"
