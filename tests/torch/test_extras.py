"""Lengths, restarts, zoneout, state dropout and gates as results: the kernels beside plain PyTorch in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tolerance import check_float32
from torch import Tensor

from grus.runtime import kernels
from grus.torch import recurrence
from grus.torch.recurrence import Extras, Weights

T, I = 7, 5  # noqa: E741
OPTIONS = ["skip", "restart", "zone", "zone_all", "drop", "norm"]
together = pytest.mark.parametrize(
    "chosen", [*([name] for name in OPTIONS), ["skip", "restart", "zone", "drop"], OPTIONS]
)


def problem(chosen: list[str], B: int, H: int, D: int) -> dict[str, Any]:
    torch.manual_seed(B * H * D)
    lengths = torch.randint(0, T + 1, (B,))
    lengths[-1] = T if B > 1 else 4
    skip = (torch.arange(T)[:, None] >= lengths) if "skip" in chosen else None
    extras = []
    for _ in range(D):
        zone: Tensor | float = (torch.rand(T, B, H) < 0.3).float() if "zone" in chosen else 0.0
        restart = torch.rand(T, B) < 0.3 if "restart" in chosen else None
        drop = (torch.rand(B, H) < 0.7).float() / 0.7 if "drop" in chosen else None
        extras.append(Extras(skip, restart, None, 0.2 if "zone_all" in chosen else zone, drop))
    shapes = (3 * H, I), (3 * H, H), (3 * H,), (3 * H,)
    return {
        "x": torch.randn(T, B, I),
        "h0": torch.randn(D, B, H),
        "starts": [torch.randn(B, H) if "restart" in chosen else None for _ in range(D)],
        "weights": [torch.randn(shape) * 0.4 for _ in range(D) for shape in shapes],
        "norms": [0.3 + 0.5 * torch.rand(3 * H) for _ in range(2 * D)] if "norm" in chosen else [],
        "extras": extras,
        "by": [torch.randn(T, B, D * H), torch.randn(D, B, H), *(torch.randn(T, B, H) for _ in range(3 * D))],
    }


def spelled_out(
    x: Tensor, h0: Tensor, directions: list[Weights], norms: list[Tensor], extras: list[Extras], reset_after: bool
) -> tuple[Tensor, Tensor, list[recurrence.Gates]]:
    """The formulas a step at a time, as one would write them with ``torch.where`` and ``layer_norm``."""
    hidden = h0.shape[-1]

    def norm(a: Tensor, gain: Tensor | None) -> Tensor:
        if gain is None:
            return a
        return torch.nn.functional.layer_norm(a, a.shape[-1:]) * gain

    outputs, last, gates = [], [], []
    for d, ((W, U, b_i, b_h), more) in enumerate(zip(directions, extras, strict=True)):
        assert W is not None and b_i is not None and b_h is not None
        gain_i, gain_h = norms[2 * d : 2 * d + 2] if norms else (torch.ones(0), torch.ones(0))
        rz, n_ = slice(0, 2 * hidden), slice(2 * hidden, None)
        parts = [(norm(x @ W[p].T, gain_i[p] if norms else None) + b_i[p]) for p in (rz, n_)]
        h, ys, found = h0[d], [None] * T, [None] * T
        for t in reversed(range(T)) if d else range(T):
            skip = torch.zeros(x.shape[1], 1, dtype=torch.bool) if more.skip is None else more.skip[t, :, None]
            if more.restart is not None:
                h = torch.where(more.restart[t, :, None] & ~skip, more.start, h)
            seen = h if more.drop is None else h * more.drop
            u = norm(seen @ U[rz].T, gain_h[rz] if norms else None) + b_h[rz]
            r, z = torch.sigmoid(parts[0][t] + u).chunk(2, -1)
            u_n = norm((seen if reset_after else r * seen) @ U[n_].T, gain_h[n_] if norms else None) + b_h[n_]
            n = torch.tanh(parts[1][t] + (r * u_n if reset_after else u_n))
            zone = more.zone[t] if isinstance(more.zone, Tensor) else more.zone
            kept = zone + (1 - zone) * z
            h = torch.where(skip, h, kept * h + (1 - kept) * n)
            ys[t] = torch.where(skip, 0.0, h)
            found[t] = [torch.where(skip, 0.0, gate) for gate in (r, z, n)]
        outputs.append(torch.stack(ys))
        last.append(h)
        gates.append(recurrence.Gates(*(torch.stack(gate) for gate in zip(*found, strict=True))))
    return torch.cat(outputs, -1), torch.stack(last), gates


def solve(
    given: dict[str, Any], dtype: torch.dtype, with_gates: bool, plain: bool, **options: Any
) -> dict[str, Tensor]:
    """Results and gradients by name."""

    def leaf(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.detach().to(dtype).requires_grad_()

    x, h0, starts = leaf(given["x"]), leaf(given["h0"]), [leaf(start) for start in given["starts"]]
    weights = [leaf(weight) for weight in given["weights"]]
    extras = []
    for more, start in zip(given["extras"], starts, strict=True):
        zone = more.zone.to(dtype) if isinstance(more.zone, Tensor) else more.zone
        extras.append(more._replace(start=start, zone=zone, drop=None if more.drop is None else more.drop.to(dtype)))
    directions = [Weights(*weights[i : i + 4]) for i in range(0, len(weights), 4)]
    norms = [leaf(gain) for gain in given["norms"]]
    gates: list[recurrence.Gates] | None = [] if with_gates else None
    if plain:
        y, h_n, gates = spelled_out(x, h0, directions, norms, extras, options["reset_after"])
    else:
        pairs = [recurrence.Norms(*norms[i : i + 2]) for i in range(0, len(norms), 2)] or None
        y, h_n = recurrence.layer(x, h0, directions, extras=extras, gates=gates, norms=pairs, **options)
    gates = gates if with_gates else []
    results = [y, h_n, *(gate for each in gates or () for gate in each)]
    names = ["y", "h_n", *(f"{name}{d}" for d in range(len(directions)) for name in "rzn")]
    given_by = [by.to(dtype) for by in given["by"]]
    loss = sum((result * by).sum() for result, by in zip(results, given_by, strict=False))
    inputs = {"x": x, "h0": h0, **{f"start{d}": start for d, start in enumerate(starts)}}
    inputs |= {
        f"{name}{d}": w for d, own in enumerate(directions) for name, w in zip(Weights._fields, own, strict=True)
    }
    inputs |= {f"gain{i}": gain for i, gain in enumerate(norms)}
    inputs = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    found = dict(zip(names, results, strict=False)) | {f"d{n}": g for n, g in zip(inputs, gradients, strict=True)}
    return {name: tensor.detach() for name, tensor in found.items()}


@together
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("B", "H", "D"), [(1, 7, 1), (3, 17, 2), (20, 33, 2), (40, 64, 1)])
@pytest.mark.parametrize("with_gates", [False, True])
def test_beside_plain_pytorch(
    chosen: list[str], reset_after: bool, B: int, H: int, D: int, with_gates: bool, isa_of_layers: str
) -> None:
    given = problem(chosen, B, H, D)
    exact = solve(given, torch.float64, with_gates, True, reset_after=reset_after)
    baseline = solve(given, torch.float32, with_gates, True, reset_after=reset_after)
    for save_gates, batch_major in [(None, False), (False, True)]:
        options: dict[str, Any] = {"save_gates": save_gates, "batch_major": batch_major}
        got = solve(given, torch.float32, with_gates, False, reset_after=reset_after, **options)
        for name, right in exact.items():
            check_float32(name, got[name].numpy(), right.numpy(), baseline[name].numpy())
        if "skip" in chosen:
            assert not got["y"][given["extras"][0].skip].any()


@pytest.fixture(params=kernels.isas())
def isa_of_layers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRUS_ISA", request.param)
    assert kernels.default_isa() == request.param
    return str(request.param)


@together
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_saved_gates_change_no_bit(chosen: list[str], threads: int) -> None:
    """Sharing the rows (B = 40), the units (B = 3) and the directions, with gates saved and computed once more."""
    for B, H, D in [(40, 64, 1), (3, 256, 1), (2, 96, 2)]:
        given = problem(chosen, B, H, D)
        before = kernels.get_num_threads()
        try:
            kernels.set_num_threads(1)
            right = solve(given, torch.float32, False, False, reset_after=True, save_gates=False)
            kernels.set_num_threads(threads)
            for save_gates in (True, False):
                got = solve(given, torch.float32, False, False, reset_after=True, save_gates=save_gates)
                assert all(torch.equal(got[name][..., :], right[name]) for name in ("y", "h_n", "dx", "dh0"))
        finally:
            kernels.set_num_threads(before)


def test_what_lies_in_skipped_steps_does_not_matter() -> None:
    given = problem(["skip"], 6, 17, 2)
    right = solve(given, torch.float32, True, False)
    given["x"][given["extras"][0].skip] = torch.nan
    given["by"][0][given["extras"][0].skip] = torch.nan
    got = solve(given, torch.float32, True, False)
    assert all(torch.equal(got[name], right[name]) for name in right if name != "dx")
    assert not got["dx"][given["extras"][0].skip].any() and got["dx"].isfinite().all()


def test_second_derivatives_in_float32() -> None:
    given = problem(["skip", "restart", "zone", "drop"], 4, 9, 2)
    found = []
    for dtype, plain in [(torch.float64, True), (torch.float32, True), (torch.float32, False)]:
        x, h0 = (given[name].to(dtype).requires_grad_() for name in ("x", "h0"))
        weights = [weight.to(dtype).requires_grad_() for weight in given["weights"]]
        starts = [start.to(dtype).requires_grad_() for start in given["starts"]]
        extras = [
            more._replace(start=start, zone=more.zone.to(dtype), drop=more.drop.to(dtype))
            for more, start in zip(given["extras"], starts, strict=True)
        ]
        directions = [Weights(*weights[i : i + 4]) for i in (0, 4)]
        if plain:
            y, h_n = recurrence.plain.layer(recurrence.directions(x, h0, directions, extras))
        else:
            y, h_n = recurrence.layer(x, h0, directions, reset_after=True, extras=extras)
        (dx, dW) = torch.autograd.grad((y**2).sum() + h_n.sum(), [x, weights[0]], create_graph=True)
        loss = dx.square().sum() + dW.square().sum()  # a gradient penalty
        found.append(torch.autograd.grad(loss, [x, h0, *starts, *weights]))
    for exact, baseline, got in zip(*found, strict=True):
        check_float32("second derivative", got.numpy(), exact.numpy(), baseline.numpy())


def test_gates_cannot_be_written_into() -> None:
    given = problem([], 3, 9, 1)
    x, gates = given["x"].requires_grad_(), []
    recurrence.layer(x, None, [Weights(*given["weights"])], gates=gates)
    with pytest.raises(RuntimeError, match="being modified inplace"):
        gates[0].z.mul_(2)
