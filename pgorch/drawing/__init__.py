"""Pictures of graphs and runs, as text: for terminals and as Mermaid. Knows JSON alone, and no database."""

from pgorch.drawing.difference import Change, described, differences
from pgorch.drawing.mermaid import as_mermaid
from pgorch.drawing.picture import Mark, Picture, marks_of, picture_of
from pgorch.drawing.text import as_text

__all__ = [
    "Change",
    "Mark",
    "Picture",
    "as_mermaid",
    "as_text",
    "described",
    "differences",
    "marks_of",
    "picture_of",
]
