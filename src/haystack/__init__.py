"""HAYSTACK: closed-loop single-cell prediction with STACK, prompted by cells of public atlases."""

__version__ = "0.1.0"
