"""Lets torchvision be imported beside a torch that it was not built for: a plugin of pytest for one process.

It brings no operators then, and refuses to be imported without those it decorates.
"""

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")
_LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
