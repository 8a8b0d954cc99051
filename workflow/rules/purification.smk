# Purified clean images, for the accuracy without attack and for training on reconstructions. Purified
# adversarial images are made where a defence is attacked (adversarial.smk).


rule purify_images:
    """Purify the clean images of a split"""
    input:
        unpack(inputs("purified_images")),
    output:
        purified="results/{dataset}/seed{seed}/purified/clean/{defense}/{split}.h5",
    log:
        "logs/purify_images/{dataset}/seed{seed}/{defense}/{split}.log",
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


rule search_sweep:
    """Search clean images with several L and R at once"""
    input:
        unpack(inputs("clean_sweep")),
    output:
        searched="results/{dataset}/seed{seed}/sweeps/{defense}/clean/{split}.h5",
    log:
        "logs/search_sweep/{dataset}/seed{seed}/{defense}/{split}.log",
    priority: 5
    threads: config["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(24 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("clean_sweep"),
    message:
        "Sweep of {wildcards.defense} over L and R on the {wildcards.split} images of {wildcards.dataset}"
    script:
        "../scripts/search_sweep.py"


use rule search_sweep as search_sweep_black_box with:
    """Search black-box adversarial images with several L and R at once"""
    input:
        unpack(inputs("black_box_sweep")),
    output:
        searched="results/{dataset}/seed{seed}/sweeps/{defense}/black_box/{oracle}/{classifier}/{substitute}/{attack}.h5",
    log:
        "logs/search_sweep_black_box/{dataset}/seed{seed}/{defense}/{oracle}/{classifier}/{substitute}/{attack}.log",
    params:
        recipe=recipe("black_box_sweep"),
    message:
        "Sweep of {wildcards.defense} over L and R on {wildcards.attack} from substitute "
        "{wildcards.substitute} of {wildcards.classifier} ({wildcards.oracle}), {wildcards.dataset}"
