"""Large images that Fast DDS drops silently: when to expect it, and the fix."""

from __future__ import annotations

import os

LARGE = 500_000  # bytes; the default shared-memory segment holds 512 KiB
PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
LOSS = (
    "best-effort images over 0.5 MB are lost in Fast DDS's default profile: "
    f"start their publisher with {PROFILE}=.../config/fastdds.xml, or make both sides reliable"
)


def loses_large_images(bytes_of_image: int, reliable: bool, middleware: str) -> bool:
    """Whether images of this size, published by this process, are dropped; ``middleware`` such as rmw_fastrtps_cpp."""
    without = middleware.startswith("rmw_fastrtps") and not os.environ.get(PROFILE)
    return bytes_of_image > LARGE and not reliable and without
