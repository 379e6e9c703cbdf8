"""What an execution environment runs: AWS's runtime interface client, with this function's paths and variables.

Stands in for ``/var/runtime/bootstrap.py`` of the real runtime, and imports only the standard library and
``awslambdaric``, which lies beside it. It completes what the Runtime Interface Emulator leaves out: the variables
exactly as Lambda sets them, the ARN that was invoked, the deadline, and two marks in the log that tell apart what the
emulator's answers do not: the end of the initialisation, and an error from a value that looks like one.
"""

import json
import os
import random
import resource
import site
import sys
import time
from typing import Any

MARK = "\x1e"  # begins a line that is for the local Lambda and not for the log


def main() -> None:
    """Set up the process as Lambda does, then serve invocations until killed."""
    began = time.monotonic()
    setup: dict[str, Any] = json.loads(os.environ["LAMINA_SETUP"])
    runtime_api = os.environ["AWS_LAMBDA_RUNTIME_API"]
    os.environ.clear()
    os.environ.update(setup["environment"])
    os.environ["AWS_LAMBDA_RUNTIME_API"] = runtime_api

    # The runtime's own client is imported before the function's paths come first, so no layer can replace it.
    sys.path[:] = [setup["runtime"], *(path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix)))]
    from awslambdaric import bootstrap
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    sys.path[:] = [*setup["path"], *sys.path]
    sys.dont_write_bytecode = True  # /opt and /var/task are read-only in Lambda
    site.setquit()
    site.sethelper()

    class Client(LambdaRuntimeClient):  # type: ignore[misc]
        initialised = False
        memory = 0

        def wait_next_invocation(self) -> Any:
            if not self.initialised:
                self.initialised = True
                now = time.monotonic()
                _mark(f"init {now} {(now - began) * 1000:.2f}")
            request = super().wait_next_invocation()
            sent = json.loads(request.client_context) if request.client_context else {}
            request.client_context = sent.get("context")
            request.invoked_function_arn = setup["arn"] + (f":{sent['qualifier']}" if sent.get("qualifier") else "")
            request.x_amzn_trace_id = (
                f"Root=1-{int(time.time()):08x}-{random.getrandbits(96):024x};"
                f"Parent={random.getrandbits(64):016x};Sampled=0"
            )
            request.deadline_time_in_ms = int((time.time() + setup["timeout"]) * 1000)
            return request

        def post_invocation_result(self, *arguments: Any, **named: Any) -> None:
            self.weigh()
            super().post_invocation_result(*arguments, **named)

        def weigh(self) -> None:
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            if used != self.memory:
                self.memory = used
                _mark(f"memory {used}")

        def post_invocation_error(self, *arguments: Any, **named: Any) -> None:
            _mark("error")
            self.weigh()
            super().post_invocation_error(*arguments, **named)

    bootstrap.run(setup["environment"]["_HANDLER"], Client(runtime_api))


def _mark(text: str) -> None:
    os.write(1, f"{MARK}{text}\n".encode())


if __name__ == "__main__":
    main()
