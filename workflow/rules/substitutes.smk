# The black box: the attacker's substitutes, adversarial images against them, and those purified.


rule train_substitute:
    """Train the substitute of a black-box attacker on an oracle's labels"""
    input:
        unpack(inputs("substitute")),
    output:
        network="results/{dataset}/seed{seed}/substitutes/{oracle}/{classifier}/{substitute}.safetensors",
        history="results/{dataset}/seed{seed}/substitutes/{oracle}/{classifier}/{substitute}.history.csv",
    log:
        "logs/train_substitute/{dataset}/seed{seed}/{oracle}/{classifier}/{substitute}.log",
    threads: config["threads"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(12 * 60),
        gpu=GPUS,
    params:
        recipe=recipe("substitute"),
    message:
        "Substitute {wildcards.substitute} of {wildcards.classifier} ({wildcards.oracle}), "
        "{wildcards.dataset}"
    script:
        "../scripts/train_substitute.py"


use rule attack_classifier as attack_substitute with:
    """Attack a substitute, to transfer the images to its oracle"""
    input:
        unpack(inputs("black_box")),
    output:
        adversarial="results/{dataset}/seed{seed}/black_box/{oracle}/{classifier}/{substitute}/{attack}.h5",
    log:
        "logs/attack_substitute/{dataset}/seed{seed}/{oracle}/{classifier}/{substitute}/{attack}.log",
    params:
        recipe=recipe("black_box"),
    message:
        "{wildcards.attack} on substitute {wildcards.substitute} of {wildcards.classifier} "
        "({wildcards.oracle}), {wildcards.dataset}"


use rule purify_images as purify_black_box with:
    """Purify black-box adversarial images"""
    input:
        unpack(inputs("purified_black_box")),
    output:
        purified="results/{dataset}/seed{seed}/purified/black_box/{defense}/{oracle}/{classifier}/{substitute}/{attack}.h5",
    log:
        "logs/purify_black_box/{dataset}/seed{seed}/{defense}/{oracle}/{classifier}/{substitute}/{attack}.log",
    params:
        recipe=recipe("purified_black_box"),
    message:
        "{wildcards.defense} purifies {wildcards.attack} from substitute {wildcards.substitute} of "
        "{wildcards.classifier} ({wildcards.oracle}), {wildcards.dataset}"
