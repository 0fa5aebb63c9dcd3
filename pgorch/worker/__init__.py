"""The process that performs steps: claims them, runs their tools, hands in what came of it."""

from pgorch.worker.worker import Worker

__all__ = ["Worker"]
