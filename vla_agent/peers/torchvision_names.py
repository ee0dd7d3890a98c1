"""Makes torchvision importable with a CPU build of torch that it was not compiled for."""

from __future__ import annotations

import torch

# Its compiled operators do not load with it; importing torchvision needs only their names.
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio) -> (Tensor, Tensor)",
    "ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
    "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
    "SymInt offset_groups, bool use_mask) -> Tensor",
)


def declare_operators() -> None:
    """Declare torchvision's operators where its compiled library did not.  Call it before anything imports lerobot."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in OPERATORS:
        if not hasattr(torch.ops.torchvision, schema.split("(")[0]):
            library.define(schema)
    globals()["_library"] = library  # the declarations exist as long as this object
