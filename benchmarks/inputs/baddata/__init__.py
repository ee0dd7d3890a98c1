"""Datasets with one planted defect each, which `vla_agent.data.validate.validate` must find where it is."""
