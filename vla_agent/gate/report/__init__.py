"""The gate's report: page, clips, console."""
