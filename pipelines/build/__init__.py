"""Keep-list and weights in, plan out: which document stands in which split, how often, and in what order."""

from pipelines.build.settings import BuildConfig, ComponentBuild
from pipelines.build.splits import assign_splits
from pipelines.build.stage import BuildResult, build, planned_mixture

__all__ = ["BuildConfig", "BuildResult", "ComponentBuild", "assign_splits", "build", "planned_mixture"]
