"""What `lamina env` tells."""

from __future__ import annotations

import platform
from typing import Any

import torch

import lamina
from lamina.training.runtime import Runtime, has_bfloat16, processor_flags


def environment() -> dict[str, Any]:
    """Facts of this machine and installation."""
    runtime = Runtime()
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16", "asimd")
    return {
        "lamina": lamina.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": [flag for flag in wanted if flag in processor_flags()],
        "threads": torch.get_num_threads(),
        "device": str(runtime.device),
        "precision": runtime.precision,
        "bfloat16": "in hardware" if has_bfloat16(runtime.device) else "emulated (not used)",
    }
