"""Datasets with one planted defect each: what `vla_agent.data.validate.validate` must find, and where."""
