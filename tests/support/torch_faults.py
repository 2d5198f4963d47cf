"""What can be wrong with a parameter, a gradient or a state of torch's; the tests are in `test_torch_faults`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

Spoil = Callable[[Any, Any], Any]
"""Does something to an optimizer, and to the second of its three parameters; what it returns takes that one's place."""

RIGHT = ""


class Fault(NamedTuple):
    """What is done, and the words of the error, or `RIGHT`: before the first step, and after some."""

    spoil: Spoil
    first: str = RIGHT
    later: str = RIGHT


class Own(torch.Tensor):  # type: ignore[misc]
    """A class of its own, which does nothing of its own."""


def made(like: Any, grad: Any = None) -> Any:
    """Another parameter, with a gradient of ones."""
    one = like if isinstance(like, torch.nn.Parameter) else torch.nn.Parameter(like, requires_grad=False)
    one.grad = torch.ones_like(one) if grad is None else grad
    return one


def data(to: Callable[[Any], Any], grad: Callable[[Any], Any] | None = None) -> Spoil:
    """Other memory behind the same parameter, and perhaps another gradient."""

    def spoil(_: Any, one: Any) -> None:
        old, one.grad = one.grad, None
        one.data = to(one.data)
        one.grad = old if grad is None else grad(one.data)

    return spoil


def gradient(to: Callable[[Any], Any]) -> Spoil:
    def spoil(_: Any, one: Any) -> None:
        one.grad_dtype = None
        one.grad = to(one)

    return spoil


def anew(to: Callable[[Any], Any]) -> Spoil:
    """Another parameter in the place of the second."""

    def spoil(optimizer: Any, one: Any) -> Any:
        other = made(to(one.detach()))
        optimizer.param_groups[0]["params"][1] = other
        return other

    return spoil


def strided(one: Any, strides: Sequence[int], of: int = 64) -> Any:
    """The same numbers in other memory, with these strides."""
    found = torch.zeros(of, dtype=one.dtype).as_strided(one.shape, strides)
    return found.copy_(one)


def offset(one: Any) -> Any:
    """The same numbers in the middle of a longer storage."""
    return torch.cat([torch.zeros(3), one.flatten(), torch.zeros(5)])[3:-5].view(one.shape)


def to_set(_: Any, one: Any) -> None:
    """The same tensor object, of another storage."""
    with torch.no_grad():
        one.set_(one.detach().clone())


def to_resized(_: Any, one: Any) -> None:
    """A longer storage, which lies elsewhere."""
    one.untyped_storage().resize_(1 << 16)


def to_emptied(_: Any, one: Any) -> None:
    one.untyped_storage().resize_(0)


def to_emptied_gradient(_: Any, one: Any) -> None:
    one.grad.untyped_storage().resize_(0)


def to_shorter(_: Any, one: Any) -> None:
    one.data = one.data[:2].clone()


def to_deleted(optimizer: Any, _: Any) -> None:
    del optimizer.param_groups[0]["params"][1]
    if "param_names" in optimizer.param_groups[0]:
        del optimizer.param_groups[0]["param_names"][1]


def to_twice(optimizer: Any, one: Any) -> None:
    group = optimizer.param_groups[0]
    group["params"].append(one)
    group["param_names"] = [*group["param_names"], "again"]


def to_frozen(_: Any, one: Any) -> None:
    one.requires_grad_(False)


def to_of_graph(_: Any, one: Any) -> None:
    """A gradient that can be differentiated itself."""
    (one.grad,) = torch.autograd.grad(one.pow(2).sum(), one, create_graph=True)


def to_shared(optimizer: Any, _: Any) -> Any:
    """A view of the first parameter."""
    other = made(optimizer.param_groups[0]["params"][0].detach()[:2])
    optimizer.param_groups[0]["params"][1] = other
    return other


def to_lazy(optimizer: Any, _: Any) -> Any:
    other = torch.nn.UninitializedParameter(requires_grad=False)
    other.grad = torch.ones(0)
    optimizer.param_groups[0]["params"][1] = other
    return other


def to_same_names(optimizer: Any, _: Any) -> None:
    optimizer.param_groups[0]["param_names"] = ["w", "w", "w"]


def to_inference(one: Any) -> Any:
    with torch.inference_mode():
        return one.clone()


def negated(one: Any) -> Any:
    """An imaginary part that is negated when it is read."""
    return torch.complex(torch.zeros(one.shape), torch.ones(one.shape)).conj().imag


def conjugated(which: Callable[[Any, Any], Any]) -> Spoil:
    """What a complex parameter is, or has, is conjugated in place after some steps."""

    def spoil(optimizer: Any, one: Any) -> Any:
        other = anew(torch.Tensor.cfloat)(optimizer, one)
        for _ in range(2):
            optimizer.step()
        found = which(optimizer, other)
        found.data = found.data.conj()
        return other

    return spoil


def state(change: Callable[[Any, Any], None]) -> Spoil:
    """Something is done to the state of a parameter, once it has one."""

    def spoil(optimizer: Any, one: Any) -> None:
        if optimizer.state.get(one):
            change(optimizer.state[one], one)

    return spoil


def quietly(change: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return change()


CHANGED = "state 'square_avg' does not fit the parameter any more"
CONJUGATED = "negated or conjugated when"
NOT_DENSE = "not dense|cannot be used|sparse"
FAULTS: dict[str, Fault] = {
    "nothing": Fault(lambda _, __: None),
    "data swapped": Fault(data(torch.clone)),
    "data swapped for a transposed order": Fault(data(lambda x: strided(x, (1, 3)), torch.ones_like)),
    "data of a storage with an offset": Fault(data(offset)),
    "data in shared memory": Fault(data(lambda x: x.clone().share_memory_())),
    "data of another shape": Fault(data(lambda x: x[:2].clone(), torch.ones_like), RIGHT, CHANGED),
    "data of another shape than the gradient": Fault(to_shorter, "shape", CHANGED + "|shape"),
    "float64": Fault(data(torch.Tensor.double, torch.ones_like), RIGHT, CHANGED),
    "bfloat16": Fault(data(torch.Tensor.bfloat16, torch.ones_like), *["bfloat16"] * 2),
    "float16": Fault(data(torch.Tensor.half, torch.ones_like), *["float16"] * 2),
    "meta": Fault(anew(lambda x: x.to("meta")), *["meta"] * 2),
    "integers": Fault(anew(torch.Tensor.int), *["int32"] * 2),
    "complex": Fault(anew(torch.Tensor.cfloat)),
    "conjugated": Fault(conjugated(lambda _, x: x), *[CONJUGATED] * 2),
    "a conjugated gradient": Fault(conjugated(lambda _, x: x.grad), *[CONJUGATED] * 2),
    "a conjugated state": Fault(conjugated(lambda o, x: o.state[x]["square_avg"]), *[CONJUGATED] * 2),
    "quantised": Fault(anew(lambda x: quietly(lambda: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8))), *["q"] * 2),
    "another storage of the same tensor": Fault(to_set),
    "a longer storage": Fault(to_resized),
    "an emptied storage": Fault(to_emptied, *["no memory"] * 2),
    "expanded": Fault(data(lambda x: torch.ones(1, 2).expand(x.shape), torch.ones_like), *["overlap|dense|order"] * 2),
    "overlapping itself": Fault(
        data(lambda x: torch.ones(9).as_strided(x.shape, (1, 1)), torch.ones_like), *["overlap|dense|order"] * 2
    ),
    "with gaps": Fault(data(lambda x: strided(x, (4, 1)), torch.ones_like), *["gap|dense|order|contiguous"] * 2),
    "channels last": Fault(
        anew(lambda x: torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)),
    ),
    "of no elements": Fault(anew(lambda x: torch.ones(0, 3))),
    "of no axes": Fault(anew(lambda x: torch.ones(()))),
    "another parameter": Fault(anew(torch.clone)),
    "a class of its own": Fault(anew(lambda x: torch.nn.Parameter(x.clone().as_subclass(Own)))),
    "made for inference": Fault(data(to_inference)),
    "deleted from its group": Fault(to_deleted),
    "twice": Fault(to_twice, *["in the list twice"] * 2),
    "a view of another": Fault(to_shared, *["share memory"] * 2),
    "not initialised": Fault(to_lazy, *["ninitialized|cannot be used"] * 2),
    "requires_grad off": Fault(to_frozen),
    "of the name of others": Fault(to_same_names),
    "no gradient": Fault(gradient(lambda x: None)),
    "a gradient of graph": Fault(to_of_graph),
    "a gradient of float64": Fault(gradient(lambda x: torch.ones(x.shape, dtype=torch.float64))),
    "a gradient of float16": Fault(gradient(lambda x: torch.ones(x.shape, dtype=torch.half))),
    "a sparse gradient": Fault(gradient(lambda x: torch.ones(x.shape).to_sparse()), *[NOT_DENSE] * 2),
    "an expanded gradient": Fault(gradient(lambda x: torch.ones(1, 2).expand(x.shape)), *["stride|order|layout"] * 2),
    "a gradient in another order": Fault(gradient(lambda x: strided(x, (1, 3))), *["stride|order|layout"] * 2),
    "a gradient of a class of its own": Fault(gradient(lambda x: torch.ones(x.shape).as_subclass(Own))),
    "a gradient made for inference": Fault(gradient(lambda x: to_inference(torch.ones(x.shape)))),
    "a gradient with an offset": Fault(gradient(lambda x: offset(torch.ones(x.shape)))),
    "a negated gradient": Fault(gradient(negated), *["neg"] * 2),
    "an emptied gradient": Fault(to_emptied_gradient, *["no memory"] * 2),
    "itself as gradient": Fault(gradient(lambda x: x.detach()), *["shares memory"] * 2),
    "a state that is a number": Fault(state(lambda s, _: s.update(square_avg=1.0)), RIGHT, "is a tensor"),
    "a state of another shape": Fault(state(lambda s, _: s.update(square_avg=torch.ones(2))), RIGHT, CHANGED),
    "a state of float64": Fault(state(lambda s, x: s.update(square_avg=s["square_avg"].double())), RIGHT, CHANGED),
    "a state on meta": Fault(state(lambda s, x: s.update(square_avg=s["square_avg"].to("meta"))), RIGHT, CHANGED),
    "the parameter as state": Fault(state(lambda s, x: s.update(square_avg=x.data)), RIGHT, "share memory"),
    "an emptied state": Fault(
        state(lambda s, _: s["square_avg"].untyped_storage().resize_(0)), RIGHT, "no memory|cannot"
    ),
    "a state in another order": Fault(state(lambda s, _: s.update(square_avg=strided(s["square_avg"], (1, 3))))),
    "a count that is none": Fault(state(lambda s, _: s.update(step=-1)), RIGHT, "finite number >= 0"),
}
