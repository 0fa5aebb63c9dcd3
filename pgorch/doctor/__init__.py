"""Looks at a database and names what is wrong with it, each trouble with what to type next."""

from pgorch.doctor.examination import examine
from pgorch.doctor.finding import Finding, Limits

__all__ = ["Finding", "Limits", "examine"]
