# Tables: the papers' and the user's own; a paper's page; all papers together.


rule paper_table:
    """Write a table of accuracies: as printed, in long form, and as a page"""
    input:
        measurements=lambda wildcards: table(wildcards).files,
        compared=lambda wildcards: paths(compared(wildcards)),
        paper=printed_numbers,
    output:
        wide=shown("results/{table}.csv"),
        long="results/{table}.long.csv",
        markdown="results/{table}.md",
    log:
        "logs/paper_table/{table}.log",
    wildcard_constraints:
        table=places(*ACCURACY_FORMS),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: table(wildcards).comparing(compared(wildcards)),
        printed=lambda wildcards: table(wildcards).study.printed,
    message:
        "Table {wildcards.table}"
    script:
        "../scripts/paper_table.py"


rule detection:
    """Tabulate detection by the reconstruction error"""
    input:
        measurements=lambda wildcards: asked(detection_table, CATALOGUE).files,
        paper="resources/papers/defense_gan.csv",
    output:
        shown("results/detection.csv"),
    log:
        "logs/detection/detection.log",
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


rule time_table:
    """Write a table of times: as printed, in long form, and as a page"""
    input:
        timings=lambda wildcards: table(wildcards).files,
        paper=printed_numbers,
    output:
        wide=shown("results/{table}.csv"),
        long="results/{table}.long.csv",
        markdown="results/{table}.md",
    log:
        "logs/time_table/{table}.log",
    wildcard_constraints:
        table=places(*TIME_FORMS),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: table(wildcards).job,
    message:
        "Table {wildcards.table}"
    script:
        "../scripts/time_table.py"


rule paper_page:
    """Write the page of a paper: all tables and figures"""
    input:
        unpack(lambda wildcards: page(wildcards).inputs),
    output:
        "results/{paper}.md",
    log:
        "logs/paper_page/{paper}.log",
    wildcard_constraints:
        paper="|".join(PAPERS),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: page(wildcards).job,
    message:
        "All of {wildcards.paper} on one page"
    script:
        "../scripts/paper_page.py"


rule worst_case:
    """Tabulate accuracy under the best of several attackers, image by image"""
    input:
        lambda wildcards: asked(worst_case, CATALOGUE).files,
    output:
        table=shown("results/worst_case.csv"),
        markdown="results/worst_case.md",
    log:
        "logs/worst_case/worst_case.log",
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


rule leaderboard:
    """Tabulate what is left of each defense under attack, beside what its paper claims"""
    input:
        lambda wildcards: asked(leaderboard, CATALOGUE, wildcards.board).files,
        papers=[f"resources/papers/{key}.csv" for key in PAPERS],
    output:
        table=shown("results/{board}.csv"),
        times="results/{board}.times.csv",
        markdown="results/{board}.md",
        page="results/{board}.html",
    log:
        "logs/leaderboard/{board}.log",
    wildcard_constraints:
        board=places("leaderboard") or "(?!)",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: asked(leaderboard, CATALOGUE, wildcards.board).job,
    message:
        "What is left of each defense under attack, beside what its paper claims: {wildcards.board}"
    script:
        "../scripts/leaderboard.py"


rule comparison:
    """Compare all of our numbers with the printed ones, cell by cell"""
    input:
        lambda wildcards: asked(paper_comparison, CATALOGUE).files,
    output:
        cells=shown("results/comparison.csv"),
        markdown="results/comparison.md",
    log:
        "logs/comparison/comparison.log",
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
