"""What profiles/gcp reads: the settings of Google Cloud, or one clear message where they are missing."""

from __future__ import annotations

import os
import sys

from haystack.errors import HaystackError
from haystack.gcp.settings import PREFIX, GcpSettings, load_gcp_settings


def gcp_settings() -> GcpSettings:
    """The settings, for a profile that Snakemake renders.

    Snakemake would wrap an exception in two others, with a traceback; so the message is printed and the process ends.
    """
    try:
        settings = load_gcp_settings()
        if not settings.inference_image:
            raise HaystackError(
                "Google Cloud: no inference_image is set: the image that jobs run. Build and push it "
                "(docker/build.sh --push, docs/gcp.md), then set it in config/gcp.yaml or by "
                f"{PREFIX}INFERENCE_IMAGE"
            )
    except HaystackError as error:
        print(f"haystack: {error}", file=sys.stderr)
        sys.exit(1)
    # for Google's own libraries, which ask for a project in the environment
    os.environ.setdefault("GOOGLE_CLOUD_PROJECT", settings.project)
    return settings
