# The page of a run.


rule results_page:
    """Write one page of all results that lie there"""
    input:
        lambda wildcards: on_the_page()[1],
    output:
        "results/index.html",
    log:
        "logs/results_page/results_page.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: on_the_page()[0].job,
    message:
        "All results that lie there, on one page"
    script:
        "../scripts/results_page.py"
