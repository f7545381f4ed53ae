"""Build the package with koco's own code that Ray distributes to nodes, named by its content."""

import hashlib
import importlib.metadata
import io
import zipfile
from pathlib import Path

import koco
from koco.errors import KocoError
from koco.versions import DISTRIBUTION

#: The time of all entries, so that the same content gives the same bytes. It is the oldest time
#: that a zip file can store.
_WHEN = (1980, 1, 1, 0, 0, 0)


def of_koco() -> tuple[str, bytes]:
    """Return the file name and bytes of a zip with koco's modules and its list of requirements.

    Raises:
        KocoError: koco is not installed here, so its requirements are unknown.
    """
    files = _modules()
    files[f"{DISTRIBUTION.replace('-', '_')}-{koco.__version__}.dist-info/METADATA"] = _metadata()
    digest, buffer = hashlib.sha256(), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            digest.update(b"%s\0%d\0%s" % (name.encode(), len(data), data))
            info = zipfile.ZipInfo(name, _WHEN)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return f"koco-{digest.hexdigest()[:32]}.zip", buffer.getvalue()


def ray_bounds() -> str:
    """Return the versions of Ray that koco supports, such as `>=2.60,<3`.

    Raises:
        KocoError: koco is not installed here, so its requirements are unknown.
    """
    from packaging.requirements import Requirement

    for text in importlib.metadata.requires(DISTRIBUTION) or []:
        if (requirement := Requirement(text)).name == "ray":
            return str(requirement.specifier)
    raise _not_installed()


def _modules() -> dict[str, bytes]:
    root = Path(koco.__file__).parent
    return {
        f"koco/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in root.rglob("*.py")
        # Templates are for `koco init`, which never runs on a cluster.
        if not path.relative_to(root).parts[0].startswith("_templates")
    }


def _metadata() -> bytes:
    try:
        text = importlib.metadata.distribution(DISTRIBUTION).read_text("METADATA")
    except importlib.metadata.PackageNotFoundError:
        text = None
    if text is None:
        raise _not_installed()
    # Without the description, which is the README.
    head, _, _ = text.partition("\n\n")
    return f"{head}\n".encode()


def _not_installed() -> KocoError:
    return KocoError(
        "koco is not installed here as a package, so its requirements are unknown",
        hint="run `pip install .` in a clone of it",
    )
