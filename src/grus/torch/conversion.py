"""``convert``: every ``torch.nn.GRU`` and ``torch.nn.GRUCell`` of a model, replaced in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from grus.torch.cell import GRUCell
from grus.torch.gru import GRU, OPTIONS

__all__ = ["Conversion", "convert"]

_OURS: dict[type[nn.Module], type[GRU | GRUCell]] = {nn.GRU: GRU, nn.GRUCell: GRUCell}
# what torch.nn.GRU keeps beside its options and parameters, of no use to grus.torch.GRU
_PRIVATE = {"_flat_weights_names", "_all_weights", "_flat_weights", "_flat_weight_refs", "mode", "proj_size"}


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert` did; print it to read it."""

    module: nn.Module
    """The model: the one given, or, where that was itself a GRU, the one that takes its place."""
    converted: dict[str, str] = field(default_factory=dict)
    """The name of each module replaced, "" for the model itself, and what stands there now."""
    skipped: dict[str, str] = field(default_factory=dict)
    """The name of each GRU left as it was, and the reason."""

    def __str__(self) -> str:
        total = len(self.converted) + len(self.skipped)
        lines = [f"grus.torch.convert: {len(self.converted)} of {total} GRU modules converted"]
        lines += [f"  {name or 'the module itself'}: {what}" for name, what in self.converted.items()]
        lines += [f"  {name or 'the module itself'}: left as it is, {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)


def convert(module: nn.Module) -> Conversion:
    """Put ``grus.torch.GRU`` and ``GRUCell`` in the place of every ``torch.nn.GRU`` and ``GRUCell`` in ``module``.

    In place: the new modules hold the very Parameters, so that an optimiser made before goes on with them, and the
    mode (training or not), hooks, parametrizations, pruning masks and attributes of the old. A GRU shared by several
    modules stays shared. The state_dict has the same keys. Where ``module`` itself is a GRU, take ``.module`` of the
    result. A GRU that could not go on as it does is left alone, and the result says why. Modules that are no
    submodules, such as those in a plain list, are not found.

    Raises TypeError when ``module`` is no ``torch.nn.Module``.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module should be a torch.nn.Module, got {type(module).__name__}")
    converted: dict[str, str] = {}
    skipped: dict[str, str] = {}
    new: dict[nn.Module, GRU | GRUCell] = {}
    for name, parent, key, child in list(_slots(module)):
        if (kind := _kind(child)) is None:
            continue
        if child not in new and (reason := _reason(child, kind)):
            skipped[name] = reason
            continue
        if child not in new:
            new[child] = _twin(child, kind)
        converted[name] = repr(new[child])
        if parent is not None:
            parent._modules[key] = new[child]
    return Conversion(new.get(module, module), converted, skipped)


def _slots(root: nn.Module) -> Iterator[tuple[str, nn.Module | None, str, nn.Module]]:
    """Every place where a module stands: its name, its parent and the key there, and the module."""
    yield "", None, "", root
    for path, parent in root.named_modules():
        for key, child in parent._modules.items():
            if child is not None:
                yield f"{path}.{key}" if path else key, parent, key, child


def _kind(module: nn.Module) -> type[nn.Module] | None:
    if isinstance(module, torch.jit.ScriptModule):
        name = getattr(module, "original_name", None)
        return {"GRU": nn.GRU, "GRUCell": nn.GRUCell}.get(str(name))
    return next((kind for kind in _OURS if isinstance(module, kind)), None)


def _reason(module: nn.Module, kind: type[nn.Module]) -> str | None:
    """Why ``module`` cannot be replaced, or None."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is compiled by TorchScript: convert the model before torch.jit.script or trace"
    own = type(module)
    if own is not kind and not (parametrize.is_parametrized(module) and own.__bases__ == (kind,)):
        return f"{own.__name__} is a subclass of torch.nn.{kind.__name__} and may do something else"
    for name in ("forward", "_call_impl"):
        if name in vars(module):
            return f"its method {name} was replaced"
    if vars(module).get("_compiled_call_impl") is not None:
        return "it is compiled: convert the model before module.compile()"
    if any(getattr(hook, "with_module", False) for hook in module._load_state_dict_pre_hooks.values()):
        return "it has a load_state_dict pre-hook, which is bound to the old module"
    if module.hidden_size == 0 or module.input_size == 0:
        return "it has no input or no state"
    for name, parameter in module.named_parameters():
        if parameter.device.type not in ("cpu", "meta"):
            return f"{name} is on {parameter.device}, where grus.torch is plain PyTorch, and slower"
        if parameter.dtype not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            return f"{name} is {parameter.dtype}"
    return None


def _twin(module: nn.Module, kind: type[nn.Module]) -> GRU | GRUCell:
    """A module of ours with all that ``module`` has: its __dict__ is where a Module keeps everything."""
    ours = _OURS[kind]
    twin: Any = ours.__new__(ours)
    twin.__dict__.update({name: value for name, value in vars(module).items() if name not in _PRIVATE})
    twin.reset_after = True
    if isinstance(twin, GRU):
        twin.__dict__.update(OPTIONS)
    twin._prepare()
    if type(module) is not kind:  # a class that parametrize made, with a property for each parametrized weight
        members = {name: value for name, value in vars(type(module)).items() if name not in ("__module__", "__doc__")}
        twin.__class__ = type(type(module).__name__, (ours,), members)
    return twin  # type: ignore[no-any-return]
