"""AWS Lambda on one machine: functions run for real, under AWS's own runtime client and emulator."""

from local.lambdas.engine import LambdaEngine
from local.lambdas.values import FunctionChange, Invocation

__all__ = ["FunctionChange", "Invocation", "LambdaEngine"]
