"""What the settings share about their fields: checks, fields that do not apply to a data set, names
of presets."""

from typing import Any

from benchmark.task import Dataset

# A field that makes no difference on a data set is "" there, so that one protocol has one run id.
APPLIES = {
    "difficult": ("voc2007", "voc2012"),
    "empty_images": ("coco2014",),
    "class_names": (
        "voc2007",
        "voc2012",
        "voc_mlt",
    ),  # elsewhere raw and prompt-ready names are the same
    "test_images": ("coco2014",),
}
CHOICES = {
    "difficult": ("absent", "ignore", "present"),
    "empty_images": ("keep", "drop"),
    "class_names": ("prompt", "raw"),
    "mask": ("nested", "community", "skewed"),
    "train_images": ("drop", "hide"),
    "test_images": ("all", "sample"),
    "protocol": ("cole", "splc"),
    "draw": ("seeded", "published"),
    "unlisted": ("unknown", "absent"),
    "val_labels": ("observed", "clean"),
    "labels": ("all", "single"),
}


def resolve(setting: Any) -> None:
    """Checks the fields of a setting, blanks those that do not apply, and names the preset they
    amount to.

    Raises `ValueError` that lists the choices."""
    for name, choices in CHOICES.items():
        value = getattr(setting, name, None)
        if value is None:
            continue
        if value not in (*choices, ""):
            raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")
        if name in APPLIES and setting.dataset not in APPLIES[name]:
            setattr(setting, name, "")
        elif value == "":  # left over from another data set
            setattr(setting, name, type(setting).__dataclass_fields__[name].default)
    if hasattr(setting, "known"):
        setting.known = float(setting.known)
        if not 0 < setting.known <= 1:
            raise ValueError(
                f"known={setting.known} is not a fraction of the labels in (0, 1], e.g. known=0.1"
            )
    if hasattr(setting, "val_fraction"):
        setting.val_fraction = float(setting.val_fraction)
        if not 0 <= setting.val_fraction < 1:
            raise ValueError(
                f"val_fraction={setting.val_fraction} is not a fraction of the training images in "
                f"[0, 1)"
            )
    setting.preset = next(
        (name for name, values in setting.PRESETS.items() if _equals(setting, values)), ""
    )


def _equals(setting: Any, values: dict[str, Any]) -> bool:
    return all(
        getattr(setting, name) in (value, "") or value == "" for name, value in values.items()
    )


def class_names(setting: Any, dataset: Dataset) -> tuple[str, ...]:
    """(C,) names for the prompts: as the label files spell them, or prompt-ready."""
    return dataset.raw_classes if setting.class_names == "raw" else dataset.classes
