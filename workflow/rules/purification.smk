# Purified sets: clean images (for clean accuracy and for training on reconstructions), gray-box sets.


rule purify_images:
    input:
        unpack(inputs("purified_images")),
    output:
        purified="results/{dataset}/seed{seed}/purified/clean/{defense}/{split}.h5",
    log:
        "logs/purify_images/{dataset}/seed{seed}/{defense}/{split}.log",
    benchmark:
        "logs/purify_images/{dataset}/seed{seed}/{defense}/{split}.benchmark.tsv"
    priority: 5
    threads: config["threads"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("purified_images"),
    message:
        "{wildcards.defense} purifies the {wildcards.split} images of {wildcards.dataset}"
    script:
        "../scripts/purify_images.py"


rule purify_adversarial:
    input:
        unpack(inputs("purified")),
    output:
        purified="results/{dataset}/seed{seed}/purified/gray_box/{defense}/{classifier}/{attack}.h5",
    log:
        "logs/purify_adversarial/{dataset}/seed{seed}/{defense}/{classifier}/{attack}.log",
    benchmark:
        "logs/purify_adversarial/{dataset}/seed{seed}/{defense}/{classifier}/{attack}.benchmark.tsv"
    threads: config["threads"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(4 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("purified"),
    message:
        "{wildcards.defense} purifies {wildcards.attack} on {wildcards.classifier}, {wildcards.dataset}"
    script:
        "../scripts/purify_adversarial.py"
