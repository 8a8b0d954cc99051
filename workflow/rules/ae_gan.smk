# AE-GAN+rs: figures, accuracy over cost, the inference rule.


rule plot_detection:
    """Draw an AE-GAN+rs figure of detection by the error of one pass"""
    input:
        files=lambda wildcards: figure(f"ae_gan_figure{wildcards.number}").files,
        paper="resources/papers/ae_gan.csv",
    output:
        png=shown("results/ae_gan/figure{number}.png"),
        pdf="results/ae_gan/figure{number}.pdf",
        points="results/ae_gan/figure{number}.csv",
    log:
        "logs/plot_detection/figure{number}.log",
    wildcard_constraints:
        number="3|6|7|8",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: figure(f"ae_gan_figure{wildcards.number}").job,
    message:
        "AE-GAN+rs, Figure {wildcards.number}: detection by the error of one pass"
    script:
        "../scripts/plot_detection.py"


rule plot_samples:
    """Draw samples of the BiGAN (AE-GAN+rs, Figure 4)"""
    input:
        lambda wildcards: figure("ae_gan_figure4").files,
    output:
        png=shown("results/ae_gan/figure4.png"),
        pdf="results/ae_gan/figure4.pdf",
    log:
        "logs/plot_samples/plot_samples.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("ae_gan_figure4").job,
    message:
        "AE-GAN+rs, Figure 4: samples of the BiGAN"
    script:
        "../scripts/plot_samples.py"


use rule plot_reconstructions as plot_ae_gan_reconstructions with:
    """Draw corrupted or attacked images and their reconstructions (AE-GAN+rs)"""
    input:
        lambda wildcards: figure(f"ae_gan_figure{wildcards.number}").files,
    output:
        png=shown("results/ae_gan/figure{number}.png"),
        pdf="results/ae_gan/figure{number}.pdf",
    log:
        "logs/plot_ae_gan_reconstructions/figure{number}.log",
    wildcard_constraints:
        number="5|9|10",
    params:
        recipe=lambda wildcards: figure(f"ae_gan_figure{wildcards.number}").job,
    message:
        "AE-GAN+rs, Figure {wildcards.number}: purified images"


rule plot_cost_accuracy:
    """Draw robust accuracy over generator evaluations per image"""
    input:
        lambda wildcards: asked(cost_figure, CATALOGUE).files,
    output:
        png=shown("results/figures/cost_accuracy.png"),
        pdf="results/figures/cost_accuracy.pdf",
        points="results/figures/cost_accuracy.csv",
    log:
        "logs/plot_cost_accuracy/plot_cost_accuracy.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(cost_figure, CATALOGUE).job,
    message:
        "Robust accuracy over generator evaluations"
    script:
        "../scripts/plot_cost_accuracy.py"


rule measure_inference_rule:
    """Measure what the inference rule searches, costs and saves"""
    input:
        unpack(lambda wildcards: with_old_dataset(rule_of(wildcards))),
    output:
        "results/{dataset}/seed{seed}/inference_rules/{defense}.csv",
    log:
        "logs/measure_inference_rule/{dataset}/seed{seed}/{defense}.log",
    threads: ALL_CORES
    resources:
        mem_mb=growing(4000),
        runtime=growing(4 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: rule_of(wildcards).job,
        measured=lambda wildcards: told(rule_of(wildcards).measured),
    message:
        "What {wildcards.defense} searches and saves, {wildcards.dataset}, alone on the machine"
    script:
        "../scripts/measure_inference_rule.py"


rule inference_rule_table:
    """Tabulate the inference rule's cost and savings"""
    input:
        lambda wildcards: asked(rule_table, CATALOGUE).files,
    output:
        table=shown("results/ae_gan/rule.csv"),
        markdown="results/ae_gan/rule.md",
    log:
        "logs/inference_rule_table/inference_rule_table.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(rule_table, CATALOGUE).job,
    message:
        "AE-GAN+rs, the inference rule"
    script:
        "../scripts/inference_rule_table.py"
