"""Backbone (images and text to features), head (features and state to an action chunk), normaliser."""

import logging

# Where torchao is installed, transformers imports it, and every command would print a page of warnings: its enums are
# registered in a way that torch has deprecated, and its GPU kernels do not load without a GPU.
logging.getLogger("torch.utils._pytree").addFilter(lambda record: "register_constant" not in record.getMessage())
logging.getLogger("torchao").setLevel(logging.ERROR)
