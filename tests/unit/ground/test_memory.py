"""Jobs that want more memory than there is: what they, or the run after them, say."""

import errno
import os
import re
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from purification.memory import advice, explain_killed, is_out_of_memory, rule_of

BEGUN = "start-up and imports: 1.22 s\ndevice: cpu, threads: 1\n"
DATASET = "results/digits/dataset.h5"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_want_of_memory_is_seen_also_behind_another_error(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(ValueError) as caught:
        raise ValueError("what came of it") from error
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("the layer has no memory of it"))


def test_numpy_and_torch_that_find_no_memory_are_seen() -> None:
    import numpy as np

    for allocate in (lambda: np.empty(2**60, np.uint8), lambda: torch.empty(2**60)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        assert is_out_of_memory(caught.value)


def rules() -> list[tuple[str, str]]:
    """Each rule and its script, also of those that take another rule's."""
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    own = re.findall(r"^rule (\w+):\n(?:(?!^rule ).*\n)*?    script:\n +\"(.*)\"", text, re.M)
    scripts = dict(own)
    taken = re.findall(r"^use rule (\w+) as (\w+)", text, re.M)
    assert len(scripts) > 40 and len(taken) > 5
    for old, new in taken:
        scripts[new] = scripts[old]
    return list(scripts.items())


@pytest.mark.parametrize(("rule", "script"), rules(), ids=lambda value: value)
def test_advice_names_the_key_that_the_script_reads(rule: str, script: str) -> None:
    text = (REPOSITORY / "workflow/rules" / script).read_text()
    said = advice(rule)
    for key in ("attack", "purification"):
        assert (f'config["batch_size"]["{key}"]' in text) == (f"batch_size.{key} (" in said)
    trains = rule.startswith("train_") and rule != "train_substitute"
    assert ("batch_size of this network" in said) == trains
    assert f"--set-resources {rule}:mem_mb=" in said and "--cores" in said


def test_rule_of_a_log() -> None:
    assert rule_of("logs/attack_defense/digits/seed0/a.log") == "attack_defense"
    assert rule_of("/home/me/logs/x/logs.log") == "x"
    assert rule_of("logs/eps8/logs/attack_defense/digits/a.log") == "attack_defense"
    assert rule_of("job.log") == rule_of("logs/job.log") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BEGUN, "the job was killed"),
        (BEGUN + "training:  20% 2/10 [00:01<00:04, 2step/s, loss=1]\n", "the job was killed"),
        (BEGUN + "end of the job\n", None),
        (BEGUN + "Traceback (most recent call last):\nValueError: x\n", None),
        (BEGUN + "Fatal Python error: Segmentation fault\n", None),
        (
            BEGUN + "terminate called after throwing an instance of 'std::bad_alloc'\n"
            "Fatal Python error: Aborted\n",
            "out of memory (std::bad_alloc)",
        ),
        (BEGUN + "Traceback (most recent call last):\nMemoryError\nout of memory: Lower\n", None),
        ("", None),
        ("a log of the batch system\n", None),
        (None, None),
    ],
)
def test_logs_that_break_off_are_explained(
    text: str | None, expected: str | None, tmp_path: Path
) -> None:
    log = tmp_path / "logs/purify_images/digits/test.log"
    log.parent.mkdir(parents=True)
    if text is not None:
        log.write_text(text)
    own = tmp_path / "snakemake.log"
    failed = f"    log: {log}, /cluster/12.log (check log file(s) for error details)\n"
    own.write_text(f"Error in rule purify_images:\n    jobid: 3\n{failed}" + " " * 8 + failed)
    lines = explain_killed([str(own), str(tmp_path / "is not there")])
    assert explain_killed(str(own)) == lines
    if expected is None:
        assert lines == []
    else:
        first, second = lines
        assert first.startswith(f"{log}: {expected}")
        assert second.startswith("Lower batch_size.purification (")
