# Cowboy: scores of the discriminator, the course of its training, figures, tables.


rule score_images:
    """Score clean and attacked images with the discriminator"""
    input:
        unpack(lambda wildcards: with_old_dataset(scored(wildcards))),
    output:
        "results/{dataset}/seed{seed}/scores/{defense}.csv",
    log:
        "logs/score_images/{dataset}/seed{seed}/{defense}.log",
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=2),
        runtime=growing(60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: scored(wildcards).job,
    message:
        "Discriminator of {wildcards.defense} on clean and attacked images, {wildcards.dataset}"
    script:
        "../scripts/score_images.py"


rule follow_training:
    """Clean and score the same images with a GAN at each snapshot of its training"""
    input:
        unpack(lambda wildcards: with_old_dataset(course(wildcards))),
    output:
        cleaning="results/{dataset}/seed{seed}/courses/{defense}.cleaning.csv",
        scores="results/{dataset}/seed{seed}/courses/{defense}.scores.csv",
    log:
        "logs/follow_training/{dataset}/seed{seed}/{defense}.log",
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=2),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: course(wildcards).job,
    message:
        "{wildcards.defense} with its GAN at each snapshot, {wildcards.dataset}"
    script:
        "../scripts/follow_training.py"


rule plot_toy:
    """Draw a classifier and a discriminator of two Gaussians (Cowboy, Figures 1 and 2)"""
    input:
        lambda wildcards: figure("cowboy_figure1").files,
    output:
        classifier_png=shown("results/cowboy/figure1.png"),
        classifier_pdf="results/cowboy/figure1.pdf",
        discriminator_png=shown("results/cowboy/figure2.png"),
        discriminator_pdf="results/cowboy/figure2.pdf",
        points="results/cowboy/figure2.csv",
    log:
        "logs/plot_toy/plot_toy.log",
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: figure("cowboy_figure1").job,
    message:
        "Cowboy, Figures 1 and 2: two Gaussians"
    script:
        "../scripts/plot_toy.py"


rule plot_scores:
    """Draw the discriminator's scores of real and attacked images (Cowboy, Figure 3)"""
    input:
        lambda wildcards: figure("cowboy_figure3").files,
    output:
        png=shown("results/cowboy/figure3.png"),
        pdf="results/cowboy/figure3.pdf",
        points="results/cowboy/figure3.csv",
    log:
        "logs/plot_scores/plot_scores.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("cowboy_figure3").job,
    message:
        "Cowboy, Figure 3: scores of the discriminator"
    script:
        "../scripts/plot_scores.py"


rule plot_low_scores:
    """Draw the validation images of lowest and highest score (Cowboy, Figure 4)"""
    input:
        lambda wildcards: figure("cowboy_figure4").files,
    output:
        png=shown("results/cowboy/figure4.png"),
        pdf="results/cowboy/figure4.pdf",
    log:
        "logs/plot_low_scores/plot_low_scores.log",
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("cowboy_figure4").job,
    message:
        "Cowboy, Figure 4: validation images of low score"
    script:
        "../scripts/plot_low_scores.py"


use rule plot_reconstructions as plot_cleaned with:
    """Draw attacked and cleaned images (Cowboy, Figure 5)"""
    input:
        lambda wildcards: figure("cowboy_figure5").files,
    output:
        png=shown("results/cowboy/figure5.png"),
        pdf="results/cowboy/figure5.pdf",
    log:
        "logs/plot_cleaned/figure5.log",
    params:
        recipe=lambda wildcards: figure("cowboy_figure5").job,
    message:
        "Cowboy, Figure 5: attacked and cleaned images"


rule plot_cleaning_over_training:
    """Draw accuracy after cleaning over the GAN's training (Cowboy, Figure 6)"""
    input:
        lambda wildcards: figure("cowboy_figure6").files,
    output:
        png=shown("results/cowboy/figure6.png"),
        pdf="results/cowboy/figure6.pdf",
        points="results/cowboy/figure6.csv",
    log:
        "logs/plot_cleaning_over_training/plot_cleaning_over_training.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("cowboy_figure6").job,
    message:
        "Cowboy, Figure 6: cleaning over the GAN's training"
    script:
        "../scripts/plot_cleaning_over_training.py"


rule plot_scores_over_training:
    """Draw scores over the GAN's training (Cowboy, Figure 7)"""
    input:
        lambda wildcards: figure("cowboy_figure7").files,
    output:
        png=shown("results/cowboy/figure7.png"),
        pdf="results/cowboy/figure7.pdf",
        points="results/cowboy/figure7.csv",
    log:
        "logs/plot_scores_over_training/plot_scores_over_training.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: figure("cowboy_figure7").job,
    message:
        "Cowboy, Figure 7: scores over the GAN's training"
    script:
        "../scripts/plot_scores_over_training.py"


rule mcnemar_table:
    """Test Cowboy with and without its discriminator on the same images (McNemar)"""
    input:
        lambda wildcards: asked(mcnemar_table, CATALOGUE).files,
    output:
        table=shown("results/cowboy/mcnemar.csv"),
        markdown="results/cowboy/mcnemar.md",
    log:
        "logs/mcnemar_table/mcnemar_table.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(mcnemar_table, CATALOGUE).job,
    message:
        "Cowboy with and without the discriminator, image by image"
    script:
        "../scripts/mcnemar_table.py"


rule cowboy_detection:
    """Tabulate detection by Cowboy's discriminator"""
    input:
        lambda wildcards: asked(detection_runs, CATALOGUE).files,
    output:
        table=shown("results/cowboy/detection.csv"),
        markdown="results/cowboy/detection.md",
    log:
        "logs/cowboy_detection/cowboy_detection.log",
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: asked(detection_runs, CATALOGUE).job,
    message:
        "Detection by Cowboy's discriminator"
    script:
        "../scripts/cowboy_detection.py"
