"""Show on a page the code that it explains."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def source(*definitions: Callable[..., Any]) -> Any:
    """Show the code of functions or classes, for a page that explains what they compute."""
    from IPython.display import Markdown

    return Markdown("\n\n".join(f"```python\n{inspect.getsource(d)}```" for d in definitions))
