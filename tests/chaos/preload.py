"""What the processes of the harness need, loaded once for all of them."""

# ruff: noqa: F401
import pgorch.api.server
import pgorch.worker.worker
import tests.chaos.sink
import tests.chaos.tools
import tests.support.proxy
