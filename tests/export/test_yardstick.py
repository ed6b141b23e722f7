"""The tolerance rule tells right exports from wrong ones: a part of ``python -m benchmarks.yardstick``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmarks import yardstick
from tolerance import check_float64

from grus import Model, Session, exact
from grus.export.agreement import Expected, random_inputs
from grus.export.chained import Chained
from grus.export.onnx import prove
from grus.export.onnx.proof import _spread
from grus.spec import GRU, Linear, Spec, parameters


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> yardstick.Study:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    return yardstick.Study(yardstick.Natives(tmp_path_factory.mktemp("natives")), 1)


def gru(size: int, scale: float, seed: int, *after: Linear) -> Model:
    """As torch.nn.GRU begins, times ``scale``."""
    blocks, rng = (GRU(size, size), *after), np.random.default_rng(seed)
    bound = scale / np.sqrt(size)
    return Model(
        Spec(blocks), {n: rng.uniform(-bound, bound, s).astype(np.float32) for n, s in parameters(blocks).items()}
    )


@pytest.mark.parametrize("seed", range(3))
def test_plain_c_of_weights_as_large_as_trained_ones_is_right(study: yardstick.Study, seed: int) -> None:
    """One run of the matrix library as the yardstick calls most of these wrong."""
    model = gru(256, 4, seed)
    x = random_inputs(model, 60, 1, seed)
    expected = Expected(model, x)
    for name, y in yardstick.rights(study.natives, model, x):
        assert expected.compare(y).good, f"{name}: {expected.compare(y)}"


def test_random_models_are_judged_as_they_are(study: yardstick.Study) -> None:
    number, tried = 0, 0
    while tried < 40:
        model, steps = yardstick.random_model(np.random.default_rng([study.seed, number]))
        if model.spec.blocks[0].hidden_size < 40 and steps < 60:  # type: ignore[union-attr]
            study.one(number, 3)
            tried += 1
        number += 1
    assert not study.refused
    told = {name: [one for one in found if one != np.inf] for name, found in study.wrong.items()}
    assert max((one for passed in told.values() for one in passed), default=0) < yardstick.BEYOND, told
    assert sum(one == np.inf for found in study.wrong.values() for one in found) > 60 and len(study.wrong) > 25


def test_what_is_wrong_at_the_first_step_is_refused_though_late_ones_are_chaos() -> None:
    """Weights times 12: rounding alone takes the last steps anywhere."""
    model = gru(64, 12, 0)
    x = random_inputs(model, 100, 1)
    expected = Expected(model, x)
    assert expected.allowed[-1] > 1000 * expected.allowed[0]
    y = exact.run(model.spec.blocks, model.arrays, x)
    y[0] += 1e-4
    assert expected.allowed[-1] > 1e-4 and not expected.compare(y).good


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(2, 300, 200), (3, 512, 1), (1, 7, 2)])
def test_sums_are_taken_from_the_end_that_they_say(turned: bool, shape: tuple[int, int, int]) -> None:
    B, K, N = shape
    rng = np.random.default_rng(0)
    x, W = rng.normal(size=(B, K)).astype(np.float32), rng.normal(size=(N, K)).astype(np.float32)
    terms = (x[:, :, None] * W.T)[:, :: -1 if turned else 1]
    np.testing.assert_array_equal(Chained(turned).product(x, W), np.cumsum(terms, axis=1)[:, -1])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (6, 2, 1, 1)])
def test_chains_are_the_same_equations(turned: bool, reset_after: bool, shape: tuple[int, int, int, int]) -> None:
    T, B, I, H = shape  # noqa: E741
    blocks, rng = (
        (GRU(I, H, 2, bidirectional=True, reset_after=reset_after), Linear(2 * H, 3)),
        np.random.default_rng(1),
    )
    arrays = {n: rng.normal(size=s).astype(np.float32) for n, s in parameters(blocks).items()}
    x = rng.normal(size=(T, B, I))
    got = exact.run(blocks, arrays, x, arithmetic=Chained(turned))
    check_float64("y", got, exact.run(blocks, arrays, x))


def test_states_behind_a_readout_of_small_weights_may_err_as_states_do() -> None:
    onnx = pytest.importorskip("grus.export.onnx")
    pytest.importorskip("onnxruntime")
    model = gru(64, 10, 1, Linear(64, 1))
    small = Model(model.spec, model.arrays | {"1.weight": model.arrays["1.weight"] * np.float32(1e-4)})
    x = random_inputs(small, 24, 3)
    assert max(_spread(small, x, Session(small).run(x)[1].arrays)) > 10 * Expected(small, x).allowed[-1]
    assert prove(small, onnx.build(small, 17)).good


def test_the_results_on_record_have_no_fault() -> None:
    result = json.loads(Path(yardstick.RESULTS).read_text())
    assert not result["right ones refused"] and len(result["wrong exports"]) >= 20
    for name, row in result["wrong exports"].items():
        assert all(times < yardstick.BEYOND for times in row["accepted, times rounding"]), name
    decision = (Path(yardstick.__file__).parents[1] / "docs/decisions/0005-tolerance-rule.md").read_text()
    assert "\n".join(yardstick.table(result)) in decision
