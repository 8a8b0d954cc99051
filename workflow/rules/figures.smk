# Pictures.


rule plot_examples:
    """Draw a few test images clean, attacked and purified"""
    input:
        lambda wildcards: picture(wildcards).files,
        own_files=lambda wildcards: own_files(picture(wildcards)),
    output:
        report(
            "results/{dataset}/seed{seed}/figures/examples/{classifier}/{attack}.png",
            caption="../report/examples.rst",
            category="Defense-GAN",
            subcategory="Pictures",
            labels={"result": "Table 4, examples", "shows": "{dataset}, {attack} on {classifier}"},
        ),
    log:
        "logs/plot_examples/{dataset}/seed{seed}/{classifier}/{attack}.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: picture(wildcards).job,
    message:
        "Picture: {wildcards.attack} on {wildcards.classifier}, {wildcards.dataset}, purified"
    script:
        "../scripts/plot_examples.py"


# Defense-GAN's figures. Each is written as PNG and PDF; what is a curve, also as CSV.


rule plot_accuracy_over_search:
    """Draw accuracy over L and over R (Defense-GAN, Figure 3)"""
    input:
        lambda wildcards: figure("figure3").files,
    output:
        png=shown("results/figures/figure3.png"),
        pdf="results/figures/figure3.pdf",
        points="results/figures/figure3.csv",
    log:
        "logs/plot_accuracy_over_search/figure3.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("figure3").job,
    message:
        "Figure 3: accuracy over L and R"
    script:
        "../scripts/plot_accuracy_over_search.py"


rule plot_roc:
    """Draw ROC curves of detection over L, R and epsilon (Defense-GAN, Figures 4 and 5)"""
    input:
        scores=lambda wildcards: figure(wildcards).files,
        paper="resources/papers/defense_gan.csv",
    output:
        png=shown("results/figures/{figure}.png"),
        pdf="results/figures/{figure}.pdf",
        points="results/figures/{figure}.csv",
    log:
        "logs/plot_roc/{figure}.log",
    wildcard_constraints:
        figure="figure4|figure5",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure(wildcards).job,
    message:
        "{wildcards.figure}: ROC over L, R and epsilon"
    script:
        "../scripts/plot_roc.py"


rule plot_reconstructions:
    """Draw reconstructions over L, R and epsilon (Defense-GAN, Figures 6 and 7)"""
    input:
        lambda wildcards: figure(wildcards).files,
    output:
        png=shown("results/figures/{figure}.png"),
        pdf="results/figures/{figure}.pdf",
    log:
        "logs/plot_reconstructions/{figure}.log",
    wildcard_constraints:
        figure="figure6|figure7",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure(wildcards).job,
    message:
        "{wildcards.figure}: reconstructions"
    script:
        "../scripts/plot_reconstructions.py"


rule plot_white_box_over_steps:
    """Draw white-box accuracy over L (Defense-GAN, Figure 8)"""
    input:
        measurements=lambda wildcards: figure("figure8").files,
        paper="resources/papers/defense_gan.csv",
    output:
        png=shown("results/figures/figure8.png"),
        pdf="results/figures/figure8.pdf",
        points="results/figures/figure8.csv",
    log:
        "logs/plot_white_box_over_steps/figure8.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("figure8").job,
    message:
        "Figure 8: white-box accuracy over L"
    script:
        "../scripts/plot_white_box_over_steps.py"


use rule plot_reconstructions as plot_defense_vae_reconstructions with:
    """Draw attacked and purified images (Defense-VAE, Figures 1 and 5)"""
    input:
        lambda wildcards: figure(f"defense_vae_{wildcards.figure}").files,
    output:
        png=shown("results/defense_vae/{figure}.png"),
        pdf="results/defense_vae/{figure}.pdf",
    log:
        "logs/plot_defense_vae_reconstructions/{figure}.log",
    wildcard_constraints:
        figure="figure1|figure5",
    params:
        recipe=lambda wildcards: figure(f"defense_vae_{wildcards.figure}").job,
    message:
        "Defense-VAE, {wildcards.figure}: reconstructions"


rule plot_finetuning:
    """Draw accuracy over the epochs of end-to-end training (Defense-VAE, Figure 4)"""
    input:
        lambda wildcards: figure("defense_vae_figure4").files,
    output:
        png=shown("results/defense_vae/figure4.png"),
        pdf="results/defense_vae/figure4.pdf",
        points="results/defense_vae/figure4.csv",
    log:
        "logs/plot_finetuning/figure4.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("defense_vae_figure4").job,
    message:
        "Defense-VAE, Figure 4: accuracy over the epochs of end-to-end training"
    script:
        "../scripts/plot_finetuning.py"


rule plot_accuracy_l2:
    """Draw accuracy over the l2 norm of attacks without a bound"""
    input:
        lambda wildcards: asked(accuracy_l2, CATALOGUE).files,
    output:
        png=shown("results/figures/accuracy_l2.png"),
        pdf="results/figures/accuracy_l2.pdf",
        points="results/figures/accuracy_l2.csv",
    log:
        "logs/plot_accuracy_l2/plot_accuracy_l2.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: asked(accuracy_l2, CATALOGUE).job,
    message:
        "Accuracy over the l2 norm of attacks without a bound"
    script:
        "../scripts/plot_accuracy_l2.py"
