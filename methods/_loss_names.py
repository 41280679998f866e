"""The losses of the linear probe by name, with the constants of the papers for each data set."""

import ast
import dataclasses

from methods import _labelling_losses as labelling
from methods import _training_losses as plain

# What the papers set for each data set (Cole et al. 2021; Zhou et al. 2022, official code), and
# "pocket": the number of classes that scenes of the embedded data sets show on average.
CONSTANTS: dict[str, dict[str, dict[str, float]]] = {
    data: {
        "epr": {"expected": expected},
        "role": {"expected": expected},
        "em": {"alpha": alpha},
        "em_apl": {"alpha": alpha, "beta": beta, "warm_up": warm_up},
        "vlpl": {"alpha": min(alpha, 0.2)},
    }
    for data, expected, alpha, beta, warm_up in (
        ("voc", 1.5, 0.2, 0.02, 0.5),
        ("coco", 2.9, 0.1, 0.9, 0.5),
        ("nus", 1.9, 0.1, 0.2, 0.4),
        ("cub", 31.4, 0.01, 0.4, 0.3),
        ("pocket", 2.5, 0.2, 0.02, 0.5),
    )
}


LOSSES: dict[str, type[plain.Loss]] = {
    "an": plain.AssumeNegative,
    "ls": plain.LabelSmoothing,
    "wan": plain.WeakAssumeNegative,
    "iu": plain.IgnoreUnknown,
    "epr": plain.ExpectedPositives,
    "role": plain.Role,
    "em": plain.EntropyMaximization,
    "em_apl": labelling.EntropyWithPseudoLabels,
    "vlpl": labelling.SimilarityPseudoLabels,
    "cap": labelling.ClassAwarePseudoLabels,
    "hill": plain.Hill,
    "splc": plain.Splc,
    "ll_r": labelling.LargeLoss,
    "ll_ct": labelling.LargeLossTemporary,
    "ll_cp": labelling.LargeLossPermanent,
    "gr": plain.GeneralizedRobust,
    "csl": plain.Selective,
}


def make_loss(text: str, constants: str = "") -> plain.Loss:
    """The loss of a text such as "em" or "em(alpha=0.1)"; what it leaves open is taken from
    `CONSTANTS` of that name, else from the defaults. Raises `ValueError` that lists the choices."""
    name, given = _parse(text)
    if name not in LOSSES:
        raise ValueError(f"loss={text!r} should be one of {', '.join(LOSSES)}, e.g. em(alpha=0.1)")
    if constants and constants not in CONSTANTS:
        raise ValueError(f"constants={constants!r} should be one of {', '.join(CONSTANTS)}")
    known = [entry.name for entry in dataclasses.fields(LOSSES[name]) if entry.init]
    wrong = sorted(set(given) - set(known))
    if wrong:
        has = ", ".join(known) or "none"
        raise ValueError(f"loss {name!r} has no constant {wrong[0]!r}; it has: {has}")
    return LOSSES[name](**{**CONSTANTS.get(constants, {}).get(name, {}), **given})


def _parse(text: str) -> tuple[str, dict[str, float]]:
    try:
        node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            return node.func.id, {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f"cannot read loss={text!r}; write a name or name(constant=value)")
