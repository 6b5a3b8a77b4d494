"""Was a generator trained on the reference? What the digests in the provenance of a generated file say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def overlap_by_digest(provenance: Mapping[str, Any], reference: str | None) -> str:
    """What a generated file tells of the training on the reference, in words; nothing if it tells nothing.

    Without the training file itself only a reference that is one of the training files as a whole can be recognised.

    Args:
        provenance: of the generated file, with ``training_files_sha256`` and ``training_data_sha256`` as
            :meth:`fastv.model.Model.provenance` gives them; any other content tells nothing.
        reference: SHA-256 of the file of the reference, in hexadecimal digits; None if there is no file.

    Example:
        >>> overlap_by_digest({"training_files_sha256": ["ab", "cd"]}, "cd")
        'the reference is a file on which the generator was trained (equal SHA-256)'
        >>> overlap_by_digest({"training_files_sha256": ["ab"]}, "cd")
        ''
    """
    if reference is None:
        return ""
    files = provenance.get("training_files_sha256")
    # A training on one file has the digest of that file's digest.
    alone = hashlib.sha256(bytes.fromhex(reference)).hexdigest() == provenance.get("training_data_sha256")
    if alone or (isinstance(files, list) and reference in files):
        return "the reference is a file on which the generator was trained (equal SHA-256)"
    return ""
