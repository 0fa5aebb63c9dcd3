"""Pictures of graphs and runs, as text: for terminals and as Mermaid. Knows JSON alone, and no database."""

from pgorch.drawing.mermaid import as_mermaid
from pgorch.drawing.picture import Mark, Picture, marks_of, picture_of
from pgorch.drawing.text import as_text

__all__ = ["Mark", "Picture", "as_mermaid", "as_text", "marks_of", "picture_of"]
