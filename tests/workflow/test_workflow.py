"""The workflow as a whole: a micro config through every rule, and what an edit makes stale."""

import csv
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import psutil
import pytest
import torch
import yaml
from conftest import REPOSITORY, Jobs, Workflow, merged, remade
from scipy.stats import binomtest

from purification.experiments import DEFAULT_FILES, paper_table
from purification.reporting.paired import p_text
from purification.storage import read_checkpoint, read_image_set, read_split, write_image_set


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_table4_has_every_row_and_column(finished: Workflow) -> None:
    table = rows(finished.folder / "results/table4.csv")
    assert [(r["dataset"], r["attack"], r["classifier"]) for r in table] == [
        ("digits", "fgsm", "D"),
        ("digits", "cw", "D"),
    ]
    accuracies = (
        *("no_attack", "no_defense", "defense_gan_rec", "magnet", "adv_tr"),
        *("defense_gan_rec_gray_box", "defense_gan_rec_bpda", "magnet_gray_box"),
    )
    for row in table:
        for column in accuracies:
            assert 0 <= float(row[column]) <= 1, column
            assert int(row[f"{column}_n"]) > 0
    fgsm, cw = table
    assert (fgsm["no_attack_n"], fgsm["no_defense_n"], fgsm["defense_gan_rec_n"]) == (
        "40",
        "12",
        "6",
    )
    assert cw["defense_gan_rec_bpda_n"] == "5"


def test_long_table_agrees_with_the_files_it_is_made_from(finished: Workflow) -> None:
    results = finished.folder / "results"
    long = rows(results / "table4.long.csv")
    keys = [(r["attack"], r["defense"], r["threat_model"]) for r in long]
    assert len(keys) == len(set(keys)) == 4 + 2 * 7
    run = results / "digits/seed0"
    for row in long:
        correct, n = int(row["correct"]), int(row["n"])
        assert float(row["accuracy"]) == pytest.approx(correct / n, abs=5e-5)
        assert float(row["ci_low"]) <= correct / n <= float(row["ci_high"])
        if row["attack"] == "none":
            continue
        if row["defense"] in ("none", "adv_training"):
            training = {"none": "plain", "adv_training": "adv_training"}[row["defense"]]
            attacked = read_image_set(run / f"adversarial/{training}/D/{row['attack']}.h5")
        else:
            path = run / f"attacked/{row['defense']}/D/{row['attack']}.h5"
            attacked = read_image_set(path, group=row["threat_model"])
        assert n == len(attacked.labels)
        assert correct == (attacked.fields["predictions"] == attacked.labels).sum()
        assert float(row["success_rate"]) == pytest.approx(
            attacked.fields["success"].mean(), abs=5e-5
        )
        if row["threat_model"] != "gray_box":
            # The attack attacked the whole model: its successes are that model's errors.
            assert correct == n - attacked.fields["success"].sum()
    assert "| fgsm" in (results / "table4.md").read_text()


def test_the_page_compares_columns_image_by_image(finished: Workflow) -> None:
    run = finished.folder / "results/digits/seed0"
    sets = [
        read_image_set(run / f"attacked/{defense}/D/fgsm.h5", group="gray_box")
        for defense in ("defense_gan", "magnet")
    ]
    one, other = (found.fields["predictions"] == found.labels for found in sets)
    ahead, behind = (one & ~other).sum(), (other & ~one).sum()
    page = (finished.folder / "results/table4.md").read_text()
    [line] = [
        x for x in page.splitlines() if x.startswith("| gray box | Defense-GAN-Rec | MagNet |")
    ]
    p_value = binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1
    assert f" ({ahead} : {behind}), p {p_text(p_value)}, n = 12 |" in line


def test_purified_images_and_predictions_are_those_of_the_networks(finished: Workflow) -> None:
    """What stands in an attacked set, computed again from the checkpoints it was made from."""
    import torch

    from purification.models.checkpoints import load_network
    from purification.purifiers.loading import load_purifier

    torch.set_num_threads(1)
    run = finished.folder / "results/digits/seed0"
    path = run / "attacked/defense_gan/D/fgsm.h5"
    with h5py.File(path) as file:
        recipe = json.loads(file.attrs["recipe"])
    files = {"generator": str(run / "generators/wgan_gp.safetensors")}
    purifier = load_purifier(recipe["purifier"], files)
    classifier = load_network(run / "classifiers/defense_gan/D.safetensors", "Classifier")
    for threat_model in ("gray_box", "white_box", "white_box_bpda"):
        attacked = read_image_set(path, group=threat_model)
        adversarial = torch.from_numpy(attacked.fields["adversarial"])
        purified = purifier(adversarial)
        torch.testing.assert_close(purified, torch.from_numpy(attacked.images), atol=1e-5, rtol=0)
        predictions = classifier(purified).argmax(dim=1).numpy()
        assert (predictions == attacked.fields["predictions"]).all()
    gray = read_image_set(path, group="gray_box").fields["adversarial"]
    assert (gray == read_image_set(run / "adversarial/plain/D/fgsm.h5").images).all()


def test_sets_carry_their_recipe_seed_and_numbers(finished: Workflow) -> None:
    run = finished.folder / "results/digits/seed0"
    with h5py.File(run / "attacked/defense_gan/D/fgsm.h5") as file:
        recipe = json.loads(file.attrs["recipe"])
        assert file.attrs["seed"] == 0
        assert recipe["attack"]["settings"]["epsilon"] == 0.1
        assert recipe["purifier"]["settings"]["steps"] == 4
        assert recipe["purifier"]["networks"]["generator"]["settings"]["iterations"] == 12
        assert recipe["classifier"]["reconstructions"]["split"] == "train"
        white = file["white_box"]
        assert white["images"].compression == "gzip" and white["images"].chunks
        assert 0 <= white.attrs["zero_gradient_share"] < 1
        assert (white["reconstruction_error"][:] > 0).all()
        images, labels = white["adversarial"][:], white["labels"][:]
    clean, clean_labels = read_split(finished.folder / "results/digits/dataset.h5", "test", 6)
    assert (labels == clean_labels).all()
    assert abs(images - clean).max() == pytest.approx(0.1, abs=1e-6)


def test_rec_classifier_is_trained_on_reconstructions(finished: Workflow) -> None:
    """The classifier of Rec, trained again here on the purified training images, is the file's."""
    import torch

    from purification.models.checkpoints import classifier_of
    from purification.randomness import derive_seed, isolated_rng
    from purification.storage import read_checkpoint
    from purification.training.classifier import train_classifier

    results = finished.folder / "results"
    path = "results/digits/seed0/classifiers/defense_gan/D.safetensors"
    state, metadata = read_checkpoint(finished.folder / path)
    purified = read_image_set(results / "digits/seed0/purified/clean/defense_gan/train.h5")
    originals, labels = read_split(results / "digits/dataset.h5", "train")
    assert purified.images.shape == originals.shape
    assert abs(purified.images - originals).mean() > 0.01
    recipe = metadata["recipe"]

    def trained_on(images: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        with isolated_rng(derive_seed(0, path, "weights")):
            model = classifier_of(recipe, (1, 28, 28))
        torch.set_num_threads(1)
        train_classifier(
            model,
            images,
            torch.from_numpy(labels),
            **{k: recipe["settings"][k] for k in ("epochs", "batch_size", "learning_rate")},
            adversarial_epsilon=None,
            seed=derive_seed(0, path, "training"),
            validation=None,
            device="cpu",
        )
        return model.state_dict()

    ours = trained_on(torch.from_numpy(purified.images))
    other = trained_on(torch.from_numpy(originals))
    assert all(torch.allclose(ours[name], state[name], atol=1e-6) for name in state)
    assert not all(torch.allclose(other[name], state[name], atol=1e-3) for name in state)


def test_pictures_and_curves_are_made(finished: Workflow) -> None:
    run = finished.folder / "results/digits/seed0"
    for name in (
        "generators/wgan_gp.samples.png",
        "generators/wgan_gp.curve.png",
        "figures/examples/D/fgsm.png",
    ):
        assert (run / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("target", ["all", "defense_gan", "defense_vae", "ae_gan", "cowboy"])
def test_each_target_draws_the_generators_that_it_trains(target: str, tmp_path: Path) -> None:
    rules = Workflow(tmp_path / "workflow").stale(target).rules
    trained = rules.get("train_wgan_gp", 0) + rules.get("train_gan", 0)
    assert trained >= 1
    assert rules["plot_generator_samples"] == rules["plot_generator_curve"] == trained


def test_a_network_outlives_a_picture_that_fails(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    scripts = workflow.folder / "workflow/scripts"
    for name in ("samples", "curve"):
        (scripts / f"plot_generator_{name}.py").write_text("raise RuntimeError('no picture')\n")
    run = "results/digits/seed0/generators"
    network, history = f"{run}/wgan_gp.safetensors", f"{run}/wgan_gp.history.csv"
    targets = (f"{run}/wgan_gp.samples.png", f"{run}/wgan_gp.curve.png")
    options = ("--cores", "2", "--keep-going")
    failed = workflow.run(*targets, options=options, check=False)
    assert failed.returncode != 0 and failed.stdout.count("RuntimeError: no picture") >= 2
    assert (workflow.folder / network).is_file() and (workflow.folder / history).is_file()
    assert workflow.stale(network, history) == Jobs({}, set())


def test_logs_show_progress(finished: Workflow) -> None:
    log = (finished.folder / "logs/train_wgan_gp/digits/seed0/generators/wgan_gp.log").read_text()
    assert "device: cpu, threads: 1" in log
    assert "12/12" in log and "it/s" in log


def test_finished_run_has_nothing_to_do(workflow: Workflow) -> None:
    assert workflow.stale("all") == Jobs({}, set())


def test_same_seed_same_bits(workflow: Workflow) -> None:
    run = workflow.folder / "results/digits/seed0"
    names = ("attacked/defense_gan/D/cw.h5", "classifiers/plain/D.safetensors")
    before = {name: (run / name).read_bytes() for name in names}
    for name in names:
        (run / name).unlink()
    workflow.run(*(f"results/digits/seed0/{name}" for name in names))
    for name in names:
        assert (run / name).read_bytes() == before[name], name


# What an edit makes stale. Whose recipes it changes is tests/unit/experiments/test_staleness.py's;
# here a dry run reads the edited config of a finished run.


def test_a_dry_run_finds_stale_what_the_recipes_say(workflow: Workflow) -> None:
    edit = {"defenses": {"defense_gan": {"steps": 5}}, "attacks": {"cw": {"constant": 50.0}}}
    found = remade(lambda catalogue: [paper_table(catalogue, "table4")], workflow.config, edit)
    workflow.config = merged(workflow.config, edit)
    jobs = workflow.stale()
    assert jobs.rules == {
        "purify_images": 2,
        "train_classifier": 1,
        "attack_classifier": 2,
        "attack_defense": 3,
        "measure": 3,
        "paper_table": 1,
    }
    assert len(found.paths) == sum(jobs.rules.values())
    assert {"Classifier D (defense_gan) on digits", "Table table4"} <= jobs.messages


def test_comments_unused_entries_and_execution_settings_concern_nothing(
    workflow: Workflow,
) -> None:
    default = workflow.folder / "config/config.yaml"
    default.write_text("# another comment\n" + default.read_text())
    workflow.config["attacks"]["unused"] = {
        "method": "fgsm",
        "epsilon": 0.2,
        "images": {"gray_box": 5, "white_box": 5, "white_box_bpda": 5},
    }
    workflow.config["batch_size"] = {"attack": 3, "purification": 7}
    workflow.config["threads"] = 2
    workflow.config["checkpoint_every"] = 7
    script = workflow.folder / "workflow/scripts/attack_classifier.py"
    script.write_text(script.read_text() + "# a comment\n")
    assert workflow.stale("all") == Jobs({}, set())


def test_new_paper_numbers_concern_the_table_only(workflow: Workflow) -> None:
    os.utime(workflow.folder / "resources/papers/defense_gan.csv")
    paper = workflow.folder / "resources/papers/defense_gan.csv"
    paper.write_text(paper.read_text() + "\n")
    assert workflow.stale().rules == {"paper_table": 1}


def test_edit_then_upstream_failure_then_run_again_ends_in_fresh_results(
    workflow: Workflow,
) -> None:
    """Snakemake by itself would say "Nothing to be done" and leave the old table (a known trap)."""
    table = workflow.folder / "results/table4.long.csv"
    before = rows(table)
    workflow.config["attacks"]["fgsm"]["epsilon"] = 0.3
    script = workflow.folder / "workflow/scripts/attack_classifier.py"
    good = script.read_text()
    script.write_text("raise RuntimeError('broken for the test')\n")
    failed = workflow.run("results/table4.csv", check=False)
    assert failed.returncode != 0 and "broken for the test" in failed.stdout
    script.write_text(good)
    jobs = workflow.stale()
    assert jobs.rules["attack_classifier"] == 2 and jobs.rules["paper_table"] == 1
    again = workflow.run("results/table4.csv")
    # The config of the failed run is the latest, and has made nothing.
    for run in (failed, again):
        line = f"    attacks.fgsm.epsilon: 0.1 -> 0.3: {sum(jobs.rules.values())} jobs"
        assert re.findall(r"^ +\w+\.\w.*jobs?$", run.stdout, re.M) == [line]
    after = rows(table)
    epsilons = {row["epsilon"] for row in after if row["attack"] == "fgsm"}
    assert epsilons == {"0.3"}
    marks = {"recipe", "check"}  # of the whole file
    of_cw = [
        [
            row.items() - {(name, row[name]) for name in marks}
            for row in table
            if row["attack"] == "cw"
        ]
        for table in (before, after)
    ]
    assert of_cw[0] == of_cw[1] != []


def test_failed_job_shows_the_end_of_its_log_and_where_it_lies(workflow: Workflow) -> None:
    dataset = workflow.folder / "results/digits/dataset.h5"
    stat = dataset.stat()
    dataset.write_bytes(b"not HDF5")
    os.utime(dataset, (stat.st_atime, stat.st_mtime))
    workflow.config["attacks"]["cw"]["constant"] = 50.0
    target = "results/digits/seed0/adversarial/plain/D/cw.h5"
    # Otherwise the data set would be made again.
    options = ("--cores", "1", "--allowed-rules", "attack_classifier")
    failed = workflow.run(target, options=options, check=False)
    assert failed.returncode != 0
    assert "results/digits/dataset.h5" in failed.stdout
    assert "full log: logs/attack_classifier/digits/seed0/plain/D/cw.log" in failed.stdout


def test_longer_gan_training_continues_from_its_state(workflow: Workflow) -> None:
    workflow.config["generators"]["wgan_gp"]["iterations"] = 14
    target = "results/digits/seed0/generators/wgan_gp.safetensors"
    workflow.run(target)
    log = (workflow.folder / "logs/train_wgan_gp/digits/seed0/generators/wgan_gp.log").read_text()
    assert "from iteration 12" in log
    continued = (workflow.folder / target).read_bytes()
    state = workflow.folder / "results/digits/seed0/generators/wgan_gp.state.safetensors"
    state.unlink()
    (workflow.folder / target).unlink()
    workflow.run(target)
    assert (workflow.folder / target).read_bytes() == continued


def test_convolutions_of_gan_training_are_a_choice_of_the_config(workflow: Workflow) -> None:
    target = "results/digits/seed0/generators/wgan_gp.safetensors"
    plain, _ = read_checkpoint(workflow.folder / target)
    choice = {"precision": "bfloat16", "fast_convolutions": True}
    workflow.config["generators"]["wgan_gp"].update(choice)
    workflow.run(target)
    arranged, metadata = read_checkpoint(workflow.folder / target)
    assert metadata["recipe"]["settings"].items() >= choice.items()
    log = (workflow.folder / "logs/train_wgan_gp/digits/seed0/generators/wgan_gp.log").read_text()
    assert "from iteration" not in log, "another training's state was taken"
    for name, weight in plain.items():
        assert arranged[name].dtype == torch.float32
        torch.testing.assert_close(arranged[name], weight, rtol=0, atol=0.02)
    assert any(not torch.equal(arranged[name], weight) for name, weight in plain.items())


@pytest.mark.parametrize("gpu", [0, 1])
def test_gpu_is_asked_for_by_training_attacks_and_purification(gpu: int) -> None:
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, ResourceSettings

    with SnakemakeApi() as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(config={"gpu": gpu}),
            snakefile=REPOSITORY / "Snakefile",
            workdir=REPOSITORY,
        )._workflow
        asking = {rule.name for rule in workflow.rules if rule.resources.get("gpu").value}
    training = {
        "train_classifier",
        "train_network",
        "train_wgan_gp",
        "train_gan",
        "take_gan",
        "keep_snapshots",
        "train_diffusion",
    }
    training |= {"train_defense", "train_defense_for"}
    expected = training | {"adopt_classifier", "train_substitute", "attack_defense"}
    expected |= {"attack_adaptively", "attack_known_draws", "measure_costs"}
    expected |= {"measure_costs_of_board", "clean_by_each"}
    expected |= {"attack_classifier", "attack_substitute", "attack_validation"}
    expected |= {"score_images", "follow_training", "measure_inference_rule"}
    expected |= {"purify_images", "purify_black_box", "time_search"}
    expected |= {"search_sweep", "search_sweep_black_box"}
    expected |= {"craft_copies", "train_end_to_end", "time_purifiers"}
    assert asking == (expected if gpu else set())


def test_table13_times_each_search_and_nothing_beside_it(workflow: Workflow) -> None:
    target = "results/table13.csv"
    workflow.run(target, options=("--cores", "2"))
    table = rows(workflow.folder / target)
    cells = [(int(row["iterations_L"]), int(row["restarts_R"])) for row in table]
    assert cells == [(2, 1), (4, 1), (2, 2), (4, 2)]
    for row in table:
        assert float(row["seconds_per_image"]) > 0 and float(row["images_per_second"]) > 0
        assert 1 <= int(row["best_batch"]) <= 8
        assert row["device"] and row["threads"] == "2"  # all cores of the run
    long = rows(workflow.folder / "results/table13.long.csv")
    assert len(long) == 8 and {row["latent"] for row in long} == {"8"}
    assert "| L | R = 1 | R = 2 |" in (workflow.folder / "results/table13.md").read_text()
    workflow.config["defenses"]["defense_gan"]["steps"] = 5
    workflow.config["table13"]["repeats"] = 3
    assert workflow.stale(target).rules == {"time_search": 1, "time_table": 1}


def test_report_holds_table_and_pictures_with_captions(workflow: Workflow) -> None:
    front, captions = workflow.report("all")
    assert '<h1 class="title">Defense-GAN: Table 4</h1>' in front
    # The table itself, open, with its intervals and the number of images.
    accuracy = float(rows(workflow.folder / "results/table4.csv")[0]["no_attack"])
    assert re.search(rf"<strong>{accuracy:.2f}</strong> \[[0-9., ]+\]<", front)
    assert "<th>no_attack, n = 40</th>" in front
    assert "<details" not in front and "Show the picture: fgsm.png" in front
    about = captions["results/table4.csv"]
    for part in (
        "Defense-GAN, Table 4 (Samangouei et al., ICLR 2018): white-box attacks",
        "Data sets: digits.",
        "Attacks: fgsm, ε = 0.1 (pixels in [0, 1]); cw.",
        "gray box: the attacker differentiates the bare classifier",
    ):
        assert part in about and part in front
    # The menu's link holds the table's page. The front page has that itself.
    assert "data:text/html;base64," in about and "data:text/html;base64," not in front
    picture = captions["results/digits/seed0/figures/examples/D/fgsm.png"]
    assert "digits: fgsm, ε = 0.1 (pixels in [0, 1]). Gray box" in picture
    assert "wgan_gp on digits" in captions["results/digits/seed0/generators/wgan_gp.curve.png"]


@pytest.mark.parametrize(
    ("limit", "kept"), [([], False), (["--max-jobs-per-timespan", "5/1s"], True)]
)
def test_only_a_limit_of_jobs_a_second_that_was_asked_for_is_kept(
    limit: list[str], kept: bool, tmp_path: Path
) -> None:
    workflow = Workflow(tmp_path / "workflow")
    with (workflow.folder / "Snakefile").open("a") as file:
        asked = "workflow.scheduler.job_rate_limiter is not None"
        file.write(f'\n\nonsuccess:\n    print("limited", {asked})\n')
    done = workflow.run("results/digits/dataset.h5", options=("--cores", "1", *limit))
    assert f"limited {kept}" in done.stdout


# Results that Snakemake has no notes of, or wrong ones.


def test_copied_results_are_remade_where_the_config_differs_and_nowhere_else(
    workflow: Workflow,
) -> None:
    """As rsync or a backup brings them: without `.snakemake`. What carries a recipe is judged by
    it, pictures too."""
    shutil.rmtree(workflow.folder / ".snakemake")
    assert workflow.stale("all") == Jobs({}, set())
    workflow.config["generators"]["wgan_gp"]["iterations"] = 14
    jobs = workflow.stale("results/table4.csv")
    assert jobs.rules == {
        "train_wgan_gp": 1,
        "purify_images": 2,
        "train_classifier": 1,
        "attack_defense": 2,
        "measure": 3,
        "paper_table": 1,
    }
    assert "settings.iterations: 12 in the file, 14 asked" in jobs.printed


def test_a_strange_file_is_made_again_or_refused_by_its_reader(workflow: Workflow) -> None:
    """The file of another config under the name of this one's, as old as it was: Snakemake's notes
    say that it is right."""
    attacked = workflow.folder / "results/digits/seed0/adversarial/plain/D/fgsm.h5"
    stat = attacked.stat()
    image_set = read_image_set(attacked)
    recipe = image_set.attributes["recipe"]
    recipe["attack"]["settings"]["epsilon"] = 0.2
    write_image_set(attacked, image_set, recipe, seed=0)
    os.utime(attacked, (stat.st_atime, stat.st_mtime))
    jobs = workflow.stale("results/table4.csv")
    assert jobs.rules["attack_classifier"] == 1 and jobs.rules["paper_table"] == 1
    # A job that is started all the same does not read it.
    target = "results/digits/seed0/measurements/table4/D/fgsm.csv"
    options = ("--cores", "1", "--forcerun", target, "--allowed-rules", "measure")
    failed = workflow.run(target, options=options, check=False)
    assert failed.returncode != 0
    assert "fgsm.h5: made by another recipe" in failed.stdout
    assert "attack.settings.epsilon: 0.2 in the file, 0.1 asked" in failed.stdout
    workflow.run("results/table4.csv")
    assert read_image_set(attacked).attributes["recipe"]["attack"]["settings"]["epsilon"] == 0.1
    assert workflow.stale() == Jobs({}, set())


def test_lines_of_the_config_in_another_order_concern_nothing(workflow: Workflow) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(list(value))}
        return [turned(item) for item in value] if isinstance(value, list) else value

    for name in DEFAULT_FILES:
        file = workflow.folder / name
        config = turned(yaml.safe_load(file.read_text()))
        file.write_text(yaml.safe_dump(config, sort_keys=False))
    workflow.config = turned(workflow.config)
    assert workflow.stale("all") == Jobs({}, set())


def test_a_job_whose_snakemake_was_killed_changes_nothing_after_the_next_run(
    workflow: Workflow,
) -> None:
    """The trials with many kills are benchmarks/damage.py's; this one waits for no clock."""
    target = "results/digits/seed0/classifiers/plain/D.safetensors"
    log = workflow.folder / "logs/train_classifier/digits/seed0/plain/D.log"
    log.unlink()
    workflow.config["classifiers"]["D"]["epochs"] = 60
    main = workflow.start(target, options=("--cores", "1"))
    while not (log.is_file() and "device" in log.read_text()):
        assert main.poll() is None, main.communicate()
        time.sleep(0.05)
    jobs = psutil.Process(main.pid).children(recursive=True)
    for job in jobs:
        job.suspend()
    main.kill()
    main.wait()
    workflow.config["classifiers"]["D"]["epochs"] = 2
    workflow.run(options=("--unlock",))
    workflow.run(target)
    after = (workflow.folder / target).read_bytes()
    for job in jobs:
        job.resume()
    psutil.wait_procs(jobs)
    assert (workflow.folder / target).read_bytes() == after
    folder = (workflow.folder / target).parent
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert workflow.stale(target) == Jobs({}, set())
    assert read_checkpoint(workflow.folder / target)[1]["recipe"]["settings"]["epochs"] == 2


def test_a_copy_without_times_is_put_in_order_by_touch_which_hides_no_difference(
    workflow: Workflow,
) -> None:
    shutil.rmtree(workflow.folder / ".snakemake")
    files = [path for path in (workflow.folder / "results").rglob("*") if path.is_file()]
    for age, path in enumerate(sorted(files, key=lambda path: path.stat().st_mtime)):
        os.utime(path, (1e9 - age, 1e9 - age))  # what was made first is now the newest
    assert workflow.stale("all") != Jobs({}, set())
    workflow.run("all", options=("--touch", "--cores", "1"))
    assert workflow.stale("all") == Jobs({}, set())
    workflow.config["attacks"]["fgsm"]["epsilon"] = 0.15
    workflow.run("all", options=("--touch", "--cores", "1"))
    jobs = workflow.stale("results/table4.csv")
    assert jobs.rules == {
        "attack_classifier": 2,
        "attack_defense": 2,
        "measure": 1,
        "paper_table": 1,
    }


def test_a_report_of_other_results_is_refused(workflow: Workflow) -> None:
    workflow.config["attacks"]["fgsm"]["epsilon"] = 0.15
    options = ("--report", "stale.html")
    failed = workflow.run("results/table4.csv", options=options, check=False)
    assert failed.returncode != 0 and not (workflow.folder / "stale.html").exists()
    assert "is not what the config asks for: made with other settings." in failed.stdout


HISTORY = "digits/seed0/generators/wgan_gp.history.csv"
PICTURES = {
    "digits/seed0/generators/wgan_gp.curve.png": "plot_generator_curve",
    "digits/seed0/figures/examples/D/fgsm.png": "plot_examples",
}


@pytest.mark.parametrize(
    "changed",
    [
        {"table4.csv": "paper_table", **PICTURES},
        {"table4.md": "paper_table"},
        {"table4.long.csv": "paper_table"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_file_beside_right_ones_has_its_job_run_again(
    workflow: Workflow, changed: dict[str, str]
) -> None:
    for name in changed:
        spoil(workflow.folder / "results" / name)
    assert workflow.stale("all").rules == dict.fromkeys(changed.values(), 1)


def test_a_changed_history_has_its_training_run_again(workflow: Workflow) -> None:
    spoil(workflow.folder / "results" / HISTORY)
    assert workflow.stale("all").rules["train_wgan_gp"] == 1


def spoil(path: Path) -> None:
    """Change a file and leave its time."""
    stat, content = path.stat(), path.read_bytes()
    if path.suffix == ".png":
        content = content.replace(b"recipe", b"recepi")
    elif path.name == "table4.csv":
        content = content.replace(b"0.", b"1.", 1)
    else:
        content = content[:-9]
    assert content != path.read_bytes()
    path.write_bytes(content)
    os.utime(path, (stat.st_atime, stat.st_mtime))


def test_joined_tables_of_other_results_are_made_again(workflow: Workflow) -> None:
    """Those that put several tables together, copied with a config that has changed since."""
    workflow.config["comparison"] = {"tables": ["table4"]}
    workflow.config["worst_case"] = {"tables": ["table4"]}
    targets = ("results/comparison.md", "results/worst_case.csv")
    workflow.run(*targets)
    assert workflow.stale(*targets) == Jobs({}, set())
    shutil.rmtree(workflow.folder / ".snakemake")
    workflow.config["table4"]["defenses"] = ["defense_gan", "magnet"]
    assert workflow.stale(*targets).rules == {
        "measure": 3,
        "paper_table": 1,
        "comparison": 1,
        "worst_case": 1,
    }
