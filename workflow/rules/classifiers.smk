# Classifiers: plain, adversarially trained, and trained on a purifier's reconstructions; and trained elsewhere.


# The file of weights is no input: another place makes nothing stale. The job finds it by the digest in its recipe.
rule adopt_classifier:
    """Check a classifier that was trained elsewhere, and take its weights as they are"""
    input:
        unpack(inputs("classifier", trained_for="plain")),
    output:
        network="results/{dataset}/seed{seed}/classifiers/plain/{classifier}.safetensors",
    log:
        "logs/adopt_classifier/{dataset}/seed{seed}/{classifier}.log",
    wildcard_constraints:
        classifier=adopted_names("classifiers"),
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=2),
        runtime=growing(30),
        gpu=GPUS,
    params:
        recipe=recipe("classifier", trained_for="plain"),
    message:
        "Classifier {wildcards.classifier} on {wildcards.dataset}: checked, trained elsewhere"
    script:
        "../scripts/adopt_classifier.py"


ruleorder: adopt_classifier > train_classifier


rule train_classifier:
    """Train a classifier: plainly, on attacked images, or on reconstructions"""
    input:
        unpack(inputs("classifier")),
    output:
        network="results/{dataset}/seed{seed}/classifiers/{trained_for}/{classifier}.safetensors",
        history="results/{dataset}/seed{seed}/classifiers/{trained_for}/{classifier}.history.csv",
    log:
        "logs/train_classifier/{dataset}/seed{seed}/{trained_for}/{classifier}.log",
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=3),
        runtime=growing(120),
        gpu=GPUS,
    params:
        recipe=recipe("classifier"),
    message:
        "Classifier {wildcards.classifier} ({wildcards.trained_for}) on {wildcards.dataset}"
    script:
        "../scripts/train_classifier.py"
