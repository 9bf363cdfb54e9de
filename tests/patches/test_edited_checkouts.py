"""Checkouts that their owners edited: places found by what the code does, told where they are not, and taken back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from edited_checkout import LOSS, SCALED, STEP, TRAINER, Checkout

from patches.additions import additions_of
from patches.checkout import find_checkout
from patches.errors import DoesNotFit, PatchError
from patches.fetch import cache_folder, unpack
from patches.fit import _place, fit_file
from patches.pin import HERE, load_pin
from patches.placing import place_seams
from patches.revert import revert
from patches.seams import SEAMS
from patches.source import Source
from patches.unified import FilePatch, apply_to_bytes, read_patch

SEAM = "self.loss += self.slim.distillation_loss(batch, i / nb)"
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


@pytest.fixture
def theirs(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def around(lines: list[str], code: str) -> tuple[str, str, str]:
    """The line before the only one with `code`, that line, and the next, without comments of ours."""
    (at,) = [at for at, line in enumerate(lines) if code in line]
    return lines[at - 1].strip(), lines[at].split("  #")[0], lines[at + 1].strip()


# The loss of a batch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "before", "indent"),
    [
        # summed from a vector
        ("{i}loss, self.loss_items = self.model(batch)\n{i}self.loss = loss.sum()\n", "self.loss = loss.sum()", 20),
        # one more `with`
        ("{i}with flags():\n{i}    self.loss, self.loss_items = self.model(batch)\n", "self.loss, self.loss_items", 24),
        # made, then summed, then averaged
        (
            "{i}self.loss, self.loss_items = self.model(batch)\n{i}self.loss = self.loss.sum()\n"
            "{i}self.loss = self.loss / self.accumulate\n",
            "self.loss = self.loss.sum()",
            20,
        ),
        # summed only if it is not yet: after the condition
        (
            "{i}self.loss, self.loss_items = self.model(batch)\n"
            "{i}if self.loss.ndim:\n{i}    self.loss = self.loss.sum()\n",
            "self.loss = self.loss.sum()",
            20,
        ),
        # with a loss of the owner's, added at once or later
        ("{i}loss, self.loss_items = self.model(batch)\n{i}self.loss = loss.sum() + 0.1 * extra(batch)\n", "0.1", 20),
        (
            "{i}self.loss, self.loss_items = self.model(batch)\n{i}self.loss = self.loss + extra(batch)\n",
            "self.loss, self.loss_items",
            20,
        ),
        # a helper that returns it
        ("{i}self.loss, self.loss_items = self.losses_of(batch)\n", "self.losses_of(batch)", 20),
        # a fault is dealt with by dropping the loss
        (
            "{i}try:\n{i}    self.loss, self.loss_items = self.model(batch)\n"
            "{i}except MemoryError:\n{i}    self.loss, self.loss_items = none()\n",
            "self.loss, self.loss_items = self.model",
            24,
        ),
    ],
)
def test_the_loss_is_found_where_it_is_made(theirs: Checkout, code: str, before: str, indent: int):
    theirs.edit_trainer((LOSS, code.format(i=" " * 20)), (SCALED, SCALED.replace("RANK != -1", "many")))
    previous, seam, _ = around(theirs.patched(), SEAM)
    assert before in previous and seam == " " * indent + SEAM


@pytest.fixture
def loss_alone(monkeypatch: pytest.MonkeyPatch) -> FilePatch:
    """The part of the patch that adds to the loss, which fits the small trainer as text, and no other seam."""
    monkeypatch.setattr("patches.seams.SEAMS", tuple(seam for seam in SEAMS if "distillation_loss" in seam.code))
    (trainer,) = (file for file in read_patch(HERE / "8.0.239.patch") if file.inner == "engine/trainer.py")
    return FilePatch(trainer.path, [hunk for hunk in trainer.hunks if b"distillation_loss" in hunk.new[0]])


@pytest.mark.parametrize(
    "scaling",
    [
        "self.loss = self.loss / self.accumulate",
        "self.loss = 0.5 * self.loss + extra(batch)",
        "self.loss /= self.accumulate",
        "if self.scaled: self.loss *= 0.5",
        "self.loss.mul_(0.5)",
    ],
)
@pytest.mark.parametrize("rest", [SCALED, SCALED.replace("RANK", "rank")])
def test_it_is_added_before_the_loss_is_scaled_also_where_the_patch_fits_as_text(
    loss_alone: FilePatch, scaling: str, rest: str
):
    text = TRAINER.replace(LOSS + SCALED, f"{LOSS}{' ' * 20}{scaling}\n{rest}")
    done = fit_file(text.encode(), loss_alone)
    assert around(done.after.decode().splitlines(), SEAM) == (LOSS.strip(), " " * 20 + SEAM, scaling)


@pytest.mark.parametrize("value", ["self.model(batch).sum() / self.accumulate", "0.5 * self.model(batch).sum()"])
@pytest.mark.parametrize("rest", [SCALED, SCALED.replace("RANK", "rank")])
def test_scaled_where_it_is_made_it_needs_a_hand_also_there(loss_alone: FilePatch, value: str, rest: str):
    text = TRAINER.replace(LOSS + SCALED, f"{' ' * 20}self.loss = {value}\n{rest}")
    (finding,) = fit_file(text.encode(), loss_alone).unsettled
    assert "scaled in the statement that makes it" in finding.reason


@pytest.mark.parametrize("added", ["", "self.loss = self.loss + extra(batch) / 2"])
def test_what_is_added_to_the_loss_is_no_reason_against_the_patch_as_text(loss_alone: FilePatch, added: str):
    done = fit_file(TRAINER.replace(SCALED, f"{' ' * 20}{added}\n{SCALED}").encode(), loss_alone)
    assert not done.misfit and around(done.after.decode().splitlines(), SEAM)[2] == "if RANK != -1:"


def test_one_with_less(theirs: Checkout):
    """The reason for the tool of before to refuse: the line after stands at another indentation."""
    text = TRAINER.replace("                with autocast(self.amp):\n", "")
    for line in ("batch = self.preprocess_batch(batch)", LOSS.strip(), *map(str.strip, SCALED.splitlines())):
        text = text.replace(f"    {line}\n", f"{line}\n")
    theirs.write("engine/trainer.py", text.encode())
    assert around(theirs.patched(), SEAM) == (LOSS.strip(), " " * 16 + SEAM, "if RANK != -1:")


def test_in_each_arm_of_an_if(theirs: Checkout):
    arms = "{i}if self.fast:\n{i}    self.loss = self.model(batch).sum()\n{i}else:\n    " + LOSS
    theirs.edit_trainer((LOSS, arms.format(i=" " * 20)), (SCALED, ""))
    lines = theirs.patched()
    assert [line.split("  #")[0] for line in lines if "distillation_loss" in line] == [" " * 24 + SEAM] * 2


def test_renamed_variables(theirs: Checkout):
    theirs.edit_trainer(
        ("for i, batch in", "for step, data in"),
        ("batch = self.preprocess_batch(batch)", "inputs = self.preprocess_batch(data)"),
        ("self.model(batch)", "self.model(inputs)"),
        ("nb = len(self.train_loader)\n", "count = len(self.train_loader)\n"),
        (SCALED, ""),
        ("overrides=None", "options=None"),
        ("cfg, overrides", "cfg, options"),
        ("(overrides)", "(options)"),
        ("self, overrides", "self, options"),
    )
    text = "\n".join(theirs.patched())
    assert "self.loss += self.slim.distillation_loss(inputs, step / len(self.train_loader))" in text
    assert "options = slim.read_overrides(options)" in text
    assert "slim.resume_with(self.args, options)" in text


@pytest.mark.parametrize(
    ("call", "parameters", "seam", "kept"),
    [
        ("self.forward(batch, i)", "inputs, n", "distillation_loss(inputs, n / len(self.train_loader))", False),
        ("self.forward(data=batch)", "data", "distillation_loss(data, self.slim_progress)", True),
    ],
)
def test_in_a_method_that_the_loop_calls(theirs: Checkout, call: str, parameters: str, seam: str, kept: bool):
    helper = (
        f"\n    def forward(self, {parameters}):\n        self.loss, self.loss_items = self.model({parameters[:4]})\n"
    )
    theirs.edit_trainer(
        (LOSS, " " * 20 + call + "\n"), (SCALED, ""), ("\n    def optimizer_step", f"{helper}\n    def optimizer_step")
    )
    lines = theirs.patched()
    assert around(lines, "distillation_loss")[1] == f"        self.loss += self.slim.{seam}"
    assert any("self.slim_progress = i / nb" in line for line in lines) == kept


# Other places ------------------------------------------------------------------------------------------------------


def test_a_step_without_a_scaler_and_one_in_each_arm(theirs: Checkout):
    arms = "        if self.amp:\n    " + STEP + "        else:\n            self.optimizer.step()\n"
    theirs.edit_trainer((STEP, arms))
    lines = [line.split("  #")[0].strip() for line in theirs.patched()]
    for step in (STEP.strip(), "self.optimizer.step()"):
        at = lines.index(step)
        assert (lines[at - 1], lines[at + 1]) == ("self.slim.before_step()", "self.slim.after_step()")


def test_moved_and_changed_places(theirs: Checkout):
    """A step in the loop itself, `train` with an argument, no resuming, no advice about pip, another way to load."""
    step = "                self.scaler.unscale_(self.optimizer)\n        " + STEP
    body = TRAINER[TRAINER.index("    def optimizer_step") : TRAINER.index("    def check_resume")]
    theirs.edit_trainer(
        ("                self.optimizer_step()\n", step),
        (body, ""),
        ("def train(self)", "def train(self, bands)"),
        ("        self.resume_training(None)\n", ""),
    )
    theirs.edit("engine/model.py", ("        checks.check_pip_update_available()\n\n", ""))
    theirs.edit("nn/tasks.py", ("csd = model.float().state_dict()", "csd = self.read(model)"))
    lines = theirs.patched()
    assert around(lines, "self.slim.after_step()")[1] == " " * 16 + "self.slim.after_step()"
    assert around(lines, "slim.closing")[2] == "def train(self, bands):"
    assert around(lines, "slim.prepare")[2] == 'self.run_callbacks("on_pretrain_routine_end")'
    assert around(theirs.patched("engine/model.py"), "self.ckpt =")[2] == "overrides = self.overrides"
    assert around(theirs.patched("nn/tasks.py"), "keep_widths(self, weights)")[0].startswith("csd = self.read")


def test_advice_about_pip_in_a_condition_is_taken_out_of_it(theirs: Checkout):
    call = "        checks.check_pip_update_available()\n"
    theirs.edit("engine/model.py", (call, f"        if self.online:\n    {call}"))
    lines = theirs.patched("engine/model.py")
    assert around(lines, "if self.online")[2] == "pass"
    assert around(lines, "self.ckpt =")[1].startswith("        self.ckpt")


# How files are written ---------------------------------------------------------------------------------------------


def crlf(text: str) -> bytes:
    return text.encode().replace(b"\n", b"\r\n")


def mixed(text: str) -> bytes:
    lines = text.encode().split(b"\n")
    return b"\n".join(line + b"\r" * (at % 2) for at, line in enumerate(lines[:-1])) + b"\n"


def gbk(text: str) -> bytes:
    """With a comment in a line that the patch of this checkout quotes."""
    return b"# -*- coding: gbk -*-\n" + text.replace("backward()", "backward()  # 训练").encode("gbk")


@pytest.mark.parametrize(
    ("encode", "ending"),
    [
        (crlf, b"\r\n"),
        (mixed, None),
        (lambda text: b"\xef\xbb\xbf" + crlf(text), b"\r\n"),
        (gbk, b"\n"),
        (lambda text: text.rstrip("\n").encode(), b"\n"),
        (lambda text: text.replace("    ", "\t").encode(), b"\n"),
    ],
    ids=["crlf", "mixed", "mark", "gbk", "no newline at the end", "tabs"],
)
def test_endings_encodings_and_indentation_stay(theirs: Checkout, encode, ending: bytes | None):
    """In a file that is placed by its code, since the loss is summed."""
    summed = LOSS.replace("self.loss, ", "loss, ") + " " * 20 + "self.loss = loss.sum()\n"
    theirs.edit("engine/trainer.py", (LOSS, summed), (SCALED, ""), encode=encode)
    before = theirs.snapshot()["engine/trainer.py"]
    theirs.patched()
    theirs.apply()
    after = theirs.snapshot()["engine/trainer.py"]
    assert after[:30] == before[:30]
    ours = [line for line in after.splitlines(keepends=True) if b"slim" in line]
    assert len(ours) == 10
    assert ending is None or all(line.endswith(ending) and line.count(b"\r") == ending.count(b"\r") for line in ours)


@pytest.mark.parametrize("text", ["epochs: 1\n", "epochs: 1", "epochs: 1\nlist:\n  - 1\nlast: 2"])
def test_settings_without_a_custom_section(theirs: Checkout, text: str):
    theirs.write("cfg/default.yaml", text.encode())
    lines = theirs.patched("cfg/default.yaml")
    assert any(line.startswith("loss_type:") for line in lines)
    assert [line for line in text.split("\n") if line] == [line for line in lines if "slim:" not in line and line]


def test_a_setting_of_that_name_is_kept_and_told(theirs: Checkout):
    theirs.write("cfg/default.yaml", b"epochs: 1\nsparsity: 0.5 # mine\n\n# Custom config.yaml\n")
    said = theirs.check()
    assert "default.yaml:2: `sparsity: 0.5 # mine` is there already; it stays, and slim reads it" in said
    assert [line for line in theirs.patched("cfg/default.yaml") if line.startswith("sparsity")] == [
        "sparsity: 0.5 # mine"
    ]


# By hand -----------------------------------------------------------------------------------------------------------


def test_ambiguous_names_the_candidates_and_the_lines_to_add(theirs: Checkout):
    twice = LOSS + "                    if self.other:\n    " + LOSS.replace("model", "second")
    theirs.edit_trainer((LOSS, twice), (SCALED, ""))
    before = theirs.snapshot()
    first = 1 + theirs.snapshot()["engine/trainer.py"].decode().split("\n").index(LOSS.rstrip("\n"))
    with pytest.raises(DoesNotFit) as error:
        theirs.apply()
    message = str(error.value)
    assert "engine/trainer.py: 1 edits need a hand" in message and "is not there" not in message
    assert f"line {first}: {LOSS.strip()}" in message and f"line {first + 2}: " in message
    assert "Add by hand, after `self.loss = _.sum()` or" in message and f"        {SEAM}" in message
    assert theirs.snapshot() == before
    shown = theirs.show()
    assert "ambiguous: self.loss += self.slim.distillation_loss(...)" in shown
    assert "would be placed at ultralytics/engine/trainer.py:" in shown


def test_scaled_in_the_statement_that_makes_it_needs_a_hand(theirs: Checkout):
    """Added afterwards, the distillation loss would not be scaled alike."""
    theirs.edit_trainer((LOSS, " " * 20 + "self.loss = self.model(batch).sum() / self.accumulate\n"), (SCALED, ""))
    with pytest.raises(DoesNotFit, match="scaled in the statement that makes it; sum and scale in two"):
        theirs.check()


def test_not_found_says_where_it_would_go(theirs: Checkout):
    theirs.edit_trainer(('            self.run_callbacks("on_train_epoch_end")\n', ""))
    with pytest.raises(DoesNotFit, match=r"(?s)not found: self\.slim\.end_epoch\(\).*Add by hand, before .*_do_train"):
        theirs.check()
    assert "not found: self.slim.end_epoch()" in theirs.show()


def test_a_file_that_does_not_parse_says_so(theirs: Checkout):
    theirs.edit_trainer(("def train(self):", "def train(self:"))
    with pytest.raises(DoesNotFit, match=r"trainer\.py: it does not parse under this Python: line 13"):
        theirs.check()


def test_edits_made_by_hand_are_left_alone_also_by_revert(theirs: Checkout):
    """The message's own advice, followed: what was ambiguous is then applied, and reverting leaves it."""
    twice = LOSS + f"                    {SEAM}\n" + LOSS.replace("model", "second")
    theirs.edit_trainer((LOSS, twice), (SCALED, ""), ("    def train", "    @slim.closing\n    def train"))
    assert "8 places found by its code, 2 there already" in theirs.check()
    lines = theirs.patched()
    assert sum("distillation_loss" in line for line in lines) == sum("slim.closing" in line for line in lines) == 1
    assert "in place at ultralytics/engine/trainer.py:" in theirs.show()


def test_what_is_there_already_is_not_added_twice_where_the_patch_would_fit(theirs: Checkout):
    """Nothing else is edited, so every quoted line is there."""
    summed = LOSS.replace("self.loss, ", "loss, ") + " " * 20 + "self.loss = loss.sum()\n"
    theirs.edit_trainer((LOSS, summed), ("    def train", "    @slim.closing\n    def train"))
    assert sum("slim.closing" in line for line in theirs.patched()) == 1
    (settings,) = (file for file in read_patch(HERE / "8.0.239.patch") if file.inner == "cfg/default.yaml")
    quoted = settings.hunks[0].old[0]
    theirs.write("cfg/default.yaml", b"epochs: 1\ndistill_tau: 2.0\n\n" + quoted + b"\n")
    assert sum(line.startswith("distill_tau") for line in theirs.patched("cfg/default.yaml")) == 1


def test_all_by_hand_adds_slim_alone(theirs: Checkout):
    theirs.apply()
    by_hand = {name: content for name, content in theirs.snapshot().items() if "slim" not in name}
    revert(theirs.root)
    for name, content in by_hand.items():
        theirs.write(name, content)
    assert "0 files edited" in theirs.check()
    theirs.patched()


@pytest.mark.parametrize(
    ("seam", "fault"),
    [
        ("                self.scaler.scale(self.loss).backward()\n                " + SEAM, "must come before"),
        ("                    " + SEAM + "\n" + LOSS.rstrip("\n"), "must come after"),
    ],
)
def test_an_edit_by_hand_in_the_wrong_place_is_refused(theirs: Checkout, seam: str, fault: str):
    old = "                self.scaler.scale(self.loss).backward()" if "backward" in seam else LOSS.rstrip("\n")
    theirs.edit_trainer((old, seam))
    with pytest.raises(DoesNotFit, match=fault):
        theirs.check()


# Releases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.0.200", "8.1.0", "8.4.100", "0.1", "custom"])
def test_forks_of_every_range_and_of_none(theirs: Checkout, version: str):
    theirs.write("__init__.py", f'__version__ = "{version}"\n'.encode())
    theirs.edit_trainer((SCALED, ""))
    assert ("is no release of Ultralytics" in theirs.check()) == (not version.startswith("8"))
    assert around(theirs.patched(), SEAM)[0] == LOSS.strip()


def test_placed_by_code_an_unedited_release_is_what_the_patch_makes_of_it(stock_ultralytics: Path):
    """Of the pinned release, and of every other whose wheel is in the cache."""
    assert_placed_like_the_patch(stock_ultralytics / "ultralytics")


@pytest.mark.network
@pytest.mark.slow
def test_so_are_older_releases(tmp_path: Path):
    wheels = [path for path in cache_folder().glob("ultralytics-*.whl") if load_pin().version not in path.name]
    for wheel in wheels:
        assert_placed_like_the_patch(unpack(wheel, tmp_path / wheel.stem))


def assert_placed_like_the_patch(package: Path) -> None:
    for file in read_patch(find_checkout(package, HERE).patch):
        content = (package / file.inner).read_bytes()
        own = [seam for seam in SEAMS if seam.file == file.inner]
        source = Source(content, file.inner)
        assert not fit_file(content, file).misfit, file.path
        placed = _place(content, file, source, place_seams(source, own, additions_of(file, own)), "as text")
        assert not placed.fault and placed.after == apply_to_bytes(content, file), file.path


# For people without the tool ---------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str | Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "core.autocrlf=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@needs_git
@pytest.mark.parametrize("encode", [str.encode, crlf], ids=["lf", "crlf"])
def test_exported_patches_apply_with_git_and_back(theirs: Checkout, tmp_path: Path, encode):
    theirs.edit("engine/trainer.py", (SCALED, ""), encode=encode)
    before = theirs.snapshot()
    assert "edits.patch, slim.patch" in theirs.export(tmp_path / "out")
    assert theirs.snapshot() == before
    theirs.apply()
    by_tool = {name: content for name, content in theirs.snapshot().items() if name != ".slim-patch.json"}
    revert(theirs.root)
    git(theirs.root, "init", "-q")
    for patch in ("edits.patch", "slim.patch"):
        git(theirs.root, "apply", tmp_path / "out" / patch)
    assert theirs.snapshot() == by_tool
    for patch in ("edits.patch", "slim.patch"):
        git(theirs.root, "apply", "-R", tmp_path / "out" / patch)
    assert theirs.snapshot() == before


@needs_git
def test_patches_for_all_releases_apply_with_git_to_theirs(theirs: Checkout, tmp_path: Path, stock_ultralytics: Path):
    said = theirs.export(tmp_path / "out", whole=True)
    newest = f"edits-8.4.13-to-{load_pin().version}.patch"
    assert newest in said and sorted(path.name for path in (tmp_path / "out").iterdir())[-1] == "slim.patch"
    names = [file.inner for file in read_patch(HERE / "8.0.239.patch")]
    for name in names:
        theirs.write(name, (stock_ultralytics / "ultralytics" / name).read_bytes())
    theirs.write("__init__.py", (stock_ultralytics / "ultralytics/__init__.py").read_bytes())
    git(theirs.root, "init", "-q")
    git(theirs.root, "apply", tmp_path / "out" / newest, tmp_path / "out" / "slim.patch")
    by_hand = theirs.snapshot()
    git(theirs.root, "apply", "-R", tmp_path / "out" / newest, tmp_path / "out" / "slim.patch")
    theirs.apply()
    assert {name: content for name, content in theirs.snapshot().items() if name != ".slim-patch.json"} == by_hand


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_export_into_a_file_is_one_message(theirs: Checkout, tmp_path: Path, place: str):
    (tmp_path / "file").touch()
    with pytest.raises(PatchError, match=rf"{place}: .*; name another folder\."):
        theirs.export(tmp_path / place)
    assert (tmp_path / "file").read_bytes() == b""


def test_export_overwrites_nothing(theirs: Checkout, tmp_path: Path):
    theirs.export(tmp_path / "out")
    with pytest.raises(PatchError, match=r"edits\.patch is there already"):
        theirs.export(tmp_path / "out")


@needs_git
def test_diff_of_a_patched_checkout_is_what_a_person_would_commit(theirs: Checkout, tmp_path: Path):
    theirs.edit_trainer((SCALED, ""))
    before = theirs.snapshot()
    theirs.apply()
    (tmp_path / "all.patch").write_bytes(theirs.diff())
    patched = theirs.snapshot()
    revert(theirs.root)
    git(theirs.root, "init", "-q")
    git(theirs.root, "apply", tmp_path / "all.patch")
    assert theirs.snapshot() == {name: content for name, content in patched.items() if name != ".slim-patch.json"}
    git(theirs.root, "apply", "-R", tmp_path / "all.patch")
    assert theirs.snapshot() == before
