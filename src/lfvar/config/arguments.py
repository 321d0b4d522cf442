"""The command line before Hydra reads it: flags in any place, and `resume=<run folder>` that is enough by itself."""

from pathlib import Path

from omegaconf import OmegaConf

SAVED_OVERRIDES = Path(".hydra") / "overrides.yaml"
_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--experimental-rerun", "--info", "-i"),
)


def flags_first(arguments: list[str]) -> list[str]:
    """Move flags before overrides: Hydra rejects `experiment=vqvae -m seed=1,2` otherwise."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        flags.append(argument)
        if argument in _WITH_VALUE:
            value = next(rest, None)
            if value is not None:
                (overrides if "=" in value and argument in ("--info", "-i") else flags).append(value)
    return [*flags, *overrides]


def with_saved_overrides(arguments: list[str]) -> list[str]:
    """Put the overrides a run was started with before those given now, which win.

    Args:
        arguments: The command line without the program.

    Returns:
        The same arguments where nothing, or no run folder, is resumed, and in a sweep.
    """
    resume = _value_of("resume", arguments)
    if resume is None or any(argument in ("-m", "--multirun") for argument in arguments):
        return arguments
    saved = Path(resume) / SAVED_OVERRIDES
    if not saved.is_file():
        return arguments
    given = {_key(argument) for argument in arguments}
    overrides = [str(override) for override in OmegaConf.load(saved)]
    kept = [override for override in overrides if _key(override) not in given]
    return flags_first([*kept, *arguments])


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _value_of(key: str, arguments: list[str]) -> str | None:
    values = [argument.partition("=")[2] for argument in arguments if _key(argument) == key and "=" in argument]
    return values[-1].strip("'\"") if values else None
