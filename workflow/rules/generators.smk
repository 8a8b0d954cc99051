# Generative models. They are what later jobs wait for, so they start first. Nothing is drawn in a job that trains:
# Snakemake deletes all outputs of a job that fails, and a picture can fail.


# The file of weights is no input, as of a classifier.
rule adopt_generator:
    """Check a generator that was trained elsewhere, and take its weights as they are"""
    input:
        unpack(lambda wildcards: with_old_dataset(generator(wildcards))),
    output:
        network="results/{dataset}/seed{seed}/{folder}/{generator}.safetensors",
    log:
        "logs/adopt_generator/{dataset}/seed{seed}/{folder}/{generator}.log",
    wildcard_constraints:
        folder="|".join(FOLDERS),
        generator=adopted_names("generators"),
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=2),
        runtime=growing(30),
    params:
        recipe=lambda wildcards: generator(wildcards).job,
    message:
        "Generator {wildcards.generator} on {wildcards.dataset}: checked, trained elsewhere"
    script:
        "../scripts/adopt_generator.py"


ruleorder: adopt_generator > train_network
ruleorder: adopt_generator > train_wgan_gp
ruleorder: adopt_generator > train_diffusion
ruleorder: adopt_generator > train_gan


rule train_network:
    """Train a generative model"""
    input:
        unpack(lambda wildcards: with_old_dataset(generator(wildcards))),
    output:
        network="results/{dataset}/seed{seed}/{folder}/{generator}.safetensors",
        history="results/{dataset}/seed{seed}/{folder}/{generator}.history.csv",
    log:
        "logs/train_network/{dataset}/seed{seed}/{folder}/{generator}.log",
    wildcard_constraints:
        folder="ae_gans|bigans",
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, copies=3),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: generator(wildcards).job,
    message:
        "Training of {wildcards.generator} on {wildcards.dataset}"
    script:
        "../scripts/train_network.py"


use rule train_network as train_wgan_gp with:
    """Train a WGAN-GP, the generator of Defense-GAN"""
    log:
        "logs/train_wgan_gp/{dataset}/seed{seed}/{folder}/{generator}.log",
    wildcard_constraints:
        folder="generators",
    params:
        recipe=lambda wildcards: generator(wildcards).job,
        # Not an output: Snakemake deletes outputs before a job, and this is what a rerun resumes from.
        state="results/{dataset}/seed{seed}/{folder}/{generator}.state.safetensors",
        resume_digest=lambda wildcards: generator(wildcards).resume_digest,


use rule train_wgan_gp as train_diffusion with:
    """Train a diffusion model"""
    log:
        "logs/train_diffusion/{dataset}/seed{seed}/{folder}/{generator}.log",
    wildcard_constraints:
        folder="diffusions",


use rule train_network as train_gan with:
    """Train Cowboy's GAN, and keep snapshots of its training"""
    output:
        network="results/{dataset}/seed{seed}/{folder}/{generator}.safetensors",
        snapshots="results/{dataset}/seed{seed}/{folder}/{generator}.snapshots.safetensors",
        history="results/{dataset}/seed{seed}/{folder}/{generator}.history.csv",
    log:
        "logs/train_gan/{dataset}/seed{seed}/{folder}/{generator}.log",
    wildcard_constraints:
        folder="gans",


# Snapshots of a training are too large to be kept with its network. Where that is taken, a job of its own trains again for
# those who want them. (A data set's name does not say for which of its GANs: the constraint looks at the rest of the path.)
try:
    TAKEN_GANS = "|".join(map(re.escape, places_of_taken_gans()))
except ValueError as error:
    raise WorkflowError(str(error))
OF_TAKEN_GAN = rf"(?=({TAKEN_GANS})(\.safetensors|\.history\.csv)$)[^/]+" if TAKEN_GANS else "(?!)"
SNAPSHOTS_OF_IT = rf"(?=({TAKEN_GANS})\.snapshots\.safetensors$)[^/]+" if TAKEN_GANS else "(?!)"


use rule train_gan as take_gan with:
    """Take Cowboy's GAN, trained before"""
    output:
        network="results/{dataset}/seed{seed}/{folder}/{generator}.safetensors",
        history="results/{dataset}/seed{seed}/{folder}/{generator}.history.csv",
    log:
        "logs/take_gan/{dataset}/seed{seed}/{folder}/{generator}.log",
    wildcard_constraints:
        dataset=OF_TAKEN_GAN,
        folder="gans",


rule keep_snapshots:
    """Train Cowboy's GAN again, for snapshots of its training"""
    input:
        dataset=lambda wildcards: ancient(generator(wildcards).dataset.path),
        network="results/{dataset}/seed{seed}/{folder}/{generator}.safetensors",
    output:
        snapshots="results/{dataset}/seed{seed}/{folder}/{generator}.snapshots.safetensors",
    log:
        "logs/keep_snapshots/{dataset}/seed{seed}/{folder}/{generator}.log",
    wildcard_constraints:
        dataset=SNAPSHOTS_OF_IT,
        folder="gans",
    priority: 10
    threads: config["threads"]
    resources:
        mem_mb=memory(4000, copies=3),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: again(generator(wildcards)),
    message:
        "Training of {wildcards.generator} again, for its snapshots, on {wildcards.dataset}"
    script:
        "../scripts/keep_snapshots.py"


ruleorder: adopt_generator > take_gan > train_gan
ruleorder: keep_snapshots > train_gan


use rule train_network as train_defense with:
    """Train a defence"""
    input:
        unpack(lambda wildcards: with_old_dataset(learned(wildcards))),
    output:
        network="results/{dataset}/seed{seed}/{folder}/{defense}.safetensors",
        history="results/{dataset}/seed{seed}/{folder}/{defense}.history.csv",
    log:
        "logs/train_defense/{dataset}/seed{seed}/{folder}/{defense}.log",
    wildcard_constraints:
        folder="autoencoders|defenses",
    resources:
        mem_mb=memory(4000, copies=3),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=lambda wildcards: learned(wildcards).job,
    message:
        "Training of {wildcards.defense} on {wildcards.dataset}"


use rule train_defense as train_defense_for with:
    """Train a defence that learns from a classifier, or from its attacked images"""
    output:
        network="results/{dataset}/seed{seed}/{folder}/{defense}/{classifier}.safetensors",
        history="results/{dataset}/seed{seed}/{folder}/{defense}/{classifier}.history.csv",
    log:
        "logs/train_defense_for/{dataset}/seed{seed}/{folder}/{defense}/{classifier}.log",
    wildcard_constraints:
        folder="vaes|defenses",
    resources:
        mem_mb=memory(6000, copies=16),
        runtime=growing(12 * 60),
        gpu=GPUS,
    message:
        "Training of {wildcards.defense} for classifier {wildcards.classifier} on {wildcards.dataset}"


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
    priority: 5
    threads: config["threads"]
    resources:
        mem_mb=memory(6000, copies=16),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("end_to_end"),
        vae=lambda wildcards: told(end_to_end_networks(wildcards)[0].recipe),
        classifier=lambda wildcards: told(end_to_end_networks(wildcards)[1].recipe),
    message:
        "{wildcards.defense}: VAE and classifier {wildcards.classifier} together, on {wildcards.dataset}"
    script:
        "../scripts/train_end_to_end.py"
