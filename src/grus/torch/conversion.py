"""``convert``: every ``torch.nn.GRU`` and ``GRUCell`` of a model, replaced in place; ``revert``: the way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from grus.errors import InputError
from grus.torch.cell import GRUCell
from grus.torch.gru import GRU, OPTIONS

__all__ = ["Conversion", "convert", "revert"]

_OURS: dict[type[nn.Module], type[GRU | GRUCell]] = {nn.GRU: GRU, nn.GRUCell: GRUCell}
# what torch.nn.GRU keeps beside its options and parameters, of no use to grus.torch.GRU
_PRIVATE = {"_flat_weights_names", "_all_weights", "_flat_weights", "_flat_weight_refs", "mode", "proj_size"}
# and what ours keep, of no use to torch.nn's
_OWN = {"_names", "_gains", "_shapes", "_beyond", "_ready", *OPTIONS}
_NO_MATTER = {"save_gates"}  # of the results


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


def revert(module: nn.Module) -> nn.Module:
    """Put ``torch.nn.GRU`` and ``GRUCell`` in the place of ours in ``module``: the converse of :func:`convert`.

    In place, with the very Parameters and all else that ``convert`` keeps; the state_dict has the same keys. Returns
    the model: the one given, or, where that was itself a GRU, the one that takes its place.

    Raises TypeError when ``module`` is no ``torch.nn.Module``, InputError, before anything is changed, when a module
    has what ``torch.nn`` does not: its name and its options are told.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module should be a torch.nn.Module, got {type(module).__name__}")
    found = [slot for slot in _slots(module) if isinstance(slot[-1], GRU | GRUCell)]
    reasons = [f"{name or 'the module itself'}: {why}" for name, *_, one in found if (why := _beyond_torch(one))]
    if reasons:
        raise InputError(f"grus.torch.revert: torch.nn cannot say {'; '.join(reasons)}. Nothing was changed")
    new: dict[nn.Module, nn.Module] = {}
    for _, parent, key, child in found:
        if child not in new:
            new[child] = _theirs(child)
        if parent is not None:
            parent._modules[key] = new[child]
    return new.get(module, module)


def _beyond_torch(module: nn.Module) -> str | None:
    """What of ``module`` has no place in torch.nn, or None."""
    ours = GRU if isinstance(module, GRU) else GRUCell
    if type(module) is not ours and not (parametrize.is_parametrized(module) and type(module).__bases__ == (ours,)):
        return f"{type(module).__name__}, a subclass of grus.torch.{ours.__name__}"
    options = {name: getattr(module, name, usual) for name, usual in OPTIONS.items() if name not in _NO_MATTER}
    return ", ".join(f"{name}={value}" for name, value in options.items() if value != OPTIONS[name]) or None


def _theirs(module: nn.Module) -> nn.Module:
    """A module of torch.nn's with all that ``module`` has."""
    kind: type[nn.Module] = nn.GRU if isinstance(module, GRU) else nn.GRUCell
    twin: Any = kind.__new__(kind)
    twin.__dict__.update({name: value for name, value in vars(module).items() if name not in _OWN})
    _take_class(twin, module)
    if isinstance(module, GRU):
        names = module._names
        flat = [name for own in names for name in own]
        twin.__dict__.update(mode="GRU", proj_size=0, _all_weights=names, _flat_weights_names=flat)
        twin._init_flat_weights()
    return twin  # type: ignore[no-any-return]


def _take_class(twin: nn.Module, module: nn.Module) -> None:
    """Where parametrize made the class of ``module``, with a property for each parametrized weight, make one such."""
    if parametrize.is_parametrized(module):
        members = {name: value for name, value in vars(type(module)).items() if name not in ("__module__", "__doc__")}
        twin.__class__ = type(type(module).__name__, (type(twin),), members)


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
    _take_class(twin, module)
    return twin  # type: ignore[no-any-return]
