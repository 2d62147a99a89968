"""The journal of a benchmark: a line per finished run, safe against a kill at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from meg_vae._version import __version__
from meg_vae.files import locked, whole_file

NAME = "rows.jsonl"


class Journal:
    """Rows of one protocol in one folder.

    Parameters
    ----------
    folder : Path
        The folder; it is made if it is not there.
    digest : str
        Fingerprint of the protocol.

    Attributes
    ----------
    rows : list of dict
        The finished runs.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.path = folder / NAME
        self.rows: list[dict[str, Any]] = []
        self._header = {"protocol": digest, "meg_vae": __version__, "mne": version("mne")}

    @contextmanager
    def opened(self) -> Iterator[Journal]:
        """Read what is there, and keep every other process from writing.

        Yields
        ------
        journal : Journal
            This one.

        Raises
        ------
        RuntimeError
            If another process is writing.
        ValueError
            If the rows are of another protocol or program, or damaged.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path, "benchmark"):
            self._read()
            with self.path.open("a", encoding="utf-8") as self._file:
                yield self

    def add(self, row: dict[str, Any]) -> None:
        """Write a finished run, at once.

        Parameters
        ----------
        row : dict
            Plain values by name.
        """
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows.append(row)

    def _read(self) -> None:
        """Read whole lines; the last one is dropped from the file if it was cut short."""
        text = self.path.read_bytes() if self.path.exists() else b""
        whole, _, rest = text.rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        if not lines:
            self._write([self._header])
            return
        try:
            header, *self.rows = [json.loads(line) for line in lines]
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged ({error}); name another folder.") from error
        if header != self._header:
            differs = [key for key, value in self._header.items() if header.get(key) != value]
            raise ValueError(
                f"{self.path} holds runs of another {' and another '.join(differs) or 'kind'}, and "
                "the two are not mixed; name another folder."
            )
        if rest:
            self._write([header, *self.rows])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """Write the file anew: whole, or as it was."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with whole_file(self.path) as part:
            part.write_text(text, encoding="utf-8")
