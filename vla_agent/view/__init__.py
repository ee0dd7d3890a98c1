"""The window: one local web page that shows a policy at work, live and in three dimensions."""
