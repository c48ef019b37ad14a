"""How a flow run becomes an ECS task: the base job template of the work pool `ecs`."""

from deployments.ecs.job_template import derived_template, ecs_template

__all__ = ["derived_template", "ecs_template"]
