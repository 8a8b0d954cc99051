# Adversarial sets: against bare classifiers, and against classifiers behind a purifier (with its output).


rule attack_classifier:
    input:
        unpack(inputs("adversarial")),
    output:
        adversarial="results/{dataset}/seed{seed}/adversarial/{training}/{classifier}/{attack}.h5",
    log:
        "logs/attack_classifier/{dataset}/seed{seed}/{training}/{classifier}/{attack}.log",
    benchmark:
        "logs/attack_classifier/{dataset}/seed{seed}/{training}/{classifier}/{attack}.benchmark.tsv"
    group:
        "attacks"
    threads: config["threads"]
    resources:
        mem_mb=memory(2500, copies=1),
        runtime=growing(120),
        gpu=GPUS,
    params:
        recipe=recipe("adversarial"),
    message:
        "{wildcards.attack} on classifier {wildcards.classifier} ({wildcards.training}), {wildcards.dataset}"
    script:
        "../scripts/attack_classifier.py"


rule attack_defense:
    input:
        unpack(inputs("attacked")),
    output:
        attacked="results/{dataset}/seed{seed}/attacked/{defense}/{classifier}/{attack}.h5",
    log:
        "logs/attack_defense/{dataset}/seed{seed}/{defense}/{classifier}/{attack}.log",
    benchmark:
        "logs/attack_defense/{dataset}/seed{seed}/{defense}/{classifier}/{attack}.benchmark.tsv"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=1),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("attacked"),
    message:
        "{wildcards.attack} on {wildcards.defense} and classifier {wildcards.classifier}, "
        "{wildcards.dataset}"
    script:
        "../scripts/attack_defense.py"
