"""The patched trainer on a tiny set: what distillation and sparsity change, and what they must leave alone."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.axes import Axes

from ultralytics import YOLO
from ultralytics.cfg import entrypoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.distillation.distiller import ADAPTER_LR, LOSS_ITEMS
from ultralytics.slim.sparsity.optimizer_steps import planned_steps
from ultralytics.slim.training_run import TrainingRun
from ultralytics.utils import YAML

from short_runs import (
    MINI,
    SHORT,
    Interrupt,
    hooks_in,
    interrupt,
    prepared,
    pretending,
    stop_at,
    train,
    weights_of,
)


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["cwd", "mgd", "pkd+mimic+logit"])
def test_distillation_trains_student_and_adapters_and_never_the_teacher(tiny_data, tmp_path, teacher_path, loss_type):
    seen = {}

    def remember(trainer):
        d = trainer.slim.distiller
        seen["adapters"] = weights_of(d.losses)
        seen["teacher"] = weights_of(d.teacher)
        seen["hooks"] = []

    def check(trainer):
        d = trainer.slim.distiller
        seen["hooks"].append(hooks_in(trainer.model))
        assert not d.teacher.training and not any(p.requires_grad for p in d.teacher.parameters())
        assert not d.student_taps.features and not d.teacher_taps.features  # freed after the step
        seen.setdefault("loss", []).append(float(trainer.loss_items["distill_loss"]))

    model, trainer = train(
        tiny_data,
        tmp_path,
        Distillation=str(teacher_path),
        loss_type=loss_type,
        on_train_start=remember,
        on_train_batch_end=check,
        on_train_epoch_end=lambda t: seen.setdefault("after", []).append(hooks_in(t.model)),
    )
    assert seen["after"] == [0, 0]  # gone after each epoch's batches
    d = trainer.slim.distiller
    assert all(x > 0 for x in seen["loss"]) and set(seen["hooks"]) == {2 + ("logit" in loss_type)}  # set in every batch
    assert hooks_in(trainer.model) == hooks_in(d.teacher) == 0  # and gone afterwards
    trained = [k for k, v in d.losses.state_dict().items() if k.endswith("weight")]
    assert all(not torch.equal(seen["adapters"][k], d.losses.state_dict()[k]) for k in trained)
    assert all(torch.equal(v, d.teacher.state_dict()[k]) for k, v in seen["teacher"].items())
    teacher_ids = {id(p) for p in d.teacher.parameters()} | {id(p) for p in d.losses.parameters()}
    assert not teacher_ids & {id(p) for g in trainer.optimizer.param_groups for p in g["params"]}
    assert d.optimizer is None or d.optimizer.param_groups[0]["lr"] == ADAPTER_LR * trainer.lf(1) < ADAPTER_LR
    assert all(item in trainer.loss_names and item in trainer.progress_string() for item in LOSS_ITEMS)
    header, *rows = (trainer.save_dir / "results.csv").read_text().splitlines()
    assert "train/distill_loss" in header and "train/loss_ratio" in header
    assert all(len(row.split(",")) == len(header.split(",")) for row in rows) and len(rows) == 2
    assert trainer.args.Distillation == str(teacher_path)
    assert YAML.load(trainer.save_dir / "args.yaml")["loss_type"] == loss_type


@pytest.mark.slow
def test_the_picture_of_a_run_shows_the_distillation_loss_and_its_share(tiny_data, tmp_path, teacher_path, monkeypatch):
    titles, set_title = [], Axes.set_title
    monkeypatch.setattr(Axes, "set_title", lambda axes, text, **kw: titles.append(text) or set_title(axes, text, **kw))
    how = {"Distillation": str(teacher_path), "loss_type": "cwd", "epochs": 1, "plots": True}
    _, trainer = train(tiny_data, tmp_path, **how)
    assert (trainer.save_dir / "results.png").is_file() and {"train/distill_loss", "train/loss_ratio"} <= set(titles)


@pytest.mark.slow
def test_distillation_changes_what_is_learnt_and_no_loss_changes_nothing(tiny_data, tmp_path, teacher_path):
    """Against the plain run of the same seed; `loss_type='None'` is the plain run to the last bit."""
    end = {}
    runs = {
        "plain": {},
        "none": {"loss_type": "None"},
        "cwd": {"loss_type": "cwd", "Distillation": str(teacher_path)},
        "off": {"loss_type": "cwd", "Distillation": str(teacher_path), "distill_weight": 0.0},
    }
    for name, kwargs in runs.items():
        _, trainer = train(tiny_data, tmp_path, name=name, epochs=1, **kwargs)
        end[name] = weights_of(trainer.model)
    distance = {k: sum((end[k][n] - v).abs().sum().item() for n, v in end["plain"].items()) for k in runs}
    assert distance["none"] == 0.0
    assert distance["off"] < 1e-2 < distance["cwd"]


@pytest.mark.slow
def test_checkpoints_are_stock(tiny_data, tmp_path, teacher_path, stock_ultralytics):
    """best.pt and the unstripped last.pt of a run load, predict and export in stock Ultralytics, without us."""
    saved = tmp_path / "unstripped.pt"
    _, trainer = train(
        tiny_data,
        tmp_path,
        Distillation=str(teacher_path),
        loss_type="mgd+sparse",
        on_model_save=lambda t: saved.write_bytes(t.last.read_bytes()),
    )
    assert not (trainer.wdir / "slim.pt").exists()  # the state to resume from goes when the run is complete
    for path in (trainer.last, saved):
        ckpt = torch.load(path, weights_only=False)
        module = ckpt["ema"] or ckpt["model"]
        assert hooks_in(module) == 0
        assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in trainer.model.parameters())
        assert not any(".slim" in type(m).__module__ for m in module.modules())
    code = (
        "import sys, ultralytics, torch; assert ultralytics.__file__.startswith(sys.argv[1])\n"
        "for m in map(ultralytics.YOLO, sys.argv[2:]):\n"
        "    m.predict(torch.zeros(1, 3, 64, 64), verbose=False); print(m.export(format='torchscript', imgsz=64))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(stock_ultralytics), str(trainer.last), str(saved)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(stock_ultralytics), "ULTRALYTICS_SAFE_LOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_the_log_names_the_files_that_stay(tiny_data, tmp_path, log):
    """Stripped checkpoints are written aside and renamed; by then the other name is gone."""
    _, trainer = train(tiny_data, tmp_path, epochs=1)
    assert f"Optimizer stripped from {trainer.last}," in log.text and "partial" not in log.text


def test_logit_alone_needs_no_adapters(tiny_data, tmp_path, teacher_path):
    _, trainer = train(tiny_data, tmp_path, Distillation=str(teacher_path), loss_type="logit", epochs=1)
    assert trainer.slim.distiller.optimizer is None and float(trainer.tloss["distill_loss"]) > 0


@pytest.mark.slow
def test_distillation_may_end_with_mosaic(tiny_data, tmp_path, teacher_path):
    losses = {}
    train(
        tiny_data,
        tmp_path,
        epochs=3,
        close_mosaic=1,
        Distillation=str(teacher_path),
        loss_type="cwd",
        distill_close_mosaic=False,
        on_train_epoch_end=lambda t: losses.update({t.epoch: float(t.tloss["distill_loss"])}),
    )
    assert losses[0] > 0 and losses[1] > 0 and losses[2] == 0


@pytest.mark.slow
def test_the_report_before_training_warns_of_a_useless_teacher(tiny_data, tmp_path, teacher_path, log):
    train(
        tiny_data, tmp_path, weights=teacher_path, Distillation=str(teacher_path), loss_type="cwd", epochs=1,
        distill_check=True,
    )  # fmt: skip
    assert "student layer 8 (C2f, 128 channels, stride 8) <- teacher layer 8" in log.text
    assert "no better than the student" in log.text and "times that without distillation" in log.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["YOLO", "module"])
def test_a_module_teacher_is_a_file_in_the_arguments(tiny_data, tmp_path, teacher_path, kind):
    teacher = YOLO(str(teacher_path))
    before = weights_of(teacher.model)
    passed = teacher if kind == "YOLO" else teacher.model
    _, trainer = train(tiny_data, tmp_path, epochs=1, Distillation=passed, loss_type="cwd")
    assert trainer.args.Distillation == str(trainer.wdir / "teacher.pt") and Path(trainer.args.Distillation).exists()
    assert YAML.load(trainer.save_dir / "args.yaml")["Distillation"] == trainer.args.Distillation
    assert all(torch.equal(v, teacher.model.state_dict()[k]) for k, v in before.items())  # the caller's is untouched


@pytest.mark.slow
def test_huge_sparsity_brings_every_gamma_to_zero(tiny_data, tmp_path):
    _, trainer = train(tiny_data, tmp_path, loss_type="sparse", sparsity=1e4, plots=True)
    assert (trainer.save_dir / "gamma.png").stat().st_size > 1000
    from ultralytics.slim.sparsity.gammas import gammas

    assert sum(torch.count_nonzero(g).item() for g in gammas(trainer.model)) == 0
    header, *rows = (trainer.save_dir / "results.csv").read_text().splitlines()
    last = dict(zip(header.split(","), map(float, rows[-1].split(","))))
    assert last["gamma/near_zero"] == 1.0 and last["gamma/median"] == 0.0


@pytest.mark.slow
def test_a_penalty_that_moves_nothing_is_a_warning(tiny_data, tmp_path, log):
    train(tiny_data, tmp_path, loss_type="sparse", sparsity=1e-6, epochs=3, lr0=1e-6)
    assert log.text.count("hardly move") == 1


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD"])
def test_sparsity_moves_gamma_alike_under_every_optimizer(tiny_data, tmp_path, optimizer):
    """The planned sum of the penalty's steps is one median γ (1 in a fresh model), warm-up and all."""
    moved = []
    _, trainer = train(
        tiny_data,
        tmp_path,
        loss_type="sparse",
        sparsity=1.0,
        optimizer=optimizer,
        epochs=3,
        batch=2,
        nbs=4,
        warmup_epochs=1,
        on_train_epoch_end=lambda t: moved.append(t.slim.moved),
    )
    assert sum(moved) == pytest.approx(1.0, rel=0.15)


@pytest.mark.slow
def test_best_of_a_sparse_run_is_from_its_last_third(tiny_data, tmp_path):
    """The penalty costs accuracy, so the best epoch of the whole run would be an early, dense one."""
    best = {}

    def pretend(trainer):
        trainer.best_fitness = 0.9

    train(
        tiny_data,
        tmp_path,
        loss_type="sparse",
        epochs=6,
        on_train_batch_start=lambda t: best.setdefault(t.epoch, t.best_fitness),
        on_fit_epoch_end=pretend,
    )
    assert best == {0: None, 1: 0.9, 2: 0.9, 3: 0.9, 4: None, 5: 0.9}


@pytest.mark.slow
def test_patience_of_a_sparse_run_counts_in_its_last_third_alone(tiny_data, tmp_path):
    """The accuracy falls from the first epoch on; of nine the seventh is the first that is judged."""
    falling = pretending(*(0.9 - 0.1 * epoch for epoch in range(9)))
    _, trainer = train(tiny_data, tmp_path, loss_type="sparse", epochs=9, patience=1, val=True, trainer=falling)
    assert trainer.epoch + 1 == 8


@pytest.mark.slow
def test_a_sparse_run_that_gets_shorter_is_planned_anew(tiny_data, tmp_path):
    """With time= Ultralytics counts the epochs anew after each: here six become three after the second."""
    rates, best, moved = {}, {}, []

    def shorten(trainer):
        trainer.best_fitness = 0.9
        if trainer.epoch == 1:
            trainer.epochs = trainer.args.epochs = 3

    def note(trainer):
        rates.setdefault(trainer.epoch, trainer.slim.penalty.rate)
        best.setdefault(trainer.epoch, trainer.best_fitness)

    options = {"loss_type": "sparse", "sparsity": 0.5, "epochs": 6}
    events = {"on_train_batch_start": note, "on_fit_epoch_end": shorten}
    train(tiny_data, tmp_path, on_train_epoch_end=lambda t: moved.append(t.slim.moved), **events, **options)
    assert sorted(rates) == [0, 1, 2] and rates[0] == rates[1] < rates[2]
    assert sum(moved) == pytest.approx(0.5), "of the median γ, 1 in a fresh model: fewer steps go as far"
    assert best == {0: None, 1: 0.9, 2: None}, "the last third begins here"


def test_a_sparse_run_of_a_version_before_goes_as_far(tiny_data, tmp_path):
    """Its state does not say what was moved in the epochs that are done: as much as was planned."""
    moved, options = [], dict(loss_type="sparse", sparsity=0.5, epochs=4)
    note = {"on_train_epoch_end": lambda t: moved.append(t.slim.moved)}
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(2), **note, **options)
    file = tmp_path / "run/weights/slim.pt"
    state = torch.load(file)
    done = [state.pop(name) for name in ("gamma_moved", "gamma_plan")][0]
    torch.save(state, file)
    model, found = YOLO(str(tmp_path / "run/weights/last.pt")), []
    model.add_callback("on_train_start", lambda t: found.extend(t.slim._moved))
    model.add_callback("on_train_epoch_end", note["on_train_epoch_end"])
    model.train(resume=True)
    assert sum(found) == pytest.approx(sum(done)) and sum(moved) == pytest.approx(0.5)


def test_a_plan_made_in_the_warm_up_counts_the_steps_after_it(tiny_data, tmp_path):
    """Made anew while gradients accumulate over fewer batches than later, it goes as far as those before it left."""
    options = dict(loss_type="sparse", sparsity=0.5, batch=2, nbs=8, warmup_epochs=2)
    found = {}

    def shorten(trainer):
        assert trainer.accumulate < 4
        trainer.epochs = trainer.args.epochs = 3

    def note(trainer):
        if trainer.epoch == 1:
            penalty, moved = trainer.slim.penalty, trainer.lr["gamma/moved"]
            left = planned_steps(trainer, penalty, 4, first=1)[0]
            found["in all"] = moved + penalty.rate * left
            raise Interrupt

    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_fit_epoch_end=shorten, on_train_batch_start=note, epochs=6, **options)
    assert found["in all"] == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("fitness", [(0.5, 0.1), (0.5, 0.4, 0.45, 0.1)], ids=["two epochs", "in the last"])
def test_a_collapse_is_said_whenever_it_comes(tiny_data, tmp_path, fitness, log):
    train(tiny_data, tmp_path, loss_type="sparse", epochs=len(fitness), val=True, trainer=pretending(*fitness))
    assert log.text.count("the fitness fell to 0.1000 from 0.5000") == 1


@pytest.mark.slow
def test_a_resumed_sparse_run_keeps_the_best_of_its_last_third(tiny_data, tmp_path):
    """Resumed within the last third, the best so far is one of its epochs and counts on."""
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, loss_type="sparse", epochs=6, on_train_epoch_start=stop_at(5), val=True)
    model = YOLO(str(tmp_path / "run/weights/last.pt"))
    best = {}
    model.add_callback("on_train_start", lambda t: best.update(saved=t.best_fitness))
    model.add_callback("on_train_batch_start", lambda t: best.setdefault(t.epoch, t.best_fitness))
    model.train(resume=True)
    assert best["saved"] is not None and best[5] == best["saved"]


@pytest.mark.slow
def test_resume_finds_teacher_adapters_and_penalty(tiny_data, tmp_path, teacher_path):
    options = dict(Distillation=str(teacher_path), loss_type="cwd+sparse", epochs=4)
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(2), **options)
    last = tmp_path / "run/weights/last.pt"
    state = torch.load(last.with_name("slim.pt"))
    at_start = {}

    def remember(trainer):
        at_start.update(adapters=weights_of(trainer.slim.distiller.losses), rate=trainer.slim.penalty.rate)
        at_start["optimizer"] = trainer.slim.distiller.optimizer.state_dict()["state"]
        at_start["history"] = trainer.slim.history.state_dict()

    model = YOLO(str(last))
    model.add_callback("on_train_start", remember)
    model.train(resume=True)
    assert model.trainer.start_epoch == 2 and model.trainer.args.loss_type == "cwd+sparse"
    assert at_start["rate"] == state["gamma_rate"] and at_start["optimizer"]
    assert at_start["history"] == state["gamma_history"] and len(state["gamma_history"]["rows"]) == 3
    assert all(torch.equal(v, at_start["adapters"][k]) for k, v in state["distiller"]["losses"].items())


@pytest.mark.slow
def test_resume_takes_another_teacher_with_a_warning(tiny_data, tmp_path, teacher_path, log):
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(1), Distillation=str(teacher_path), loss_type="cwd")
    other = tmp_path / "other teacher.pt"
    YOLO("yolov8n.yaml", verbose=False).save(other)
    model = YOLO(str(tmp_path / "run/weights/last.pt"))
    model.train(resume=True, Distillation=str(other))
    assert model.trainer.args.Distillation == str(other)
    assert "another teacher" in log.text and "Resume ignores" not in log.text


@pytest.mark.slow
def test_resume_knows_the_teacher_by_its_file_and_plans_for_its_batches(tiny_data, tmp_path, log):
    """A module's file has the same name in every run; a file may be moved; an earlier version wrote the path alone."""
    first, second = (DetectionModel(MINI, nc=2, verbose=False) for _ in range(2))
    options = dict(loss_type="cwd+sparse", sparsity=0.5, epochs=3, nbs=2)
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(2), Distillation=first, **options)
    weights = tmp_path / "run/weights"
    moved = shutil.copyfile(weights / "teacher.pt", tmp_path / "moved.pt")

    def resumed(**kwargs):
        log.clear()
        model = YOLO(str(weights / "last.pt"))
        model.add_callback("on_train_start", interrupt)
        with pytest.raises(Interrupt):
            model.train(resume=True, **kwargs)
        return model.trainer.slim.penalty.rate

    rate = resumed(Distillation=str(moved))
    assert "another teacher" not in log.text
    assert resumed(batch=2) < 0.6 * rate  # twice the steps
    planned = prepared(tiny_data, tmp_path, batch=2, name="planned", Distillation=first, **options)
    assert resumed(batch=2) == pytest.approx(planned.slim.penalty.rate)
    resumed(Distillation=second)
    assert "another teacher" in log.text and (weights / "teacher.pt").exists()

    state = torch.load(weights / "slim.pt")
    torch.save({k: v for k, v in state.items() if k not in {"teacher_sha256", "gamma_median"}}, weights / "slim.pt")
    assert resumed() == state["gamma_rate"] and "another teacher" not in log.text


@pytest.mark.slow
def test_a_run_that_was_moved_goes_on_with_all_it_had(tiny_data, tmp_path, log):
    """Its checkpoint still names the old folder; adapters, penalty and a teacher of its own lie beside it.

    And it goes on there.
    """
    teacher = DetectionModel(MINI, nc=2, verbose=False)
    options = dict(Distillation=teacher, loss_type="cwd+sparse", epochs=3)
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(2), **options)
    moved = (tmp_path / "run").rename(tmp_path / "elsewhere")
    state = torch.load(moved / "weights/slim.pt")
    model, found = YOLO(str(moved / "weights/last.pt")), {}
    model.add_callback("on_train_start", lambda t: found.update(weights_of(t.slim.distiller.losses)))
    model.train(resume=True)
    assert all(torch.equal(value, found[key]) for key, value in state["distiller"]["losses"].items())
    assert model.trainer.args.Distillation == str(moved / "weights/teacher.pt")
    assert model.trainer.save_dir == moved and not (tmp_path / "run").exists()
    rows = (moved / "results.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "1", "2", "3"]
    assert "start afresh" not in log.text and "another teacher" not in log.text and "of epoch" not in log.text


@pytest.mark.slow
def test_a_copy_goes_on_without_touching_the_original_or_where_it_is_told(tiny_data, tmp_path):
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(1), epochs=2)
    run, copies = tmp_path / "run", [tmp_path / name for name in ("copy", "second")]
    whole = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for copied in copies:
        shutil.copytree(run, copied)
    YOLO(copies[0] / "weights/last.pt").train(resume=True)
    YOLO(copies[1] / "weights/last.pt").train(resume=True, save_dir=str(tmp_path / "told"))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == whole
    counts = [len((folder / "results.csv").read_text().splitlines()) for folder in copies]
    assert counts == [3, 2] and (tmp_path / "told/results.csv").is_file()


@pytest.mark.slow
def test_an_earlier_epoch_is_resumed_with_a_word_and_without_the_later_rows(tiny_data, tmp_path, teacher_path, log):
    options = dict(Distillation=str(teacher_path), loss_type="cwd+sparse", epochs=4, save_period=1)
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(3), **options)
    weights, table = tmp_path / "run/weights", tmp_path / "run/results.csv"
    before = table.read_text().splitlines()
    model = YOLO(str(weights / "epoch0.pt"))
    rows = []
    model.add_callback("on_train_start", lambda t: rows.append(len(t.slim.history.rows)))
    model.train(resume=True)
    assert f"slim.pt is of epoch 3, {weights / 'epoch0.pt'} of epoch 1: the adapters are those of epoch 3" in log.text
    assert "holds 1 epochs" in log.text and rows == [2]  # at the start and after the first
    after = table.read_text().splitlines()
    assert [line.partition(",")[0] for line in after] == ["epoch", "1", "2", "3", "4"] and after[:2] == before[:2]


@pytest.mark.slow
def test_what_is_not_resumable_loses_no_row(tiny_data, tmp_path, teacher_path):
    _, trainer = train(tiny_data, tmp_path, Distillation=str(teacher_path), loss_type="cwd")
    rows = trainer.csv.read_text()
    with pytest.raises(AssertionError, match="nothing to resume"):
        DetectionTrainer(overrides={"resume": str(trainer.last)}).train()
    assert trainer.csv.read_text() == rows


@pytest.mark.parametrize("event", ["on_train_start", "on_train_batch_end"])
def test_an_interrupted_run_leaves_no_hook(tiny_data, tmp_path, teacher_path, event):
    kept = {}

    def stop(trainer):
        kept["model"] = trainer.model
        raise Interrupt

    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, Distillation=str(teacher_path), loss_type="cwd", **{event: stop})
    assert hooks_in(kept["model"]) == 0
    copy.deepcopy(kept["model"])


@pytest.mark.slow
def test_hooks_survive_a_restarted_epoch(tiny_data, tmp_path, teacher_path):
    """After an out-of-memory retry an epoch starts again without having ended; hooks must not pile up.

    There are twice as many steps now: all together, the penalty's still move the γ as far as was asked.
    """
    failed, hooks, moved = [], [], []

    def fail_once(trainer):
        hooks.append(hooks_in(trainer.model))

    original = TrainingRun.distillation_loss

    def run_out_of_memory(self, batch, progress):
        loss = original(self, batch, progress)
        if not failed:
            failed.append(True)
            raise RuntimeError("out of memory (made up)")
        return loss

    TrainingRun.distillation_loss = run_out_of_memory
    try:
        _, trainer = train(
            tiny_data, tmp_path, Distillation=str(teacher_path), loss_type="cwd+sparse", sparsity=0.5, nbs=2,
            on_train_batch_end=fail_once, on_train_epoch_end=lambda t: moved.append(t.slim.moved),
        )  # fmt: skip
    finally:
        TrainingRun.distillation_loss = original
    assert trainer.batch_size == 2 and set(hooks) == {2} and hooks_in(trainer.model) == 0
    assert sum(moved) == pytest.approx(0.5, rel=0.15)


@pytest.mark.slow
def test_other_class_count_family_and_scale(tiny_data, tmp_path):
    for name, config, nc in (
        ("scale", "yolov8s.yaml", 2),
        ("family", "yolo26n.yaml", 2),
        ("classes", "yolo11n.yaml", 80),
    ):
        teacher = DetectionModel(config, nc=nc, verbose=False)
        loss_type = "cwd+mgd+logit" if nc == 2 else "cwd+mgd"
        _, trainer = train(
            tiny_data, tmp_path, name=name, epochs=1, fraction=0.5, Distillation=teacher, loss_type=loss_type
        )
        assert float(trainer.tloss["distill_loss"]) > 0
    with pytest.raises(ValueError, match="the student has 2, box, disc, and the teacher 80"):
        train(tiny_data, tmp_path, name="logit", Distillation=teacher, loss_type="logit")


@pytest.mark.parametrize(
    "kwargs, error, fragment",
    [
        (dict(loss_type="kd"), ValueError, "not one of None, sparse, cwd, mgd"),
        (dict(Distillation="t.pt"), ValueError, "needs a distillation loss"),
        (dict(loss_type="cwd"), ValueError, "needs a teacher"),
        (dict(loss_type="cwd", Distillation="missing.pt"), FileNotFoundError, "teacher 'missing.pt' does not exist"),
    ],
)
def test_bad_input_stops_before_anything_is_written(tiny_data, tmp_path, kwargs, error, fragment):
    with pytest.raises(error, match=fragment):
        train(tiny_data, tmp_path / "runs", **kwargs)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_from_the_yolo_command(tiny_data, tmp_path, teacher_path):
    """The overrides work in Ultralytics' own command line, and stand in args.yaml."""
    options = {k: v for k, v in SHORT.items() if k != "verbose"} | {"epochs": 1}
    command = [sys.executable, "-c", "from ultralytics.cfg import entrypoint; entrypoint()", "train"]
    command += [f"model={MINI}", f"data={tiny_data}", f"project={tmp_path}", "name=cli", "loss_type=cwd+sparse"]
    command += [f"Distillation={teacher_path}", *(f"{k}={v}" for k, v in options.items())]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert YAML.load(tmp_path / "cli/args.yaml")["loss_type"] == "cwd+sparse"
    assert "train/distill_loss" in (tmp_path / "cli/results.csv").read_text()


@pytest.mark.slow
def test_resume_from_the_yolo_command(tiny_data, tmp_path, teacher_path):
    options = dict(Distillation=str(teacher_path), loss_type="cwd+sparse")
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(1), **options)
    last = tmp_path / "run/weights/last.pt"
    entrypoint(f"train resume model={last}")
    header, *rows = (tmp_path / "run/results.csv").read_text().splitlines()
    assert len(rows) == 2 and float(rows[1].split(",")[header.split(",").index("train/loss_ratio")]) > 0
    assert last.exists() and not last.with_name("slim.pt").exists()


def test_an_unknown_argument_stops_before_anything_is_written(tiny_data, tmp_path, teacher_path):
    runs = tmp_path / "runs"
    with pytest.raises(SyntaxError, match="distill_foo"):
        train(tiny_data, runs, Distillation=str(teacher_path), loss_type="cwd", distill_foo=1)
    with pytest.raises(SyntaxError, match="distill_foo"):
        entrypoint(f"train model=yolov8n.yaml data={tiny_data} project={runs} loss_type=sparse distill_foo=1")
    assert not runs.exists()
