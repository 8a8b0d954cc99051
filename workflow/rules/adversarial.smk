# Adversarial sets: against bare classifiers, and against classifiers behind a purifier.


rule attack_classifier:
    input:
        unpack(inputs("adversarial", threat_model="classifier")),
    output:
        adversarial="results/{dataset}/seed{seed}/adversarial/classifier/{owner}/{classifier}/{attack}.h5",
    log:
        "logs/attack_classifier/{dataset}/seed{seed}/{owner}/{classifier}/{attack}.log",
    benchmark:
        "logs/attack_classifier/{dataset}/seed{seed}/{owner}/{classifier}/{attack}.benchmark.tsv"
    threads: config["threads"]
    resources:
        mem_mb=growing(2500),
        runtime=growing(120),
    params:
        recipe=recipe("adversarial", threat_model="classifier"),
    message:
        "{wildcards.attack} on classifier {wildcards.classifier} ({wildcards.owner}), {wildcards.dataset}"
    script:
        "../scripts/attack_classifier.py"


rule attack_defense:
    input:
        unpack(inputs("adversarial")),
    output:
        adversarial="results/{dataset}/seed{seed}/adversarial/{threat_model}/{owner}/{classifier}/{attack}.h5",
        purified="results/{dataset}/seed{seed}/purified/{threat_model}/{owner}/{classifier}/{attack}.h5",
    log:
        "logs/attack_defense/{dataset}/seed{seed}/{threat_model}/{owner}/{classifier}/{attack}.log",
    benchmark:
        "logs/attack_defense/{dataset}/seed{seed}/{threat_model}/{owner}/{classifier}/{attack}.benchmark.tsv"
    threads: config["threads"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("adversarial"),
    message:
        "{wildcards.attack} ({wildcards.threat_model}) on {wildcards.owner} and classifier "
        "{wildcards.classifier}, {wildcards.dataset}"
    script:
        "../scripts/attack_defense.py"
