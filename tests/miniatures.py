"""Miniature copies of the five data sets on disk: real layouts and file formats, dozens of
generated JPEGs.

`build_NAME(root)` writes one below a data folder and returns the folder; `truncate(path)` cuts a
JPEG. Every class has a positive in train and test; what is odd in the real files is odd here:
objects that are all marked difficult, parts with names of their own, crowds, images without
annotations, category ids with gaps in shuffled order, CRLF, trailing blanks, names with spaces,
empty labels, backslashes in paths.
"""

import colorsys
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmark.data.coco2014 import CLASSES as COCO_CLASSES
from benchmark.data.voc2007 import RAW_CLASSES as VOC_CLASSES

COCO_GAPS = (
    12,
    26,
    29,
    30,
    45,
    66,
    68,
    69,
    71,
    83,
)  # category ids between 1 and 90 that COCO does not use
COCO_IDS = tuple(i for i in range(1, 91) if i not in COCO_GAPS)
CONCEPTS = (
    "airport",
    "bear",
    "clouds",
    "dog",
    "plane",
    "sky",
    "tattoo",
    "water",
    "wedding",
    "zebra",
)
TAGS = (
    "actor",
    "airport",
    "art",
    "bear",
    "beach",
    "blue",
    "clouds",
    "dog",
    "green",
    "night",
    "sky",
    "water",
    "zebra",
)


def write_image(path: Path, labels: list[int], classes: int, seed: int) -> None:
    """A small JPEG, not square, with a rectangle in the colour of each class."""
    rng = np.random.default_rng(seed)
    width, height = 40 + int(rng.integers(0, 12)), 32 + int(rng.integers(0, 12))
    image = Image.fromarray(rng.integers(90, 160, (height, width, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    for label in labels:
        colour = tuple(
            int(255 * part)
            for part in colorsys.hsv_to_rgb(label / classes, 1.0, 0.5 + 0.5 * (label % 2))
        )
        left, top = int(rng.integers(0, width - 12)), int(rng.integers(0, height - 12))
        draw.rectangle((left, top, left + 11, top + 11), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def truncate(path: Path) -> None:
    """Cuts a file in half, as an interrupted copy does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def labels_of(i: int, classes: int, extra: int = 1) -> list[int]:
    """Sorted labels of image i, so that any `classes` images in a row show every class."""
    rng = np.random.default_rng(i)
    return sorted({i % classes, *rng.integers(0, classes, extra).tolist()})


# ---- VOC2007 -------------------------------------------------------------------------------------


def voc_xml(identifier: str, objects: list[tuple[str, int]]) -> str:
    """An annotation file with (class, difficult) objects; a person has a part called head."""
    text = f"<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>{identifier}.jpg</filename>\n"
    text += "\t<source><database>The VOC2007 Database</database></source>\n"
    text += "\t<owner><name>?</name></owner>\n"
    text += "\t<size><width>40</width><height>32</height><depth>3</depth></size>\n"
    for name, difficult in objects:
        text += f"\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Left</pose>\n"
        text += "\t\t<truncated>1</truncated>\n"
        text += f"\t\t<difficult>{difficult}</difficult>\n"
        text += "\t\t<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>\n"
        if name == "person":
            text += "\t\t<part><name>head</name><bndbox><xmin>3</xmin></bndbox></part>\n"
        text += "\t</object>\n"
    return text + "</annotation>\n"


def build_voc2007(root: Path) -> Path:
    """42 trainval and 32 test images; the last of each has difficult objects only, the one before
    some of both."""
    folder = root / "VOCdevkit/VOC2007"
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    for split, first, count in (("trainval", 0, 42), ("test", 42, 32)):
        identifiers = [f"{i:06d}" for i in range(first, first + count)]
        for i, identifier in enumerate(identifiers, first):
            labels = labels_of(i, len(VOC_CLASSES))
            objects = [(VOC_CLASSES[label], 0) for label in labels]
            if i == first + count - 1:
                objects = [("bus", 1), ("car", 1)]
            elif i == first + count - 2:
                objects = [("bus", 1), ("bus", 0), ("sofa", 1), ("person", 0)]
            (folder / f"Annotations/{identifier}.xml").write_text(voc_xml(identifier, objects))
            shown = [VOC_CLASSES.index(name) for name, _ in objects]
            write_image(folder / f"JPEGImages/{identifier}.jpg", shown, len(VOC_CLASSES), i)
        (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(identifiers) + "\n")
    return folder


# ---- COCO 2014 -----------------------------------------------------------------------------------


def coco_categories(names: tuple[str, ...] = COCO_CLASSES) -> list[dict]:
    """Categories with their official ids, not in the order of the ids."""
    items = [
        {"id": COCO_IDS[COCO_CLASSES.index(name)], "name": name, "supercategory": "thing"}
        for name in names
    ]
    return items[::2] + items[1::2]


def coco_annotation(identifier: int, image: int, name: str, crowd: int = 0) -> dict:
    """One annotation with an outline: polygons, or run lengths for a crowd."""
    outline = {"counts": [2, 3, 4], "size": [32, 40]} if crowd else [[1.5, 2.5, 3.5, 2.5, 3.5, 4.5]]
    category = COCO_IDS[COCO_CLASSES.index(name)]
    box = {"bbox": [1.0, 2.0, 3.0, 4.0], "area": 12.0, "segmentation": outline}
    return {"id": identifier, "image_id": image, "category_id": category, "iscrowd": crowd, **box}


def write_instances(
    path: Path, images: list[dict], annotations: list[dict], names: tuple = COCO_CLASSES
) -> None:
    """An instances file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"info": {"year": 2014}, "licenses": [], "images": images, "annotations": annotations}
    path.write_text(json.dumps({**content, "categories": coco_categories(names)}))


def build_coco2014(root: Path, samples: bool = True) -> Path:
    """90 train2014 and 82 val2014 images, the last two of each without annotations, the third last
    with a crowd only.

    `samples` writes the two zero-shot files with a part of val2014 as well."""
    folder = root / "coco"
    for split, first, count in (("train2014", 1, 90), ("val2014", 201, 82)):
        images, annotations = [], []
        for i in range(first, first + count):
            name = f"COCO_{split}_{i:012d}.jpg"
            images.append({"id": i, "file_name": name, "width": 40, "height": 32})
            last = first + count - i  # 1 for the last image
            labels = labels_of(i, len(COCO_CLASSES), 2) if last > 2 else []
            labels = [0] if last == 3 else labels
            for label in labels:
                annotations.append(
                    coco_annotation(len(annotations) + 1, i, COCO_CLASSES[label], int(last == 3))
                )
            write_image(folder / split / name, labels, len(COCO_CLASSES), i)
        write_instances(folder / f"annotations/instances_{split}.json", images, annotations)
    if samples:
        _zero_shot_files(folder / "annotations", images, annotations)
    return folder


def _zero_shot_files(folder: Path, images: list[dict], annotations: list[dict]) -> None:
    from benchmark.data.coco2014 import SEEN, UNSEEN

    sample = images[:60]
    for part, names in (
        ("unseen", UNSEEN),
        ("gzsi", tuple(name for name in COCO_CLASSES if name in SEEN + UNSEEN)),
    ):
        wanted = {COCO_IDS[COCO_CLASSES.index(name)] for name in names}
        members = {image["id"] for image in sample}
        kept = [
            item
            for item in annotations
            if item["category_id"] in wanted and item["image_id"] in members
        ]
        write_instances(folder / f"instances_val2014_{part}_48_17.json", sample, kept, names)


# ---- NUS-WIDE ------------------------------------------------------------------------------------


def build_nus_wide(
    root: Path, tags: tuple[str, ...] = TAGS, concepts: tuple[str, ...] = CONCEPTS
) -> Path:
    """40 + 32 images with 13 tags and 10 concepts, 7 of them in both; one listed training image is
    not on disk."""
    folder = root / "nus_wide"
    for part in ("ImageList", "ConceptsList", "NUS_WID_Tags", "Groundtruth/TrainTestLabels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "ConceptsList/Concepts81.txt").write_text("\r\n".join(concepts) + "\r\n", newline="")
    (folder / "NUS_WID_Tags/TagList1k.txt").write_text("\n".join(tags) + "\n")
    for part, first, count in (("Train", 0, 40), ("Test", 40, 32)):
        names = [
            f"{tags[i % 3]}\\{i:04d}_{2124494179 + i}.jpg" for i in range(first, first + count)
        ]
        (folder / f"ImageList/{part}Imagelist.txt").write_text(
            "\r\n".join(names) + "\r\n", newline=""
        )
        tagged, truth = np.zeros((count, len(tags)), int), np.zeros((count, len(concepts)), int)
        for i, name in enumerate(names):
            seen, unseen = (
                labels_of(first + i, len(tags)),
                labels_of((first + i) // 2, len(concepts), 0),
            )
            unseen = unseen if i % 2 else []  # half of the images show no concept
            tagged[i, seen], truth[i, unseen] = 1, 1
            if i == 0 and part == "Train":
                continue
            shown = [*seen, *(len(tags) + label for label in unseen)]
            path = folder / "Flickr" / name.replace("\\", "/")
            write_image(path, shown, len(tags) + len(concepts), first + i)
        rows = "".join("\t".join(map(str, row)) + "\t\n" for row in tagged)
        (folder / f"NUS_WID_Tags/{part}_Tags1k.dat").write_text(rows)
        for column, concept in enumerate(concepts):
            text = "\n".join(map(str, truth[:, column])) + "\n"
            (folder / f"Groundtruth/TrainTestLabels/Labels_{concept}_{part}.txt").write_text(text)
    return folder


# ---- VOC-MLT and COCO-MLT ------------------------------------------------------------------------


def tail_labels(i: int, classes: int) -> list[int]:
    """Labels of long-tailed training image i of 112: class 0 in all but twelve, 1 and 2 in a
    quarter, others rarely."""
    labels = {0} if i >= 12 else set()
    labels |= {1 + i % 2} if i % 4 < 2 else set()
    return sorted(labels | {3 + i % (classes - 3)})


def _build_long_tail(
    folder: Path, prefix: str, names: tuple[str, ...], images: Path, parts: dict
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    classes = "\r\n".join(f"{name} {i}" + (" " if i == 1 else "") for i, name in enumerate(names))
    (folder / f"{prefix}_labels.txt").write_text(classes, newline="")
    captions = []
    for part, paths in parts.items():
        rows = []
        for i, path in enumerate(paths):
            labels = (
                tail_labels(i, len(names))
                if part == "train"
                else labels_of(i, len(names), 2 * (i % 2))
            )
            labels = [] if part == "test" and i == len(paths) - 1 else labels
            end = " " if part == "train" else ""  # the real COCO-MLT training lines end in a blank
            rows.append(" ".join([path, *map(str, reversed(labels))]) + end)
            write_image(images / path, labels, len(names), i)
            captions.append(
                f"{path} a picture of {' and '.join(names[label] for label in labels)}."
            )
        (folder / f"{prefix}_lt_{part}.txt").write_text("\r\n".join(rows), newline="")
        if part == "train":
            (folder / f"{prefix}_lt_captions.txt").write_text("\n".join(captions) + "\n")


def build_voc_mlt(root: Path) -> Path:
    """112 training images of "VOC2012" and 30 test images of "VOC2007", the last one without a
    label."""
    train = [f"VOCdevkit/VOC2012/JPEGImages/2008_{i:06d}.jpg" for i in range(112)]
    test = [f"VOCdevkit/VOC2007/JPEGImages/9{i:05d}.jpg" for i in range(30)]
    _build_long_tail(root / "voc_mlt", "voc", VOC_CLASSES, root, {"train": train, "test": test})
    return root / "voc_mlt"


def build_coco_mlt(root: Path) -> Path:
    """112 training images of "train2017" and 84 test images of "val2017", the last one without a
    label."""
    train = [f"train2017/{i:012d}.jpg" for i in range(112)]
    test = [f"val2017/{i:012d}.jpg" for i in range(84)]
    _build_long_tail(
        root / "coco_mlt", "coco", COCO_CLASSES, root / "coco", {"train": train, "test": test}
    )
    return root / "coco_mlt"


def build_all(root: Path) -> Path:
    """All five below one data folder."""
    for build in (build_voc2007, build_coco2014, build_nus_wide, build_voc_mlt, build_coco_mlt):
        build(root)
    return root
