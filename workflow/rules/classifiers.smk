# Classifiers: plain, adversarially trained, and trained on a purifier's reconstructions.


rule train_classifier:
    """Train a classifier: plainly, on attacked images, or on reconstructions"""
    input:
        unpack(inputs("classifier")),
    output:
        network="results/{dataset}/seed{seed}/classifiers/{training}/{classifier}.safetensors",
        history="results/{dataset}/seed{seed}/classifiers/{training}/{classifier}.history.csv",
    log:
        "logs/train_classifier/{dataset}/seed{seed}/{training}/{classifier}.log",
    benchmark:
        "logs/train_classifier/{dataset}/seed{seed}/{training}/{classifier}.benchmark.tsv"
    threads: config["threads"]
    resources:
        mem_mb=memory(3000, copies=3),
        runtime=growing(120),
        gpu=GPUS,
    params:
        recipe=recipe("classifier"),
    message:
        "Classifier {wildcards.classifier} ({wildcards.training}) on {wildcards.dataset}"
    script:
        "../scripts/train_classifier.py"
