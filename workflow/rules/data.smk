# Images and their splits.


rule prepare_dataset:
    """Read a data set, scale its images to [0, 1], and split it"""
    input:
        unpack(inputs("dataset")),
    output:
        "results/{dataset}/dataset.h5",
    log:
        "logs/prepare_dataset/{dataset}.log",
    threads: 1
    resources:
        mem_mb=memory(4000, copies=2),
        runtime=growing(30),
    params:
        recipe=recipe("dataset"),
    message:
        "Data set {wildcards.dataset}: images in [0, 1], split"
    script:
        "../scripts/prepare_dataset.py"
