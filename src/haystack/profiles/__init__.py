"""Making the profiles of the pipeline known to Snakemake by name."""

from haystack.profiles.install import install_profiles

__all__ = ["install_profiles"]
