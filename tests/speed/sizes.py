"""`python tests/speed/sizes.py FOLDER [coco_dualcoop | coco_probe | nus_zero_shot …]`: peak memory
of runs at the sizes of COCO and NUS-WIDE.

Nothing real is needed: label files of full size are made up, every image is a link to one JPEG, the
weights of RN50 are random, and the bank is a file full of holes, which reads as zeros. A run goes
through `execute` as in a sweep, in a process of its own. FOLDER keeps the stand-ins (about 1 GB of
disk, 400,000 links) for the next time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from benchmark.plan import Row
    from benchmark.spec import Spec

ROOT = Path(__file__).resolve().parents[2]
# trains on 40 batches instead of an epoch: the memory is the same, the time is not
DUALCOOP_40 = '''
from dataclasses import dataclass
from itertools import islice

from methods.dualcoop import Method as DualCoOp


@dataclass
class Method(DualCoOp):
    """DualCoOp, 40 steps."""

    epochs: int = 1

    def fit(self, clip, train, val, run):
        batches = train.batches
        train.batches = lambda *args, **options: islice(batches(*args, **options), 40)
        super().fit(clip, train, val, run)
'''
CASES = {  # name -> (method, setting, GB that are the goal)
    "coco_dualcoop": ("{folder}/dualcoop_40.py", "partial(known=.5, dataset='coco2014')", 2.5),
    "coco_probe": ("linear_probe", "partial(known=.5, dataset='coco2014')", 4.0),
    "nus_zero_shot": ("zero_shot_clip", "zero_shot(dataset='nus_wide')", 4.0),
}


def link_images(folder: Path, names: list[str]) -> None:
    """Every name becomes another link to one of a few JPEGs: a file has at most 65,000 links."""
    for start in range(0, len(names), 30_000):
        first = folder / names[start]
        first.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (start // 1000 % 256, 80, 80)).save(first)
        for name in names[start + 1 : start + 30_000]:
            (folder / name).parent.mkdir(exist_ok=True)
            os.link(first, folder / name)


def make_coco(root: Path) -> None:
    """123,287 images and 604,907 annotations with outlines, in files of the official size."""
    from benchmark.data.coco2014 import CLASSES
    from tests.fixtures.miniatures import coco_annotation, coco_categories

    rng = np.random.default_rng(0)
    outline = [round(float(value), 2) for value in rng.uniform(0, 640, 60)]
    for split, images, number in (("train2014", 82783, 604907), ("val2014", 40504, 291875)):
        names = [f"COCO_{split}_{i:012d}.jpg" for i in range(images)]
        link_images(root / "coco" / split, names)
        items = [
            coco_annotation(i, int(image), CLASSES[int(label)])
            | {"segmentation": [outline], "bbox": outline[:4]}
            for i, (image, label) in enumerate(
                zip(
                    rng.integers(images, size=number),
                    rng.integers(80, size=number),
                    strict=True,
                )
            )
        ]
        path = root / f"coco/annotations/instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        listed = [{"id": i, "file_name": name} for i, name in enumerate(names)]
        content = {"images": listed, "annotations": items, "categories": coco_categories()}
        path.write_text(json.dumps(content))


def make_nus(root: Path) -> None:
    """269,648 images, 1,000 tags, 81 concepts of which 75 are tags as well."""
    folder = root / "nus_wide"
    for part in ("ImageList", "ConceptsList", "NUS_WID_Tags", "Groundtruth/TrainTestLabels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    tags = [f"tag{i:04d}" for i in range(1000)]
    concepts = tags[:75] + [f"concept{i}" for i in range(6)]
    (folder / "ConceptsList/Concepts81.txt").write_text("\n".join(concepts) + "\n")
    (folder / "NUS_WID_Tags/TagList1k.txt").write_text("\n".join(tags) + "\n")
    rng = np.random.default_rng(0)
    for part, count in (("Train", 161_789), ("Test", 107_859)):
        names = [f"{part}{i % 300}/{i:06d}.jpg" for i in range(count)]
        link_images(folder / "Flickr", names)
        text = "\n".join(name.replace("/", "\\") for name in names)
        (folder / f"ImageList/{part}Imagelist.txt").write_text(text)
        with (folder / f"NUS_WID_Tags/{part}_Tags1k.dat").open("wb") as file:
            for start in range(0, count, 10_000):
                bits = rng.random((min(10_000, count - start), 1000)) < 0.006
                text = np.full((len(bits), 2001), ord("\t"), np.uint8)
                text[:, :2000:2], text[:, -1] = bits + ord("0"), ord("\n")
                file.write(text.tobytes())
        for concept in concepts:
            bits = rng.random(count) < 0.02
            path = folder / f"Groundtruth/TrainTestLabels/Labels_{concept}_{part}.txt"
            path.write_bytes(b"".join(b"1\n" if bit else b"0\n" for bit in bits))


def make_weights(path: Path) -> None:
    """A random RN50 in open_clip's form."""
    import torch

    from benchmark.clip import encoder  # the shim of torchvision comes before open_clip

    torch.manual_seed(0)
    torch.save(encoder.open_clip.create_model("RN50").state_dict(), path)


def make_bank(spec: Spec, out: Path) -> None:
    """A bank that says it is complete: holes, and the checksums of zeros."""
    from benchmark import registry
    from benchmark.clip.encoder import Clip
    from benchmark.features.bank import FeatureBank

    dataset = registry.rebuild("settings", spec.setting).build(0).dataset
    needs = registry.rebuild("methods", spec.method).needs
    bank = FeatureBank(out / "features", dataset, Clip(spec.encoder), needs)
    if bank.array.path.exists():
        return
    bank.array.folder.mkdir(parents=True)
    with bank.array.path.open("wb") as file:
        file.write(bank.array._header)
        file.truncate(len(bank.array._header) + bank.nbytes)
    chunks = range(-(-bank.shape[0] // 128))
    sums = {chunk: zlib.crc32(bytes(bank.array._span(chunk)[1])) for chunk in {0, chunks[-1]}}
    marks = {chunk: sums[chunks[-1] if chunk == chunks[-1] else 0] for chunk in chunks}
    (bank.array.folder / "marks.json").write_text(json.dumps(marks))
    bank.array._tell_others(marks, bank.array._stamp())
    print(f"bank of {bank.nbytes / 1e9:.1f} GB: {bank.shape}")


def job(name: str, folder: Path) -> Row:
    from benchmark.plan import Axes, make_plan
    from benchmark.store import Store

    method, setting, _ = CASES[name]
    axes = Axes((method.format(folder=folder),), (setting,), encoders=(f"RN50/{folder}/RN50.pt",))
    (row,) = make_plan(axes, Store(folder / "out"))
    return row


def run(name: str, folder: Path) -> None:
    """One case, in this process."""
    from benchmark.run.execute import execute

    start = time.perf_counter()
    record = execute(job(name, folder).job(), folder / "out")
    cost, goal = record["cost"], CASES[name][2]
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1e6
    print(
        f"{name}: {record['status']} {record['error'].get('message', '')} "
        f"peak {peak:.2f} GB of the process (goal {goal}), {cost['peak_ram_mb'] / 1000:.2f} GB "
        f"recorded, feature {cost['feature_s']:.0f} s, fit {cost['fit_s']:.0f} s, predict "
        f"{cost['predict_s']:.0f} s, all {time.perf_counter() - start:.0f} s"
    )


def main() -> None:
    sys.path.insert(0, str(ROOT))
    folder, *names = sys.argv[1:]
    folder = Path(folder).resolve()
    if names[:1] == ["here"]:
        run(names[1], folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dualcoop_40.py").write_text(DUALCOOP_40)
    os.environ["LOWLABEL_DATA"] = str(folder / "data")
    for path, make, argument in (
        (folder / "data/coco", make_coco, folder / "data"),
        (folder / "data/nus_wide", make_nus, folder / "data"),
        (folder / "RN50.pt", make_weights, folder / "RN50.pt"),
    ):
        if not path.exists():
            make(argument)
    for name in names or CASES:
        make_bank(job(name, folder).spec, folder / "out")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, str(folder), "here", name]
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
