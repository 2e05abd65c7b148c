"""Link the folders in `profiles/` into Snakemake's own profile folder.

Snakemake looks for `--profile NAME` in its user and site configuration folders only, not in the workflow's `profiles/`.
"""

from __future__ import annotations

from pathlib import Path

from haystack.errors import ConfigError


def user_folder() -> Path:
    """Where this Snakemake looks for profiles by name."""
    from snakemake.common import get_appdirs

    return Path(get_appdirs().user_config_dir)


def install_profiles(source: Path, target: Path | None = None) -> dict[str, Path]:
    """Link every profile of `source` into `target` (Snakemake's user folder by default); repeat calls change nothing.

    Raises
    ------
    ConfigError
        when `source` holds no profile, or a name is taken by something that is not our link: nothing is linked then.
    """
    profiles = {path.parent.name: path.parent.resolve() for path in sorted(source.glob("*/config*.yaml"))}
    if not profiles:
        raise ConfigError(
            f"{source}: no profile found (a folder with config.yaml). Run this from the pipeline's folder"
        )
    folder = target or user_folder()
    links = {name: folder / name for name in profiles}
    for name, link in links.items():
        if link.exists() and not link.is_symlink():
            raise ConfigError(f"{link}: a profile of your own has the name '{name}'. Rename it, then run this again")
    folder.mkdir(parents=True, exist_ok=True)
    for name, link in links.items():
        if link.is_symlink():
            link.unlink()
        link.symlink_to(profiles[name], target_is_directory=True)
    return links
