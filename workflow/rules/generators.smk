# Generative models. They are what later jobs wait for, so they start first. Nothing is drawn in a job that trains:
# Snakemake deletes all outputs of a job that fails, and a picture can fail.


# The file of weights is no input, as of a classifier.
rule adopt_generator:
    """Check a generator that was trained elsewhere, and take its weights as they are"""
    input:
        unpack(lambda wildcards: with_old_dataset(adopted(wildcards))),
    output:
        network="results/{dataset}/seed{seed}/{folder}/{generator}.safetensors",
    log:
        "logs/adopt_generator/{dataset}/seed{seed}/{folder}/{generator}.log",
    benchmark:
        "logs/adopt_generator/{dataset}/seed{seed}/{folder}/{generator}.benchmark.tsv"
    wildcard_constraints:
        folder="|".join(FOLDERS),
        generator=adopted_names("generators"),
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=2),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: adopted(wildcards).job,
    message:
        "Generator {wildcards.generator} on {wildcards.dataset}: checked, trained elsewhere"
    script:
        "../scripts/adopt_generator.py"


ruleorder: adopt_generator > train_wgan_gp
ruleorder: adopt_generator > train_ae_gan
ruleorder: adopt_generator > train_bigan
ruleorder: adopt_generator > train_gan


rule train_wgan_gp:
    """Train a WGAN-GP, the generator of Defense-GAN"""
    input:
        unpack(inputs("generator", kind="wgan_gp")),
    output:
        network="results/{dataset}/seed{seed}/generators/{generator}.safetensors",
        history="results/{dataset}/seed{seed}/generators/{generator}.history.csv",
    log:
        "logs/train_wgan_gp/{dataset}/seed{seed}/{generator}.log",
    benchmark:
        "logs/train_wgan_gp/{dataset}/seed{seed}/{generator}.benchmark.tsv"
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, copies=3),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("generator", kind="wgan_gp"),
        # Not an output: Snakemake deletes outputs before a job, and this is what a rerun resumes from.
        state="results/{dataset}/seed{seed}/generators/{generator}.state.safetensors",
        resume_digest=lambda wildcards: artifact("generator", wildcards).resume_digest,
    message:
        "WGAN-GP {wildcards.generator} on {wildcards.dataset}"
    script:
        "../scripts/train_wgan_gp.py"


rule train_ae_gan:
    """Train an AE-GAN"""
    input:
        unpack(inputs("generator", kind="ae_gan")),
    output:
        network="results/{dataset}/seed{seed}/ae_gans/{generator}.safetensors",
        history="results/{dataset}/seed{seed}/ae_gans/{generator}.history.csv",
    log:
        "logs/train_ae_gan/{dataset}/seed{seed}/{generator}.log",
    benchmark:
        "logs/train_ae_gan/{dataset}/seed{seed}/{generator}.benchmark.tsv"
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, copies=3),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("generator", kind="ae_gan"),
    message:
        "AE-GAN {wildcards.generator} on {wildcards.dataset}"
    script:
        "../scripts/train_ae_gan.py"


rule train_bigan:
    """Train a BiGAN"""
    input:
        unpack(inputs("generator", kind="bigan")),
    output:
        network="results/{dataset}/seed{seed}/bigans/{generator}.safetensors",
        history="results/{dataset}/seed{seed}/bigans/{generator}.history.csv",
    log:
        "logs/train_bigan/{dataset}/seed{seed}/{generator}.log",
    benchmark:
        "logs/train_bigan/{dataset}/seed{seed}/{generator}.benchmark.tsv"
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, copies=3),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("generator", kind="bigan"),
    message:
        "BiGAN {wildcards.generator} on {wildcards.dataset}"
    script:
        "../scripts/train_bigan.py"


rule train_gan:
    """Train Cowboy's GAN, and keep snapshots of its training"""
    input:
        unpack(inputs("generator", kind="gan")),
    output:
        network="results/{dataset}/seed{seed}/gans/{generator}.safetensors",
        snapshots="results/{dataset}/seed{seed}/gans/{generator}.snapshots.safetensors",
        history="results/{dataset}/seed{seed}/gans/{generator}.history.csv",
    log:
        "logs/train_gan/{dataset}/seed{seed}/{generator}.log",
    benchmark:
        "logs/train_gan/{dataset}/seed{seed}/{generator}.benchmark.tsv"
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, copies=3),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("generator", kind="gan"),
    message:
        "GAN {wildcards.generator} on {wildcards.dataset}"
    script:
        "../scripts/train_gan.py"


rule plot_generator_samples:
    """Draw samples of a trained generator"""
    input:
        network="results/{dataset}/seed{seed}/{folder}/{generator}.safetensors",
    output:
        report(
            "results/{dataset}/seed{seed}/{folder}/{generator}.samples.png",
            caption="../report/samples.rst",
            category="Generators",
            labels={"generator": "{generator}", "shows": "samples, {dataset}, seed {seed}"},
        ),
    log:
        "logs/plot_generator_samples/{dataset}/seed{seed}/{folder}/{generator}.log",
    benchmark:
        "logs/plot_generator_samples/{dataset}/seed{seed}/{folder}/{generator}.benchmark.tsv"
    wildcard_constraints:
        folder="|".join(PICTURED),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: picture_job(wildcards),
    message:
        "Samples of {wildcards.generator} on {wildcards.dataset}"
    script:
        "../scripts/plot_generator_samples.py"


rule plot_generator_curve:
    """Draw the loss curve of a generator's training"""
    input:
        history="results/{dataset}/seed{seed}/{folder}/{generator}.history.csv",
    output:
        report(
            "results/{dataset}/seed{seed}/{folder}/{generator}.curve.png",
            caption="../report/curve.rst",
            category="Generators",
            labels={"generator": "{generator}", "shows": "loss curve, {dataset}, seed {seed}"},
        ),
    log:
        "logs/plot_generator_curve/{dataset}/seed{seed}/{folder}/{generator}.log",
    benchmark:
        "logs/plot_generator_curve/{dataset}/seed{seed}/{folder}/{generator}.benchmark.tsv"
    wildcard_constraints:
        folder="|".join(PICTURED),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        recipe=lambda wildcards: picture_job(wildcards),
    message:
        "Loss curve of {wildcards.generator} on {wildcards.dataset}"
    script:
        "../scripts/plot_generator_curve.py"


rule train_autoencoder:
    """Train MagNet's autoencoder"""
    input:
        unpack(inputs("autoencoder")),
    output:
        network="results/{dataset}/seed{seed}/autoencoders/{defense}.safetensors",
        history="results/{dataset}/seed{seed}/autoencoders/{defense}.history.csv",
    log:
        "logs/train_autoencoder/{dataset}/seed{seed}/{defense}.log",
    benchmark:
        "logs/train_autoencoder/{dataset}/seed{seed}/{defense}.benchmark.tsv"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=3),
        runtime=growing(120),
        gpu=GPUS,
    params:
        recipe=recipe("autoencoder"),
    message:
        "Autoencoder of {wildcards.defense} on {wildcards.dataset}"
    script:
        "../scripts/train_autoencoder.py"


rule train_defense_vae:
    """Train the VAE of a Defense-VAE on attacked images of one classifier"""
    input:
        unpack(inputs("vae")),
    output:
        network="results/{dataset}/seed{seed}/vaes/{defense}/{classifier}.safetensors",
        history="results/{dataset}/seed{seed}/vaes/{defense}/{classifier}.history.csv",
    log:
        "logs/train_defense_vae/{dataset}/seed{seed}/{defense}/{classifier}.log",
    benchmark:
        "logs/train_defense_vae/{dataset}/seed{seed}/{defense}/{classifier}.benchmark.tsv"
    priority: 5
    threads: config["threads"]
    resources:
        mem_mb=memory(6000, copies=16),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("vae"),
    message:
        "VAE of {wildcards.defense} for classifier {wildcards.classifier} on {wildcards.dataset}"
    script:
        "../scripts/train_defense_vae.py"


rule train_end_to_end:
    """Train a VAE and the classifier behind it together"""
    input:
        unpack(inputs("end_to_end")),
    output:
        vae="results/{dataset}/seed{seed}/end_to_end/{defense}/{classifier}.vae.safetensors",
        classifier="results/{dataset}/seed{seed}/end_to_end/{defense}/{classifier}.classifier.safetensors",
        history="results/{dataset}/seed{seed}/end_to_end/{defense}/{classifier}.history.csv",
    log:
        "logs/train_end_to_end/{dataset}/seed{seed}/{defense}/{classifier}.log",
    benchmark:
        "logs/train_end_to_end/{dataset}/seed{seed}/{defense}/{classifier}.benchmark.tsv"
    priority: 5
    threads: config["threads"]
    resources:
        mem_mb=memory(6000, copies=16),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("end_to_end"),
        vae=lambda wildcards: end_to_end_networks(wildcards)[0].recipe,
        classifier=lambda wildcards: end_to_end_networks(wildcards)[1].recipe,
    message:
        "{wildcards.defense}: VAE and classifier {wildcards.classifier} together, on {wildcards.dataset}"
    script:
        "../scripts/train_end_to_end.py"
