"""The files of a run keep their content: a run that is resumed with other data would be neither run."""

from collections.abc import Iterable
from pathlib import Path

from experiments.core.data_folder import DATA
from experiments.core.run_folder import RunFolder
from irl.types import InputError
from reward_models.folders.manifest import Sha256, digest_of_file
from reward_models.records import record


@record
class DataFiles:
    """data.json: sha256 of each file, by its path."""

    sha256: dict[str, Sha256]


def refuse_changed_files(run: RunFolder, files: Iterable[str]) -> None:
    """Write down the digests of a run's data. InputError where the content of a file has changed since the run began.

    A digest is of the bytes of a file, as it is on the disk.
    """
    kept = run.read_stage(DATA, DataFiles, otherwise="changes of the data are not noticed")
    known = {} if kept is None else kept["sha256"]
    now = {file: digest_of_file(Path(file)) for file in files}
    for file, digest in now.items():
        if known.get(file, digest) != digest:
            advice = "restore the file, start anew with --overwrite, or take another --output"
            raise InputError(f"{file}: its content has changed since the run in {run.folder} began; {advice}")
    if now:
        run.write_json(DATA, {"sha256": {**known, **now}})
