# Purified clean images, for the accuracy without attack and for training on reconstructions. Purified
# adversarial images are made where a defence is attacked (adversarial.smk).


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
        mem_mb=memory(3000, copies=4),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("purified_images"),
    message:
        "{wildcards.defense} purifies the {wildcards.split} images of {wildcards.dataset}"
    script:
        "../scripts/purify_images.py"
