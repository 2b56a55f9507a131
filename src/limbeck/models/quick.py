"""A network rewritten to answer sooner on a processor: the same mathematics in fewer passes over memory.

What torch's own loop loses, and what is done about it:
- a convolution whose output is a few pixels wide leaves most of each tile of the matrix unit empty: the images of a
  batch are laid side by side, with columns of zeros between, as one wide image;
- a convolution arranges its weights anew in every call, and batch norm and activation each pass over memory once
  more: weights are arranged once, and the convolution does all three;
- a max-pool writes the place of each maximum, which takes more memory than the maxima: it is made of maxima alone;
- flattening an image whose channels lie last copies it: the weights of the layer after it are put in that order.

Dimension key: N examples, C and O channels, H, W height and width.
"""

import copy
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.nn.utils.fusion import fuse_conv_bn_eval

from limbeck.models.build import evaluating

NARROW = 12
"""Pixels of output up to which a convolution gains by images side by side; a tile has 16 rows."""

ROOM = {torch.float32: 2 << 20, torch.bfloat16: 4 << 20}
"""Bytes that the widest layer of one pass may take: it is to stay in the cache, the weights to be read seldom."""

LEAST, MOST = 8, 128
"""Examples of one pass."""

DIFFERENCE = 1e-4
"""By how much of the range of the answers the rewritten network may differ from its original in float32."""


@dataclass(frozen=True)
class Quick:
    """A network that answers as another does, and how many examples it does best to see in one pass."""

    network: nn.Module
    batch: int


def quickened(module: nn.Module, example: Tensor, dtype: torch.dtype, taps: Collection[str] = ()) -> Quick | None:
    """A rewritten copy of a network on the processor, None where there is nothing to gain or it cannot be had.

    It is a copy of what the network is now: weights, attributes, code. It was held against the original on the
    example. A network whose forward branches on values cannot be traced, and is asked as it is.

    Args:
        module: any network; it stays as it is.
        example: a batch of what it sees, float32 [N, C, H, W].
        dtype: of the copy.
        taps: parts whose output must be theirs alone.
    """
    if not any(type(part) is nn.Conv2d for part in module.modules()):
        return None
    try:
        with evaluating(module), torch.no_grad():
            expected = module(example.clone())
            network, widest = _rewritten(module, example, taps)
            found = network(example.contiguous(memory_format=torch.channels_last))
            if not _alike(found, expected):
                return None
            for part in network.modules():
                if isinstance(part, _Convolution):
                    part.kept.clear()
            network = network.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            # A processor without bfloat16 says so here.
            network(example.to(dtype).contiguous(memory_format=torch.channels_last))
    except Exception:  # whatever a user's forward may do with what stands for its input
        return None
    fitting = ROOM[dtype] // (widest * dtype.itemsize)
    return Quick(network, min(MOST, max(LEAST, 1 << max(fitting, 1).bit_length() - 1)))


def _alike(found: Any, expected: Any) -> bool:
    if not isinstance(found, Tensor) or not isinstance(expected, Tensor) or found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= DIFFERENCE * (expected.max() - expected.min()))


class _Tracer(fx.Tracer):
    """Parts that are tapped stay whole."""

    def __init__(self, taps: Collection[str]) -> None:
        super().__init__()
        self.taps = taps

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.taps or super().is_leaf_module(m, module_qualified_name)


def _rewritten(module: nn.Module, example: Tensor, taps: Collection[str]) -> tuple[fx.GraphModule, int]:
    """The rewritten copy, and the numbers of one example in its widest layer."""
    copied = copy.deepcopy(module)
    network = fx.GraphModule(copied, _Tracer(taps).trace(copied))
    ShapeProp(network).propagate(example.clone())
    shapes = [node.meta.get("tensor_meta") for node in network.graph.nodes]
    widest = max(shape.shape.numel() for shape in shapes if isinstance(shape, TensorMetadata)) // len(example)
    rewriting = _Rewriting(network, taps)
    for node in list(network.graph.nodes):
        rewriting.convolution(node)
        rewriting.head(node)
    network.graph.lint()
    network.recompile()
    return network.eval(), widest


class _Rewriting:
    """The graph of a network, and what of it may be changed."""

    def __init__(self, network: fx.GraphModule, taps: Collection[str]) -> None:
        self.network, self.graph, self.taps = network, network.graph, taps
        self.parts = dict(network.named_modules())
        called = [node.target for node in self.graph.nodes if node.op == "call_module"]
        self.once = {target for target in called if called.count(target) == 1}

    def convolution(self, node: Any) -> None:
        """Put a `_Convolution` for a convolution, with the pool before it, the batch norm and activation after it."""
        conv = self._free(node, nn.Conv2d)
        if conv is None or node.target not in self.once or not _is_zero_padded(conv):
            return
        activation: tuple[str, list[float]] = ("none", [])
        if node.target not in self.taps:
            after = _only_user(node)
            norm = self._free(after, nn.BatchNorm2d)
            if norm is not None and norm.running_mean is not None and after.target not in self.taps:
                conv = fuse_conv_bn_eval(conv, norm)
                after = self._swallowed(after, node)
            activation = self._activation(after)
            if activation[0] != "none":
                self._swallowed(after, node)
        before = node.args[0]
        pool = self._free(before, nn.MaxPool2d) if _only_user(before) is node else None
        if pool is not None and _is_plain(pool) and before.target not in self.taps:
            node.replace_input_with(before, before.args[0])
            self.graph.erase_node(before)
        else:
            pool = None
        self.network.add_submodule(str(node.target), _Convolution(conv, *activation, pool))

    def head(self, node: Any) -> None:
        """Put a `_Head` for a linear layer after a flattening."""
        linear = self._free(node, nn.Linear)
        before: Any = node.args[0] if linear is not None else None
        if linear is None or node.target not in self.once or not self._flattens(before) or _only_user(before) is None:
            return
        image = before.args[0]
        shape = image.meta["tensor_meta"].shape
        if len(shape) == 4:
            node.replace_input_with(before, image)
            self.graph.erase_node(before)
            self.network.add_submodule(str(node.target), _Head(linear, shape[1:]))

    # A node is Any below: fx types its arguments by a union of all that a graph may hold.

    def _free(self, node: Any, kind: type[nn.Module]) -> Any:
        """The part that a node calls, if it is exactly of that kind and nobody listens to it."""
        part = self.parts.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None
        heard = part is not None and (part._forward_hooks or part._forward_pre_hooks)
        return part if type(part) is kind and not heard else None

    def _swallowed(self, node: Any, by: Any) -> Any:
        """What comes after a node, once another does its work."""
        node.replace_all_uses_with(by)
        self.graph.erase_node(node)
        return _only_user(by)

    def _activation(self, node: Any) -> tuple[str, list[float]]:
        if node is None or node.target in self.taps:
            return "none", []
        if (leaky := self._free(node, nn.LeakyReLU)) is not None:
            return "leaky_relu", [leaky.negative_slope]
        relu = self._free(node, nn.ReLU) is not None or node.target in (F.relu, torch.relu)
        return ("relu", []) if relu else ("none", [])

    def _flattens(self, node: Any) -> bool:
        if not isinstance(node, fx.Node) or node.target in self.taps:
            return False
        flatten = self._free(node, nn.Flatten)
        if flatten is not None:
            return (flatten.start_dim, flatten.end_dim) == (1, -1)
        return node.target is torch.flatten and node.args[1:] == (1,) and not node.kwargs


def _only_user(node: Any) -> Any:
    users = list(node.users) if isinstance(node, fx.Node) else []
    return users[0] if len(users) == 1 else None


def _is_zero_padded(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _is_plain(pool: nn.MaxPool2d) -> bool:
    """Whether it is cheaper as a few maxima, and nothing but maxima."""
    sizes = (_pair(pool.padding), _pair(pool.dilation), pool.ceil_mode, pool.return_indices)
    return sizes == ((0, 0), (1, 1), False, False) and max(_pair(pool.kernel_size)) <= 3


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


class _Convolution(nn.Module):
    """A convolution with what comes right before and after it."""

    def __init__(self, conv: nn.Conv2d, activation: str, slope: list[float], pool: nn.MaxPool2d | None) -> None:
        super().__init__()
        self.conv, self.activation, self.slope = conv, activation, slope
        self.pool = None if pool is None else list(zip(_pair(pool.kernel_size), _pair(pool.stride), strict=True))
        self.kept: dict[Hashable, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H', W'], channels last."""
        conv = self.conv
        height, width = (self._pooled(x, dim) for dim in (2, 3))
        reach = conv.dilation[1] * (conv.kernel_size[1] - 1)
        pixels = (width + 2 * int(conv.padding[1]) - reach - 1) // conv.stride[1] + 1
        if pixels > NARROW:
            return self._convolved(self._placed(x, None).contiguous(memory_format=torch.channels_last))
        count, channels = x.shape[:2]
        # Images share the columns of zeros between them, and each begins where the stride does.
        period = -(-(width + int(conv.padding[1])) // conv.stride[1])
        shape = (height, count, period * conv.stride[1], channels)
        # Nobody writes between the images: the columns there stay zero.
        space_HNWC = self._once(("space", shape, x.dtype), lambda: x.new_zeros(shape))
        self._placed(x, space_HNWC[:, :, :width].permute(1, 3, 0, 2))
        wide = self._convolved(space_HNWC.view(1, height, -1, channels).permute(0, 3, 1, 2))
        _, out, rows, columns = wide.shape
        apart = ((rows, count, pixels, out), (columns * out, period * out, out, 1))
        images_HNWO = wide.permute(0, 2, 3, 1).as_strided(*apart)
        return images_HNWO.permute(1, 3, 0, 2).contiguous(memory_format=torch.channels_last)

    def _pooled(self, x: Tensor, dim: int) -> int:
        """The size of a side after the pool."""
        if self.pool is None:
            return x.shape[dim]
        kernel, stride = self.pool[dim - 2]
        return (x.shape[dim] - kernel) // stride + 1

    def _placed(self, x: Tensor, into: Tensor | None) -> Tensor:
        """The input after the pool, written where it is wanted."""
        if self.pool is None:
            return x if into is None else into.copy_(x)
        count, channels, _, width = x.shape
        rows = (count, channels, self._pooled(x, 2), width)
        # Between the two ways the maxima lie where those of the last batch did: fresh memory costs more than they do.
        between = self._once(("rows", rows, x.dtype), lambda: x.new_empty(rows).to(memory_format=torch.channels_last))
        for dim, out in ((2, between), (3, into)):
            kernel, stride = self.pool[dim - 2]
            last = (self._pooled(x, dim) - 1) * stride + 1
            parts = [_every(x.narrow(dim, start, last), dim, stride) for start in range(kernel)]
            x = parts[0]
            for part in parts[1:-1]:
                x = torch.maximum(x, part)
            # A kernel of one leaves its side as it is.
            x = torch.maximum(x, parts[-1], out=out)
        return x

    def _convolved(self, x: Tensor) -> Tensor:
        conv = self.conv
        places = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        weight = self._once(
            ("weight", x.shape, x.dtype),
            lambda: torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *places, list(x.shape)),
        )
        done = (self.activation, self.slope, "")
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, conv.bias, *places, *done)
        return result

    def _once(self, key: Hashable, make: Any) -> Tensor:
        if key not in self.kept:
            # A tensor made in inference mode could not be written to outside of it.
            with torch.inference_mode(False), torch.no_grad():
                self.kept[key] = make()
        return self.kept[key]


def _every(x: Tensor, dim: int, stride: int) -> Tensor:
    return x if stride == 1 else x[(slice(None),) * dim + (slice(None, None, stride),)]


class _Head(nn.Module):
    """A linear layer of a flattened image, its weights in the order in which channels lie last."""

    def __init__(self, linear: nn.Linear, shape: tuple[int, int, int]) -> None:
        super().__init__()
        weight_OHWC = linear.weight.detach().view(-1, *shape).permute(0, 2, 3, 1)
        self.weight, self.bias = nn.Parameter(weight_OHWC.flatten(1), requires_grad=False), linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O]."""
        return F.linear(x.permute(0, 2, 3, 1).flatten(1), self.weight, self.bias)
