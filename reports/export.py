"""Records as one tidy data frame, and the files that `report` writes from it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.store import Record, Store

if TYPE_CHECKING:
    import pandas as pd  # imported where it is used: it takes half a second

FIRST = ("id", "method", "method_parameters", "setting", "dataset")
LAST = ("encoder", "selection", "seed", "limit", "status", "view", "metric", "value")


def load(*folders: str | Path) -> "pd.DataFrame":
    """Every record of the result folders (default: "results"), one row a record × view × metric.

    Columns: id, method, method_parameters (one text), setting, dataset, setting_<parameter> … (a
    column for each parameter of any setting), encoder, selection, seed, limit (images a split of a
    smoke run, else 0), status, view, metric, value. A run that is not done has one row with empty
    view, metric and value. Of a run in two folders the done one counts. Raises `FileNotFoundError`
    for a folder that is not there.
    """
    records: dict[str, Record] = {}
    for folder in map(Path, folders or ("results",)):
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no result folder {folder}.")
        for record in Store(folder).verified():
            known = records.get(record["id"])
            if known is None or known["status"] != "done":
                records[record["id"]] = record
    return frame(records[id] for id in sorted(records))


def frame(records: Iterable[Record]) -> "pd.DataFrame":
    """The rows of records, see `load`."""
    import pandas as pd

    runs, lengths = [], []
    views: list[str | None] = []
    metrics: list[str | None] = []
    values: list[float | None] = []
    for record in records:
        spec = record["spec"]
        runs.append(
            {
                "id": spec.id,
                "method": spec.method.name,
                "method_parameters": spec.method.parameter_text,
                "setting": spec.setting.name,
                "dataset": spec.dataset,
                **{
                    f"setting_{name}": value
                    for name, value in spec.setting.parameters.items()
                    if name != "dataset"
                },
                "encoder": spec.encoder.text,
                "selection": spec.selection,
                "seed": spec.seed,
                "limit": spec.limit,
                "status": record["status"],
            }
        )
        found = [(v, m, x) for v, row in record["metrics"].items() for m, x in row.items()]
        lengths.append(max(len(found), 1))
        views += [view for view, _, _ in found] or [None]
        metrics += [metric for _, metric, _ in found] or [None]
        values += [value for _, _, value in found] or [None]
    columns = dict.fromkeys([*FIRST, *(name for run in runs for name in run)])
    table = pd.DataFrame(runs, columns=[name for name in columns if name not in LAST] + [*LAST[:5]])
    table = table.loc[table.index.repeat(lengths)].reset_index(drop=True)
    table["view"] = pd.Series(views, dtype=object)
    table["metric"] = pd.Series(metrics, dtype=object)
    table["value"] = pd.Series(values, dtype="float64")
    return table


def write(records: Iterable[Record], out: Path) -> list[Path]:
    """Writes results.csv, and results.parquet where pyarrow is installed."""
    table = frame(records)
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "results.csv"]
    table.to_csv(written[0], index=False)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return written
    for name in table.columns:  # a parameter may be a number in one setting and a text in another
        if table[name].dtype == object:
            table[name] = [None if value is None else str(value) for value in table[name]]
    table.to_parquet(out / "results.parquet", index=False)
    return [*written, out / "results.parquet"]
