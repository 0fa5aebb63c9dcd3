"""The graph language once more, written to be read and not to be fast.

It follows the language's description word by word and knows nothing of the engine: a run is a set of live
visits, what can still be reached is looked for by walking the graph, and conditions are read in Python.

    reference = Reference(definition, input)
    reference.live()                         what is live: a set of Key
    reference.complete((key, "success", 5))  ends one; returns what has come to life by it

Whoever drives it chooses what ends next, and so can follow the engine step by step.
"""

from tests.support.reference.conditions import Unknown, holds, rendered
from tests.support.reference.machine import Key, Reference
from tests.support.reference.shape import Edge, Shape

__all__ = ["Edge", "Key", "Reference", "Shape", "Unknown", "holds", "rendered"]
