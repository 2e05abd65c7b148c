"""What the built-in baselines share."""


def licences(name: str) -> tuple[str, ...]:
    """What binds the predictions of a baseline: nothing of STACK."""
    return (
        f"This prediction was made by the baseline '{name}', without STACK's code or weights: the licences of STACK "
        "(non-commercial use) concern STACK only and do not bind it.",
    )
