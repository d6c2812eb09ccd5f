"""Plumbing for *Ten papers you can run*: what several chapters share.

Importing the package is cheap. Each module imports its heavy libraries where it uses them.
"""

__version__ = "0.1.0"
