"""The layers of a Keras model by its configuration: which feeds which, and which of them are one chain of GRUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grus.errors import InputError
from grus.interop.keras_layers import places

__all__ = ["CONTAINERS", "Step", "chosen", "steps"]

CONTAINERS = ("Sequential", "Functional", "Model")
# what does nothing to a trained model's numbers
_PASSING = ("InputLayer", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "Identity")
_RECURRENT = ("GRU", "GRUCell", "Bidirectional", "RNN", "StackedRNNCells")
_MOST_DEPTH = 100


@dataclass(frozen=True)
class Step:
    """One layer that holds no model: ``path`` is its name, behind those of the models it is in; ``inputs`` the paths of
    the layers whose output it takes, "" being the model's input; ``group`` where its arrays lie in a file of Keras.
    """

    path: str
    kind: str
    config: Mapping[str, Any]
    group: str
    inputs: tuple[str, ...]

    @property
    def sequences(self) -> bool:
        """Whether it gives all steps; Keras' default is the last."""
        inner = self.config.get("layer", {}).get("config", {}) if self.kind == "Bidirectional" else self.config
        return bool(inner.get("return_sequences", self.kind not in ("GRU", "RNN", "Bidirectional")))


@dataclass(frozen=True)
class _Flat:
    """The steps of a model, and what its output is made of: paths, the first one where it gives several."""

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]


def steps(kind: str, config: Any, group: str = "") -> tuple[list[Step], tuple[str, ...]]:
    """The layers of a model by its class and ``get_config()``, in order, and the paths of what gives its outputs."""
    flat = _flat(kind, config, group, (config.get("name", kind) if isinstance(config, dict) else kind), ("",), "", 0)
    return [*flat.steps], flat.outputs


def chosen(model: tuple[list[Step], tuple[str, ...]], names: Sequence[str] | None) -> list[Step]:
    """The layers named, or all, where they are GRUs of which each takes the output of the one before.

    Raises InputError where other layers stand among them, or they are not one chain.
    """
    every, outputs = model
    grus = [step for step in every if step.kind in _RECURRENT]
    listed = ", ".join(repr(step.path) for step in grus) or "(it has none)"
    by_path = {step.path: step for step in every}
    if names is not None:
        if not names or any(by_path.get(n) not in grus for n in names):
            raise InputError(f"layers is {list(names)}, expected names of GRU layers: {listed}", "layers")
        order = [by_path[name] for name in names]
    else:
        for step in every:
            if step.kind not in (*_PASSING, *_RECURRENT):
                raise InputError(
                    f"{step.path} is a {step.kind}, expected GRU layers alone; choose with layers= from {listed}",
                    "layers",
                )
        order = grus
    for before, after in zip([None, *order], order, strict=False):
        source = _origin(by_path, after)
        expected = before.path if before else ""
        if source != expected and (before or names is None):
            raise InputError(
                f"{after.path!r} does not take {f'the output of {expected!r}' if expected else 'what the model takes'} "
                f"alone: choose layers that are one chain with layers=, of {listed}",
                "layers",
            )
        if before and not before.sequences:
            raise InputError(f"{before.path!r} gives its last step alone, and {after.path!r} takes sequences", "layers")
    if names is None and order:
        ends = {_origin(by_path, replace(order[-1], inputs=(path,))) for path in outputs}
        if ends != {order[-1].path}:
            raise InputError(
                f"the model gives more than the output of {order[-1].path!r}: choose with layers= from {listed}",
                "layers",
            )
    return order


def _origin(by_path: Mapping[str, Step], step: Step) -> str | None:
    """The path of the layer whose output this one takes, through those that do nothing; None where it takes several."""
    inputs = step.inputs
    for _ in range(len(by_path) + 1):
        if len(inputs) != 1:
            return None
        (source,) = inputs
        if source not in by_path or by_path[source].kind not in _PASSING:
            return source
        inputs = by_path[source].inputs
    return None


def _flat(kind: str, config: Any, group: str, name: str, inputs: tuple[str, ...], within: str, depth: int) -> _Flat:
    if kind not in CONTAINERS:
        step = Step(within + name, kind, config, group, inputs)
        return _Flat((step,), (step.path,))
    if depth > _MOST_DEPTH:
        raise InputError(f"its models nest more than {_MOST_DEPTH} deep")
    members = config if isinstance(config, list) else config["layers"]  # a list in Keras before 2.3
    inside = within + name + "/" if depth else ""
    if kind == "Sequential":
        return _sequential(members, group, inputs, inside, depth)
    names = [at[0] for at in _tensors(config["input_layers"])]
    given = dict(zip(names, inputs if len(inputs) == len(names) else ("",) * len(names), strict=True))
    outputs = {(each, 0): (path,) for each, path in given.items()}
    nodes = {m.get("name") or m["config"]["name"]: m for m in members}
    found: list[Step] = []
    groups = dict(zip(nodes, places(members), strict=True))
    waiting = [each for each in nodes if each not in given]
    while waiting:
        ready = [n for n in waiting if all(at[0] not in waiting for at in _tensors(nodes[n]["inbound_nodes"]))]
        if not ready:
            raise InputError(f"the layers {waiting[:4]} take each other's output")
        for each in ready:
            waiting.remove(each)
            member = nodes[each]
            sources = [s for at in _tensors(member["inbound_nodes"]) for s in outputs.get((at[0], at[2]), ("?",))]
            here = f"{group}layers/{groups[each]}/"
            flat = _flat(member["class_name"], member["config"], here, each, tuple(sources), inside, depth + 1)
            found += flat.steps
            outputs |= {(each, i): (path,) for i, path in enumerate(flat.outputs)}
    ends = [path for at in _tensors(config["output_layers"]) for path in outputs.get((at[0], at[2]), ())]
    return _Flat(tuple(found), tuple(dict.fromkeys(ends)))


def _sequential(members: Sequence[Any], group: str, inputs: tuple[str, ...], inside: str, depth: int) -> _Flat:
    members = [m for m in members if m["class_name"] != "InputLayer"]
    found: list[Step] = []
    for member, place in zip(members, places(members), strict=True):
        config = member["config"]
        name = config.get("name", place) if isinstance(config, dict) else place
        flat = _flat(member["class_name"], config, f"{group}layers/{place}/", name, inputs, inside, depth + 1)
        found += flat.steps
        inputs = flat.outputs
    return _Flat(tuple(found), inputs)


def _tensors(given: Any) -> Iterator[tuple[str, int, int]]:
    """(layer, call, output) of every tensor in what a configuration says of inputs, in the ways of Keras 2 and 3."""
    if isinstance(given, Mapping):
        if "keras_history" in given:
            yield tuple(given["keras_history"])
            return
        for value in given.values():
            yield from _tensors(value)
    elif isinstance(given, (list, tuple)):
        if len(given) >= 3 and isinstance(given[0], str) and all(type(i) is int for i in given[1:3]):
            yield given[0], given[1], given[2]
            yield from _tensors(list(given[3:]))
            return
        for value in given:
            yield from _tensors(value)
