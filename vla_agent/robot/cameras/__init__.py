"""Robot cameras: image sources, calibration, rectification, crop and size."""
