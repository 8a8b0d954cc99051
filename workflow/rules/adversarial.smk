# Adversarial sets: against bare classifiers, and against classifiers behind a purifier (with its output).


rule attack_classifier:
    """Attack a bare classifier's test images"""
    input:
        unpack(inputs("attacked_classifier")),
    output:
        adversarial="results/{dataset}/seed{seed}/adversarial/{trained_for}/{classifier}/{attack}.h5",
    log:
        "logs/attack_classifier/{dataset}/seed{seed}/{trained_for}/{classifier}/{attack}.log",
    threads: config["threads"]
    resources:
        mem_mb=growing(2500),
        runtime=growing(120),
        gpu=GPUS,
    params:
        recipe=recipe("attacked_classifier"),
    message:
        "{wildcards.attack} on classifier {wildcards.classifier} ({wildcards.trained_for}), {wildcards.dataset}"
    script:
        "../scripts/attack_classifier.py"


use rule attack_classifier as attack_validation with:
    """Attack a bare classifier's validation images, for thresholds of detectors"""
    input:
        unpack(inputs("attacked_classifier", split="validation")),
    output:
        adversarial="results/{dataset}/seed{seed}/adversarial_validation/{trained_for}/{classifier}/{attack}.h5",
    log:
        "logs/attack_validation/{dataset}/seed{seed}/{trained_for}/{classifier}/{attack}.log",
    params:
        recipe=recipe("attacked_classifier", split="validation"),
    message:
        "{wildcards.attack} on classifier {wildcards.classifier} ({wildcards.trained_for}), validation "
        "images of {wildcards.dataset}"


rule attack_defense:
    """Attack a defense and purify the attacked images, in each threat model"""
    input:
        unpack(inputs("attacked_defense")),
    output:
        attacked="results/{dataset}/seed{seed}/attacked/{defense}/{classifier}/{attack}.h5",
    log:
        "logs/attack_defense/{dataset}/seed{seed}/{defense}/{classifier}/{attack}.log",
    threads: config["threads"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("attacked_defense"),
    message:
        "{wildcards.attack} on {wildcards.defense} and classifier {wildcards.classifier}, "
        "{wildcards.dataset}"
    script:
        "../scripts/attack_defense.py"


rule attack_adaptively:
    """Attack a defense by a cascade of attacks, each on what those before have left"""
    input:
        unpack(inputs("cascade")),
    output:
        attacked="results/{dataset}/seed{seed}/adaptive/{cascade}/{defense}/{classifier}.h5",
        costs="results/{dataset}/seed{seed}/adaptive/{cascade}/{defense}/{classifier}.costs.csv",
    log:
        "logs/attack_adaptively/{dataset}/seed{seed}/{cascade}/{defense}/{classifier}.log",
    threads: config["threads"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("cascade"),
        # Not an output: Snakemake deletes outputs before a job, and this is what a rerun resumes from.
        state="results/{dataset}/seed{seed}/adaptive/{cascade}/{defense}/{classifier}.state.safetensors",
    message:
        "Cascade {wildcards.cascade} on {wildcards.defense} and classifier {wildcards.classifier}, "
        "{wildcards.dataset}"
    script:
        "../scripts/attack_adaptively.py"


use rule attack_adaptively as attack_known_draws with:
    """Attack a randomised defense by a cascade, with draws that the attacker knows"""
    input:
        unpack(inputs("cascade", known_draw=True)),
    output:
        attacked="results/{dataset}/seed{seed}/adaptive_fixed/{cascade}/{defense}/{classifier}.h5",
        costs="results/{dataset}/seed{seed}/adaptive_fixed/{cascade}/{defense}/{classifier}.costs.csv",
    log:
        "logs/attack_known_draws/{dataset}/seed{seed}/{cascade}/{defense}/{classifier}.log",
    params:
        recipe=recipe("cascade", known_draw=True),
        state="results/{dataset}/seed{seed}/adaptive_fixed/{cascade}/{defense}/{classifier}.state.safetensors",
    message:
        "Cascade {wildcards.cascade} on {wildcards.defense}, known draws, and classifier "
        "{wildcards.classifier}, {wildcards.dataset}"


rule craft_copies:
    """Attack all training images, for a Defense-VAE to learn from"""
    input:
        unpack(inputs("copies")),
    output:
        copies="results/{dataset}/seed{seed}/copies/{classifier}/{attack}.h5",
    log:
        "logs/craft_copies/{dataset}/seed{seed}/{classifier}/{attack}.log",
    threads: config["threads"]
    resources:
        mem_mb=growing(2500),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("copies"),
    message:
        "Copies of {wildcards.dataset}'s training images: {wildcards.attack} on {wildcards.classifier}"
    script:
        "../scripts/craft_copies.py"
