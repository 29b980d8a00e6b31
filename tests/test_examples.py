"""The examples, run as a newcomer runs them: what they print and write, and that they resume."""

from __future__ import annotations

import importlib
import itertools
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff, backward, grad, value_and_grad
from tests.tools import ROOT, output_of, run

for package in ("sklearn", "matplotlib", "rich"):
    pytest.importorskip(package, reason='the examples need: pip install -e ".[examples]"')

EXAMPLES = ("digits_mlp", "digits_cnn", "fit_oscillator")
SHORT = ("gaussian_process", "hidden_markov", "neural_ode", "logistic_hmc")
"""Those with arguments of their own, which train nothing that would be resumed."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SMALLEST_PICTURE = 20_000  # bytes; an empty figure of this size has less than half of that


def command(name: str, *arguments: str) -> list[str]:
    # Warnings are errors here as they are in the other tests.
    return [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), *arguments]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of the examples, which find each other as `python examples/x.py` does."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    return importlib.import_module


@pytest.fixture
def common(load: Callable[[str], Any]) -> Any:
    """The module that the examples share."""
    return load("common")


# -- what they print and write ----------------------------------------------------------


def test_every_example_is_tested() -> None:
    programs = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert programs - {"arguments", "common", "digits", "poisson", "train_gpt", *SHORT} == set(
        EXAMPLES
    )
    for name in (*SHORT, "poisson"):
        text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        assert text.count("\n") < 80
    assert (ROOT / "examples" / "train_gpt.py").read_text(encoding="utf-8").count("\n") <= 150


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "gaussian_process",
            ("--points", "0"),
            "argument --points: expected an integer of at least 1",
        ),
        ("hidden_markov", ("--steps", "-2"), "argument --steps: expected an integer of at least 1"),
        ("poisson", ("--backend", "cuppy"), "argument --backend: expected a usable backend, got"),
    ],
)
def test_short_examples_refuse_wrong_arguments(
    name: str, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = run(command(name, *arguments), tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs_for_one_epoch(name: str, tmp_path: Path) -> None:
    printed = output_of(command(name, "--epochs", "1", "--backend", "numpy"), tmp_path)
    assert printed.startswith("epoch 1/1  loss ")
    assert "\x1b" not in printed
    assert f"wrote {name}.png\n" in printed
    picture = (tmp_path / f"{name}.png").read_bytes()
    assert picture.startswith(PNG_SIGNATURE)
    assert len(picture) > SMALLEST_PICTURE
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]


@pytest.mark.parametrize(("name", "least"), [("digits_mlp", 97.0), ("digits_cnn", 98.5)])
def test_digits_are_read(name: str, least: float, tmp_path: Path) -> None:
    last = output_of(command(name), tmp_path).splitlines()[-1]
    found = re.fullmatch(r"test accuracy: (\d+\.\d\d)%", last)
    assert found, last
    assert float(found[1]) >= least


def test_oscillator_is_recovered(tmp_path: Path) -> None:
    rows = [line.split() for line in output_of(command("fit_oscillator"), tmp_path).splitlines()]
    fitted = {row[0]: (float(row[2]), float(row[3])) for row in rows[-3:]}
    assert list(fitted) == ["mass", "damping", "stiffness"]
    # The noise leaves standard deviations of 1.6% in mass and stiffness and of 2.4% in damping, by
    # the inverse of the Fisher information; three of them.
    for name, tolerance in (("mass", 0.05), ("damping", 0.075), ("stiffness", 0.05)):
        value, true = fitted[name]
        assert value == pytest.approx(true, rel=tolerance), name


def test_poisson_is_solved(tmp_path: Path) -> None:
    printed = output_of(command("poisson", "--steps", "500", "--backend", "numpy"), tmp_path)
    last = re.fullmatch(r"largest error of u against sin\(pi x\): (.*)", printed.splitlines()[-1])
    assert last, printed
    # Seeds from 0 to 9 leave 3e-4 to 7e-4; a network that learns nothing is off by about 1.
    assert float(last[1]) < 0.01


def test_gaussian_process_is_scikit_learns(load: Callable[[str], Any], tmp_path: Path) -> None:
    program = load("gaussian_process")
    kernels = importlib.import_module("sklearn.gaussian_process.kernels")
    process = importlib.import_module("sklearn.gaussian_process").GaussianProcessRegressor
    backend = Autodiff(born.get_backend("numpy"))
    at, values = program.samples(30)
    x, y = born.tensor(at, backend), born.tensor(values, backend)
    kernel = kernels.ConstantKernel(1.0) * kernels.RBF(1.0) + kernels.WhiteKernel(np.exp(-2.0))
    theirs = process(kernel, alpha=0.0, optimizer=None).fit(at[:, None], values)
    for theta in ([0.0, 0.0, -2.0], [1.0, -0.5, -1.0]):
        expected, slope = theirs.log_marginal_likelihood(np.array(theta), eval_gradient=True)
        of_any: Any = value_and_grad
        value, gradient = of_any(program.evidence)(born.tensor(theta, backend, "float64"), x, y)
        np.testing.assert_allclose(value.item(), expected, rtol=1e-12)
        np.testing.assert_allclose(gradient.numpy(), slope, rtol=1e-9)
    result = program.fit(x, y)
    assert result.success
    best = process(kernel, alpha=0.0).fit(at[:, None], values)
    np.testing.assert_allclose(result.x.numpy(), best.kernel_.theta, atol=1e-3)
    points = np.linspace(0.5, 5.5, 6)
    found = program.predict(result.x, x, y, born.tensor(points, backend))
    mean, deviation = best.predict(points[:, None], return_std=True)
    np.testing.assert_allclose(found[0].numpy(), mean, atol=1e-3)
    noise = np.exp(best.kernel_.theta[2])  # which they count in
    np.testing.assert_allclose(found[1].numpy() ** 2 + noise, deviation**2, atol=1e-3)
    printed = output_of(
        command("gaussian_process", "--points", "20", "--backend", "numpy"), tmp_path
    )
    assert printed.startswith("evidence ")


def test_hidden_markov_model_is_the_sum_of_all_paths(
    load: Callable[[str], Any], tmp_path: Path
) -> None:
    program = load("hidden_markov")
    backend = Autodiff(born.get_backend("numpy", seed=1))
    model = program.HiddenMarkov(2, 6, backend)
    seen = program.simulate(9)[1]
    throws = model.throws(born.tensor(seen, backend))

    def probabilities(logits: Any) -> Any:
        p = np.exp(logits.numpy().astype(np.float64))
        return p / p.sum(axis=-1, keepdims=True)

    first, change, faces = map(probabilities, (model.initial, model.transition, model.emission))
    total, marginal = 0.0, np.zeros((9, 2))
    for path in itertools.product(range(2), repeat=9):
        p = first[path[0]] * np.prod([change[a, b] for a, b in itertools.pairwise(path)])
        p *= np.prod([faces[state, face] for state, face in zip(path, seen, strict=True)])
        total += p
        marginal[range(9), path] += p
    np.testing.assert_allclose(model.evidence(throws).item(), np.log(total), rtol=1e-6)
    of_any: Any = grad
    found = of_any(model.evidence)(throws).numpy()
    np.testing.assert_allclose(found, marginal / total, atol=1e-5)
    arguments = ("--throws", "200", "--steps", "5", "--backend", "numpy")
    printed = output_of(command("hidden_markov", *arguments), tmp_path)
    assert re.search(r"throws whose die is found: \d+\.\d%$", printed.strip())


def test_a_spiral_is_learnt(load: Callable[[str], Any]) -> None:
    program = load("neural_ode")
    model, error = program.train(born.get_backend("numpy"), 120)
    assert error < 0.6  # 0.2 to 0.3; an untrained network is off by 2
    # The integrator, by SciPy's of order 8 on the learnt field.
    solve = importlib.import_module("scipy.integrate").solve_ivp
    backend = model.last.weight.backend
    start = np.array([[2.0, 0.0]])
    found = program.integrate(model, born.tensor(start, backend), 40).numpy()[-1, 0]

    def field(_: float, x: Any) -> Any:
        return model(born.tensor(x[None], backend)).numpy()[0]

    expected = solve(field, (0.0, 40 * program.STEP), start[0], method="DOP853", rtol=1e-9)
    np.testing.assert_allclose(found, expected.y[:, -1], atol=1e-3)


def test_posterior_is_that_of_a_fine_grid(load: Callable[[str], Any]) -> None:
    program = load("logistic_hmc")
    draws, taken = program.sample(born.get_backend("numpy"), 150, 20)
    assert draws.shape == (3000, 2)
    assert taken > 0.9
    x, y = program.data()
    a, b = np.meshgrid(np.linspace(-2, 3, 301), np.linspace(-1, 5, 301), indexing="ij")
    logits = a[..., None] * x[:, 0] + b[..., None] * x[:, 1]
    density = (y * logits - np.logaddexp(0.0, logits)).sum(axis=-1)
    density -= (a**2 + b**2) / (2 * program.PRIOR**2)
    weight = np.exp(density - density.max())
    weight /= weight.sum()
    mean = np.array([(weight * a).sum(), (weight * b).sum()])
    deviation = np.sqrt([(weight * a**2).sum(), (weight * b**2).sum()] - mean**2)
    # Of some thousand draws that hardly depend on each other, about a fiftieth of the deviation.
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.04)
    np.testing.assert_allclose(draws.std(axis=0), deviation, rtol=0.08)


# -- a small GPT --------------------------------------------------------------------------


@pytest.fixture
def small_gpt(load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example with little text and a network to match: a second in place of minutes."""
    gpt = load("train_gpt")
    sizes = {"WIDTH": 16, "HEADS": 2, "LAYERS": 1, "CONTEXT": 16, "SAMPLE": 40, "EPOCHS": 3}
    for name, value in {**sizes, "MODULES": "bisect heapq nothing_of_the_name"}.items():
        monkeypatch.setattr(gpt, name, value)
    return gpt


def run_gpt(gpt: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train_gpt.py", "--backend", "numpy", *arguments])
    gpt.main()


def test_gpt_learns_and_writes(
    small_gpt: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_gpt(small_gpt, tmp_path, monkeypatch)
    *progress, wrote, _ = capsys.readouterr().out.splitlines()[:5]
    losses = [float(line.split()[3]) for line in progress]
    # A network that knows nothing is at the logarithm of the number of letters.
    assert losses[-1] < losses[0] < np.log(len(small_gpt.LETTERS))
    assert progress[0].startswith("epoch 1/3  loss ")
    assert wrote == "wrote train_gpt.png"
    assert (tmp_path / "train_gpt.png").stat().st_size > SMALLEST_PICTURE


def test_gpt_prints_a_sample_last(
    small_gpt: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_gpt(small_gpt, tmp_path, monkeypatch, "--epochs", "1")
    _, sample = capsys.readouterr().out.split("wrote train_gpt.png\n\n")
    assert sample.startswith(small_gpt.PROMPT)
    assert len(sample) == len(small_gpt.PROMPT) + small_gpt.SAMPLE + 1  # the end of the line


def test_resumed_gpt_equals_one_never_stopped(
    small_gpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(folder: str, epochs: int, *more: str) -> bytes:
        arguments = ("--epochs", str(epochs), "--checkpoint-dir", folder, *more)
        run_gpt(small_gpt, tmp_path, monkeypatch, *arguments)
        path = tmp_path / folder / "train_gpt" / f"step-{epochs:08d}.safetensors"
        return path.read_bytes()

    whole = train("whole", 3)
    assert train("parts", 1) != whole
    assert train("parts", 3, "--resume") == whole


def test_gpt_decays_matrices_alone(small_gpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, float] = {}

    def stop(options: object, model: Any, optimizer: Any, loader: object) -> None:
        kept.update({p.name: optimizer.config_of(p).weight_decay for p in model.parameters()})
        raise SystemExit

    monkeypatch.setattr(small_gpt, "Training", stop)
    monkeypatch.setattr(sys, "argv", ["train_gpt.py", "--backend", "numpy"])
    with pytest.raises(SystemExit):
        small_gpt.main()
    decayed = {name for name, decay in kept.items() if decay}
    assert decayed == {name for name in kept if name.endswith("weight")} - {
        *("letters.weight", "norm.weight", "blocks.0.norm_1.weight", "blocks.0.norm_2.weight")
    }


# -- going on ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_resumed_equals_never_stopped(name: str, tmp_path: Path) -> None:
    def train(folder: str, epochs: int, *more: str) -> bytes:
        arguments = ("--epochs", str(epochs), "--checkpoint-dir", folder, "--seed", "3", *more)
        output_of(command(name, *arguments), tmp_path)
        return (tmp_path / folder / name / f"step-{epochs:08d}.safetensors").read_bytes()

    whole = train("whole", 3)
    first = train("parts", 1)
    assert train("parts", 3, "--resume") == whole
    assert first != whole


@contextmanager
def training(folder: Path) -> Generator[subprocess.Popen[str]]:
    """A long training that has saved a checkpoint."""
    # A shell that runs the tests in the background has SIGINT ignored, which is inherited.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command("digits_mlp", *LONG), cwd=folder, stdout=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 60.0
        while not list(folder.glob("runs/digits_mlp/step-*.safetensors")):
            assert time.monotonic() < deadline, "no checkpoint within a minute"
            assert process.poll() is None, "the example ended by itself"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


LONG = ("--epochs", "100000", "--checkpoint-dir", "runs")
RESUMED = ("--checkpoint-dir", "runs", "--resume", "--epochs", "1")


def test_interrupt_ends_politely_and_can_be_resumed(tmp_path: Path) -> None:
    with training(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60.0)
    assert process.returncode == 128 + signal.SIGINT
    found = re.search(r"interrupted in epoch (\d+); saved (.*)\nto go on:\n  python ", printed)
    assert found, printed
    path = tmp_path / "runs" / "digits_mlp" / f"step-{int(found[1]) - 1:08d}.safetensors"
    assert found[2] == str(path)
    assert path.exists()
    assert printed.endswith(f"{' '.join(LONG)} --resume\n")
    resumed = output_of(command("digits_mlp", *RESUMED), tmp_path)
    assert resumed.startswith(f"resumed after epoch {int(found[1]) - 1} from {path.parent}\n")


def test_killed_training_can_be_resumed(tmp_path: Path) -> None:
    for _ in range(3):
        with training(tmp_path) as process:
            process.kill()
            process.wait()
        resumed = output_of(command("digits_mlp", *RESUMED), tmp_path)
        assert resumed.startswith("resumed after epoch ")
        shutil.rmtree(tmp_path / "runs")


def test_resuming_what_is_not_there_or_another_run_is_refused(tmp_path: Path) -> None:
    missing = run(command("digits_mlp", "--checkpoint-dir", "none", "--resume"), tmp_path)
    assert missing.returncode == 1
    assert missing.stderr.startswith("cannot resume: ")
    assert not (tmp_path / "none").exists()
    output_of(command("digits_mlp", "--checkpoint-dir", "runs", "--epochs", "1"), tmp_path)
    seeded = ("--checkpoint-dir", "runs", "--resume", "--seed", "5")
    other = run(command("digits_mlp", *seeded), tmp_path)
    assert other.returncode == 1
    assert "data: 'seed': expected 5, got 0" in other.stderr
    again = run(command("digits_mlp", "--checkpoint-dir", "runs"), tmp_path)
    assert again.returncode == 2
    assert "error: expected --resume, or a --checkpoint-dir without checkpoints" in again.stderr


# -- their arguments --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "0"], "argument --epochs: expected an integer of at least 1, got '0'"),
        (["--epochs", "ten"], "expected an integer of at least 1, got 'ten'"),
        (["--seed", "-1"], "argument --seed"),
        (["--resume"], "--resume needs --checkpoint-dir"),
        (["--backend", "abacus"], "got 'abacus'"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
    ],
)
def test_wrong_arguments_get_a_message(
    common: Any, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        common.parse("An example.", "example", 3, arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_picture_that_cannot_be_written_is_refused_at_once(
    common: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        common.parse("An example.", "example", 3, ["--output", str(tmp_path / "file" / "a.png")])
    assert "file" in capsys.readouterr().err


def test_missing_package_gets_a_message(common: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "absent", None)
    with pytest.raises(SystemExit, match=r"package absent, .* pip install -e \"\.\[examples\]\""):
        common.extra("absent")


def test_arguments_become_options(common: Any, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "a.png"
    arguments = ["--output", str(picture), "--checkpoint-dir", str(tmp_path / "runs")]
    options = common.parse("An example.", "example", 3, arguments)
    assert (options.epochs, options.seed, options.output) == (3, 0, picture)
    assert options.store.directory == tmp_path / "runs" / "example"
    assert picture.parent.is_dir()


def test_progress_is_a_bar_on_a_terminal(
    common: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    backend = Autodiff(born.get_backend("numpy"))
    model = nn.Linear(1, 1, backend)
    optimizer = optim.SGD(model.parameters(), optim.SGDConfig())

    def epoch(number: int) -> dict[str, float]:
        with backend.tape:
            loss = nn.mse_loss(model(born.ones((1, 1), backend)), born.ones((1, 1), backend))
        optimizer.step(backward(loss))
        return {"loss": float(number)}

    options = common.Options(backend, 2, 0, None, False, Path("unused.png"))
    history = common.Training(options, model, optimizer).run(epoch)
    assert history == [{"loss": 1.0}, {"loss": 2.0}]
    printed = capsys.readouterr().out
    assert "2/2" in printed
    assert "\x1b[" in printed
    assert "epoch 2/2  loss" not in printed


# -- the data ---------------------------------------------------------------------------


def test_digits_are_the_real_ones(load: Callable[[str], Any]) -> None:
    digits = load("digits")
    data = digits.load()
    parts = (data.train_images, data.validation_images, data.test_images)
    assert [len(part) for part in parts] == [1293, 144, 360]
    assert data.train_images.shape[1:] == (64,)
    assert data.train_images.dtype == np.float32
    assert data.test_labels.dtype == np.int64
    assert (data.train_images.min(), data.train_images.max()) == (0.0, 1.0)


def test_shifted_images_stay_whole_but_for_the_border(load: Callable[[str], Any]) -> None:
    cnn = load("digits_cnn")
    images = np.zeros((200, 1, 8, 8), np.float32)
    images[:, 0, 4, 4] = 1.0
    moved = cnn.shifted(images, np.random.default_rng(0))
    assert moved.shape == images.shape
    np.testing.assert_array_equal(moved.sum((1, 2, 3)), np.ones(200))
    places = {(int(row), int(column)) for _, _, row, column in np.argwhere(moved)}
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}
