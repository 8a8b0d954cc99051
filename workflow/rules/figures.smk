# Pictures.
EXAMPLES = [example.path for example in table4_examples(CATALOGUE)]


rule plot_examples:
    input:
        lambda wildcards: picture(wildcards).inputs,
    output:
        report(
            "results/{dataset}/seed{seed}/figures/examples/{classifier}/{attack}.png",
            caption="../report/examples.rst",
            category="Pictures",
            labels={
                "data set": "{dataset}",
                "attack": "{attack}",
                "classifier": "{classifier}",
            },
        ),
    log:
        "logs/plot_examples/{dataset}/seed{seed}/{classifier}/{attack}.log",
    benchmark:
        "logs/plot_examples/{dataset}/seed{seed}/{classifier}/{attack}.benchmark.tsv"
    group:
        "measurements"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: picture(wildcards).recipe,
    message:
        "Picture: {wildcards.attack} on {wildcards.classifier}, {wildcards.dataset}, purified"
    script:
        "../scripts/plot_examples.py"
