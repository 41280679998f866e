"""What the settings share about their fields: checks, fields that do not apply to a data set, names
of presets."""

from collections.abc import Mapping

from benchmark import Dataset, Setting

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
    "statistics": ("voc_mlt", "coco_mlt"),
}
CHOICES = {
    "difficult": ("absent", "ignore", "present"),
    "empty_images": ("keep", "drop"),
    "class_names": ("prompt", "raw"),
    "mask": ("nested", "community", "skewed", "sized", "images", "cap"),
    "train_images": ("drop", "hide"),
    "test_images": ("all", "sample"),
    "protocol": ("cole", "splc"),
    "draw": ("seeded", "published"),
    "unlisted": ("unknown", "absent"),
    "val_labels": ("observed", "clean"),
    "labels": ("all", "single", "cells"),
    "statistics": ("own", "imagenet"),
}


def resolve(setting: Setting) -> None:
    """Checks the fields of a setting, blanks those that do not apply, and names the preset they
    amount to.

    Raises `ValueError` that lists the choices."""
    fields = vars(setting)  # what is written here is written to the setting
    for name, choices in CHOICES.items():
        value = fields.get(name)
        if value is None:
            continue
        if value not in (*choices, ""):
            raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")
        if name in APPLIES and setting.dataset not in APPLIES[name]:
            fields[name] = ""
        elif value == "":  # left over from another data set
            fields[name] = getattr(type(setting), name)
    for name in {"known", "val_fraction"} & fields.keys():
        fields[name] = float(fields[name])
    if not 0 < fields.get("known", 1) <= 1:
        raise ValueError(
            f"known={fields['known']} is not a fraction of the labels in (0, 1], e.g. known=0.1"
        )
    if not 0 <= fields.get("val_fraction", 0) < 1:
        raise ValueError(
            f"val_fraction={fields['val_fraction']} is not a fraction of the training images in "
            "[0, 1)"
        )
    matching = (name for name, values in setting.PRESETS.items() if _equals(setting, values))
    fields["preset"] = next(matching, "")


def _equals(setting: Setting, values: Mapping[str, object]) -> bool:
    return all(
        getattr(setting, name) in (value, "") or value == "" for name, value in values.items()
    )


def class_names(kind: str, dataset: Dataset) -> tuple[str, ...]:
    """(C,) names for the prompts: "raw" as the label files spell them, else prompt-ready."""
    return dataset.raw_classes if kind == "raw" else dataset.classes
