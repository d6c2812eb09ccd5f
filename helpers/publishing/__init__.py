"""From executed chapters to a site, the README's status table and a teaching pack."""

from .readme import status_table, update_readme
from .site import build, is_current
from .teaching import teaching_pack

__all__ = ["build", "is_current", "status_table", "teaching_pack", "update_readme"]
