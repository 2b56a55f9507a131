"""The operators a program may call: mathematics that reads nothing but its arguments and draws nothing at random."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

_NAMES = """
abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool3d
adaptive_max_pool1d adaptive_max_pool2d add addbmm addcdiv addcmul addmm addmv alias all alpha_dropout amax amin any
arange argmax argmin argsort asin asinh _assert_scalar _assert_tensor_metadata atan atan2 atanh avg_pool1d avg_pool2d
avg_pool3d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_to cat cdist ceil celu
channel_shuffle chunk clamp clamp_max clamp_min clone col2im concat constant_pad_nd contiguous conv1d conv2d conv3d
conv_transpose1d conv_transpose2d conv_transpose3d convolution copy cos cosh cosine_similarity cummax cumprod cumsum
detach diag diagonal div dot dropout einsum elu embedding eq erf erfc exp exp2 expand expand_as expm1 eye
feature_dropout fill flatten flip floor floor_divide fmod frac full full_like gather ge gelu glu grid_sampler
grid_sampler_2d group_norm gru gt hardshrink hardsigmoid hardswish hardtanh hstack im2col index index_add index_copy
index_fill index_put index_select inner instance_norm isfinite isinf isnan kthvalue layer_norm le leaky_relu lerp
lift_fresh_copy linalg_norm linalg_vector_norm linear log log10 log1p log2 log_sigmoid _log_softmax log_softmax
logaddexp logical_and logical_not logical_or logical_xor logit logsumexp lstm lt masked_fill masked_scatter matmul
matrix_power max max_pool1d max_pool2d max_pool2d_with_indices max_pool3d maximum mean median meshgrid min minimum
mish mm movedim mul mv nan_to_num narrow native_batch_norm _native_batch_norm_legit_no_training native_group_norm
native_layer_norm ne neg new_full new_ones new_zeros norm one_hot ones ones_like outer pad permute pixel_shuffle
pixel_unshuffle pow prelu prod reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 remainder
repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape reshape_as rms_norm rnn_relu
rnn_tanh roll rot90 round rsqrt rsub scalar_tensor scaled_dot_product_attention
_scaled_dot_product_flash_attention_for_cpu scatter scatter_add scatter_reduce select select_scatter selu sigmoid sign
silu sin sinh size slice slice_scatter softmax _softmax softplus softshrink sort split split_with_sizes sqrt square
squeeze stack std std_mean stride sub sum swapaxes sym_constrain_range sym_constrain_range_for_size sym_numel sym_size
sym_stride t tan tanh tensor_split threshold tile to _to_copy topk transpose tril triu trunc type_as unbind unflatten
unfold _unsafe_view unsqueeze upsample_bicubic2d _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa
upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
_upsample_nearest_exact2d upsample_trilinear3d var var_mean vdot view view_as vstack where xlogy zero zeros zeros_like
"""
_ATEN = frozenset(_NAMES.split())
"""By name, without overload; `name_`, the same in place, goes with each."""

MOST_WHOLE = 2**63
"""Sizes that are computed stay below it: Python's whole numbers would grow without end."""

_WHOLE = "add sub mul floordiv truediv mod neg eq ne lt le gt ge and_ or_ not_"
_NUMBERS: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in _WHOLE.split()},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc")},
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_float": float,
    "torch.sym_int": int,
}
"""On sizes, which are numbers of Python."""


def operator_of(target: str) -> Callable[..., Any] | None:
    """What a program may call by that name; None if it may not."""
    if target in _NUMBERS:
        return _sized(_NUMBERS[target])
    path = target.split(".")
    if len(path) != 5 or path[:3] != ["torch", "ops", "aten"] or path[3].removesuffix("_") not in _ATEN:
        return None
    packet = getattr(torch.ops.aten, path[3], None)
    if packet is None or path[4] not in packet.overloads() or path[4].endswith("out"):
        return None
    found: Callable[..., Any] = getattr(packet, path[4])
    return found


def makes_from_nothing(function: Callable[..., Any]) -> bool:
    """Whether an operator makes a tensor on a device of its own choice, no other tensor being given."""
    if not isinstance(function, torch._ops.OpOverload):
        return False
    arguments = function._schema.arguments
    return any(each.name == "device" for each in arguments) and not any(
        "Tensor" in str(each.type) for each in arguments
    )


def gives_a_list(function: Callable[..., Any]) -> bool:
    """Whether how many tensors an operator makes depends on its arguments."""
    returns = function._schema.returns if isinstance(function, torch._ops.OpOverload) else ()
    return any("List" in str(each.type) for each in returns)


def _sized(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(*numbers: Any) -> Any:
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("arithmetic on what is no number")
        result = function(*numbers)
        if abs(result) >= MOST_WHOLE:
            raise OverflowError("a size grew beyond all bounds")
        return result

    return compute
