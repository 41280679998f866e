"""Which configuration of a method a run takes: the one of the papers for the case at hand."""

from benchmark import registry
from benchmark.spec import POCKET, Encoder, nearest
from benchmark.task import Method, Setting

# Fraction of known labels up to which DualCoOp's contexts are shared by the classes: its authors
# say "class-agnostic when the portion is very small" without a number; this one is ours.
FEW_KNOWN = 0.1


def preset_for(
    method: str, name: str, setting: Setting, encoder: Encoder, family: str = "plain"
) -> str:
    """The preset that a method has for the case at hand, "" for none; naming one on the command
    line overrules this.

    For the shipped small encoders: "pocket_<setting>", "pocket". For others the configuration of a
    paper, the first there is of "<setting>_<data set>_few" (where at most `FEW_KNOWN` of the labels
    are known), "<setting>_<data set>", "<data set>_<tower>" such as "voc_mlt_vitb16", "<data set>",
    "<setting>". With "paper_" in front everything is as published; "plain_" says what is left out,
    for a method with both. The family "paper" is taken with preset="paper" of the method or the
    setting.
    """
    presets = registry.load("methods", method).PRESETS
    if encoder.name in POCKET:
        return next((case for case in (f"pocket_{name}", "pocket") if case in presets), "")
    dataset, tower = setting.dataset, encoder.name.replace("-", "").lower()
    cases = [f"{name}_{dataset}", f"{dataset}_{tower}", dataset, name]
    if getattr(setting, "known", 1.0) <= FEW_KNOWN:
        cases.insert(0, f"{name}_{dataset}_few")
    prefixes = ("paper_", "") if family == "paper" else ("plain_", "")
    candidates = [prefix + case for prefix in prefixes for case in cases]
    return next((candidate for candidate in candidates if candidate in presets), "")


def method_for(
    name: str,
    parameters: registry.Parameters,
    setting_name: str,
    setting: Setting,
    encoder: Encoder,
) -> Method:
    """The method of a row, with the preset of the case. Raises `ValueError` for an augmentation
    that nothing would be drawn from."""
    asked = parameters.get("preset", "")
    of_paper = "paper" in (asked, getattr(setting, "preset", ""))
    family = "paper" if of_paper else "plain"
    preset = preset_for(name, setting_name, setting, encoder, family)
    fields = registry.fields(registry.load("methods", name))
    if "inner_preset" in fields:  # a method around another takes the other's preset
        inner, _ = registry.parse(str(parameters.get("method", fields["method"].default)))
        inner_preset = preset_for(inner, setting_name, setting, encoder, family)
        parameters = {"inner_preset": inner_preset, **parameters}
    if asked == "paper" and "paper" not in registry.load("methods", name).PRESETS:
        if not preset:
            known = nearest("paper", list(registry.load("methods", name).PRESETS))
            raise ValueError(
                f"{name} has no published configuration for {setting_name} on {setting.dataset} "
                f"with {encoder.name}. {known}"
            )
        parameters = {**parameters, "preset": preset}
    method = registry.make("methods", name, parameters, preset)
    require_copies(name, method)
    return method


def require_copies(name: str, method: Method) -> None:
    """Raises `ValueError` where frozen features are to be augmented and there are no copies, or
    the other way round."""
    if method.needs == "pixels" or bool(method.augment) == (method.copies > 0):
        return
    if method.augment:
        raise ValueError(
            f"{name}: augment={method.augment!r} needs augmented copies of the images: add "
            f"copies=8 (each costs one more feature bank), or leave augment out"
        )
    raise ValueError(
        f'{name}: copies={method.copies} needs an augmentation: add augment="dualcoop"'
    )
