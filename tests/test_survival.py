"""What a distilling or sparse run must survive: half precision, accumulation, odd batches, NaN, custom code."""

import gc
import math
from types import SimpleNamespace

import pytest
import torch

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.files import fingerprint
from ultralytics.slim.resuming import find_teacher
from ultralytics.utils.torch_utils import TORCH_2_4

from short_runs import SHORT, hooks_in, losses_of, pretending, train, weights_of

needs_scaler = pytest.mark.skipif(
    not TORCH_2_4, reason="PyTorch before 2.4 has the scaler of another place, for CUDA alone"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss_type, kind",
    [("cwd+sparse", "bfloat16"), ("mgd", "bfloat16"), ("pkd+mimic+logit", "bfloat16"), ("cwd+mgd+logit", "float16")],
)
def test_half_precision_agrees_with_float32(tiny_data, tmp_path, teacher_path, loss_type, kind, monkeypatch):
    """Ultralytics refuses both kinds on a CPU, which can compute them: only that guard is replaced."""
    half = getattr(torch, kind)
    on_cpu = lambda dtype, device="cpu": torch.autocast("cpu", half, dtype is torch.bfloat16)  # noqa: E731
    monkeypatch.setattr("ultralytics.engine.trainer.autocast", on_cpu)
    options = dict(Distillation=str(teacher_path), loss_type=loss_type, epochs=1)
    full = losses_of(tiny_data, tmp_path / "full", **options)[1]
    trainer, half = losses_of(tiny_data, tmp_path / "half", amp="bf16", **options)
    assert trainer.amp and not trainer.scaler.is_enabled()
    assert half[0] == pytest.approx(full[0], rel=0.1) and all(math.isfinite(x) for x in half)
    assert all(torch.isfinite(p).all() for p in trainer.slim.distiller.losses.parameters())


@needs_scaler
@pytest.mark.slow
def test_scaled_gradients_are_unscaled_before_the_adapters_step(tiny_data, tmp_path, teacher_path, monkeypatch):
    """A gradient scaler on the CPU: the run ends where the one without a scaler does."""
    ends = []
    for scaled in (False, True):
        with monkeypatch.context() as patch:
            scaler = torch.amp.GradScaler
            patch.setattr(torch.amp, "GradScaler", lambda device, enabled, on=scaled: scaler("cpu", enabled=on))
            options = dict(Distillation=str(teacher_path), loss_type="cwd+sparse", epochs=1)
            trainer, _ = losses_of(tiny_data, tmp_path / str(scaled), **options)
        assert trainer.scaler.is_enabled() == scaled
        ends.append({**weights_of(trainer.slim.distiller.losses), **weights_of(trainer.model)})
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-3, atol=1e-4, msg=name)


@needs_scaler
def test_a_step_that_the_scaler_leaves_out_moves_no_gamma(tiny_data, tmp_path, monkeypatch):
    """Every gradient overflows at a scale of 2^127, so the optimizer makes no step, and the penalty none either."""
    scaler, before = torch.amp.GradScaler, {}
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler("cpu", init_scale=2.0**127))
    note = lambda t: before.update(weights_of(t.model))  # noqa: E731
    _, trainer = train(tiny_data, tmp_path, loss_type="sparse", sparsity=0.5, epochs=1, on_train_start=note)
    assert trainer.scaler.get_scale() == 2.0**125 and trainer.slim.moved == 0.0  # two steps left out
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())


@pytest.mark.slow
def test_gradients_of_the_adapters_are_carried_into_the_next_epoch(tiny_data, tmp_path, teacher_path):
    """Three batches an epoch and a step every two: the third waits for its step, as the student's gradients do."""
    held = []

    def look(trainer):
        modules = trainer.model, trainer.slim.distiller.losses
        held.append([any(p.grad is not None and p.grad.any() for p in m.parameters()) for m in modules])

    options = dict(Distillation=str(teacher_path), loss_type="cwd", batch=3, nbs=6, epochs=2)
    train(tiny_data, tmp_path, on_train_batch_start=look, **options)
    assert held == [[False, False], [True, True], [False, False]] + [[True, True], [False, False], [True, True]]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["student", "teacher"])
def test_nothing_of_a_batch_that_ran_out_of_memory_is_kept(tiny_data, tmp_path, teacher_path, where, monkeypatch):
    """Neither its features, which hold its graph, nor the adapters' gradients of the batch before it."""
    calls, seen = [], []

    def fail_at_the_second(*_):
        calls.append(where)
        if len(calls) == 2:
            raise RuntimeError("out of memory (made up)")

    def at_start(trainer):
        if where == "teacher":
            trainer.slim.distiller.teacher.model[8].register_forward_hook(fail_at_the_second)
            return
        loss = DetectionModel.loss
        fail_after = lambda *args: (loss(*args), fail_at_the_second())[0]  # noqa: E731
        monkeypatch.setattr(DetectionModel, "loss", fail_after)

    def look(trainer):
        d = trainer.slim.distiller
        taps = {**d.student_taps.features, **d.teacher_taps.features}
        seen.append((len(taps), sum(p.grad is not None for p in d.losses.parameters())))

    options = dict(Distillation=str(teacher_path), loss_type="cwd", batch=4, nbs=16, epochs=1)
    _, trainer = train(tiny_data, tmp_path, on_train_start=at_start, on_train_batch_start=look, **options)
    assert trainer.batch_size == 2 and len(seen) == 2 + 4
    assert seen[1][1] > 0 and seen[2] == (0, 0)


@pytest.mark.slow
def test_adapters_and_penalty_step_with_the_optimizer_when_gradients_accumulate(tiny_data, tmp_path, teacher_path):
    steps = {"trainer": 0, "adapters": 0, "penalty": 0}

    def count(trainer):
        slim, original = trainer.slim, trainer.optimizer.step
        adapters, penalty = slim.distiller.optimizer.step, slim.penalty.step

        def counted(name, function):
            def step(*args, **kwargs):
                steps[name] += 1
                return function(*args, **kwargs)

            return step

        trainer.optimizer.step = counted("trainer", original)
        slim.distiller.optimizer.step = counted("adapters", adapters)
        slim.penalty.step = counted("penalty", penalty)

    options = dict(Distillation=str(teacher_path), loss_type="cwd+sparse", batch=2, nbs=4, epochs=2)
    trainer, losses = losses_of(tiny_data, tmp_path, on_train_start=count, **options)
    assert trainer.accumulate == 2 and len(losses) == 8
    assert steps["trainer"] == steps["adapters"] == steps["penalty"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [dict(batch=1, nbs=1, epochs=1), dict(batch=5, epochs=1), dict(imgsz=128, multi_scale=0.5, epochs=2)],
    ids=["one", "short", "scales"],
)
def test_odd_batches_and_sizes(tiny_data, tmp_path, teacher_path, options):
    sizes = set()
    note = lambda t: t.slim.distiller.student_taps.model.register_forward_pre_hook(  # noqa: E731
        lambda m, x: sizes.add(tuple(x[0]["img"].shape)) if isinstance(x[0], dict) else None
    )
    trainer, losses = losses_of(
        tiny_data, tmp_path, on_train_start=note, Distillation=str(teacher_path), loss_type="cwd+mgd+logit", **options
    )
    batches = trainer.epochs * math.ceil(8 / trainer.args.batch)
    assert len(losses) == batches and all(x > 0 and math.isfinite(x) for x in losses)
    counts, widths = {s[0] for s in sizes}, {s[-1] for s in sizes}
    assert counts == {1} if trainer.args.batch == 1 else 3 in counts if trainer.args.batch == 5 else len(widths) > 1


def test_early_stopping_leaves_a_finished_run(tiny_data, tmp_path, teacher_path):
    stop_now = lambda t: setattr(t.stopper, "best_fitness", 2.0)  # noqa: E731 - no epoch can be better than this
    trainer, _ = losses_of(
        tiny_data, tmp_path, on_train_start=stop_now, Distillation=str(teacher_path), loss_type="cwd", epochs=6,
        val=True, patience=2,
    )  # fmt: skip
    assert trainer.epoch < 5 and hooks_in(trainer.model) == 0
    assert not (trainer.wdir / "slim.pt").exists() and trainer.last.exists()


@pytest.mark.slow
def test_recovers_from_nan(tiny_data, tmp_path, teacher_path, log):
    """A student that has gone to NaN comes back from last.pt; the adapters are not carried along."""

    def spoil(trainer):
        if trainer.epoch == 1 and not trainer.nan_recovery_attempts:
            next(trainer.model.parameters()).data.fill_(float("nan"))

    trainer, losses = losses_of(
        tiny_data,
        tmp_path,
        on_train_epoch_start=spoil,
        Distillation=str(teacher_path),
        loss_type="cwd+sparse",
        epochs=3,
    )
    assert "recovering from last.pt" in log.text and trainer.nan_recovery_attempts == 0
    assert any(math.isnan(x) for x in losses) and all(math.isfinite(x) for x in losses[-4:])
    for module in (trainer.model, trainer.slim.distiller.losses):
        assert all(torch.isfinite(p).all() for p in module.parameters())


@pytest.mark.slow
def test_nan_in_the_first_judged_epoch_of_a_sparse_run_brings_no_dense_best_back(tiny_data, tmp_path):
    """What last.pt holds then is the best of the dense epochs before."""

    def spoil(trainer):
        if trainer.epoch == 4 and not trainer.nan_recovery_attempts:
            next(trainer.model.parameters()).data.fill_(float("nan"))

    fitness = pretending(0.9, 0.8, 0.7, 0.6, 0.3, 0.2)
    options = dict(loss_type="sparse", epochs=6, val=True, trainer=fitness, on_train_epoch_start=spoil)
    _, trainer = train(tiny_data, tmp_path, **options)
    assert trainer.best_fitness == 0.3 and trainer.stopper.best_epoch == 5
    assert len(trainer.slim.history.rows) == 1 + 6  # the epoch that was redone counts once


def test_a_custom_step_without_ours_is_a_warning(tiny_data, tmp_path, teacher_path, log):
    class Mine(DetectionTrainer):
        def optimizer_step(self):
            self.optimizer.step()
            self.optimizer.zero_grad()

    train(tiny_data, tmp_path, trainer=Mine, Distillation=str(teacher_path), loss_type="cwd", epochs=2)
    assert log.text.count("optimizer_step() of Mine neither calls super().optimizer_step() nor") == 1


def test_custom_trainers_and_callbacks_go_on_working(tiny_data, tmp_path, teacher_path, log):
    called = []

    class Mine(DetectionTrainer):
        def preprocess_batch(self, batch):
            called.append("preprocess")
            return super().preprocess_batch(batch)

        def optimizer_step(self):
            called.append("step")
            super().optimizer_step()

    model = YOLO("yolov8n.yaml", verbose=False)
    model.add_callback("on_train_batch_end", lambda t: called.append("callback"))
    options = {**SHORT, "data": str(tiny_data), "project": str(tmp_path), "name": "run", "epochs": 1}
    model.train(trainer=Mine, Distillation=str(teacher_path), loss_type="cwd", **options)
    assert type(model.trainer) is Mine and float(model.trainer.tloss["loss_ratio"]) > 0
    assert [called.count(what) for what in ("preprocess", "step", "callback")] == [2, 2, 2]
    assert "stand still" not in log.text


@pytest.mark.slow
def test_nothing_piles_up_from_step_to_step(tiny_data, tmp_path, teacher_path):
    alive = []

    def count(trainer):
        gc.collect()
        alive.append(sum(isinstance(o, torch.Tensor) for o in gc.get_objects()))

    losses_of(
        tiny_data,
        tmp_path,
        on_train_epoch_end=count,
        Distillation=str(teacher_path),
        loss_type="cwd+mgd+logit+sparse",
        epochs=4,
    )
    assert alive[-1] <= alive[2]  # the first epochs make the optimizers' states


@pytest.mark.parametrize(
    ("name", "known", "taken"),
    [("best.pt", None, False), ("best.pt", "it", True), ("best.pt", "other", False), ("teacher.pt", None, True)],
)
def test_a_moved_run_takes_its_teacher_and_no_file_that_has_its_name(tmp_path, name, known, taken):
    """The student's own best.pt lies beside its last.pt, and teachers are mostly called so, too."""
    (tmp_path / name).write_bytes(b"weights")
    sha256 = {"it": fingerprint(tmp_path / name), "other": "0" * 64}.get(known)
    torch.save({"teacher_sha256": sha256} if sha256 else {}, tmp_path / "slim.pt")
    args = SimpleNamespace(model=str(tmp_path / "last.pt"), Distillation=f"/gone/{name}")
    find_teacher(args)
    assert args.Distillation == (str(tmp_path / name) if taken else f"/gone/{name}")
