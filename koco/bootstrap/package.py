"""koco's own code as a package that Ray carries to nodes, named by its content."""

import hashlib
import importlib.metadata
import io
import zipfile
from pathlib import Path

import koco
from koco.errors import KocoError

#: The same content gives the same bytes: the oldest time that a zip can tell.
_WHEN = (1980, 1, 1, 0, 0, 0)


def of_koco() -> tuple[str, bytes]:
    """Return the package's file name and its bytes: the modules, and what koco needs.

    Raises:
        KocoError: koco is not installed here, so that nobody knows what it needs.
    """
    files = _modules()
    files[f"koco-{koco.__version__}.dist-info/METADATA"] = _metadata()
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
    """Return which versions of Ray koco runs on, as `>=2.60,<3`."""
    from packaging.requirements import Requirement

    for text in importlib.metadata.requires("koco") or []:
        if (requirement := Requirement(text)).name == "ray":
            return str(requirement.specifier)
    raise _not_installed()


def _modules() -> dict[str, bytes]:
    root = Path(koco.__file__).parent
    return {
        f"koco/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in root.rglob("*.py")
        # Templates are for `koco init`, which no cluster runs.
        if not path.relative_to(root).parts[0].startswith("_templates")
    }


def _metadata() -> bytes:
    try:
        text = importlib.metadata.distribution("koco").read_text("METADATA")
    except importlib.metadata.PackageNotFoundError:
        text = None
    if text is None:
        raise _not_installed()
    # Without the description, which is the README.
    head, _, _ = text.partition("\n\n")
    return f"{head}\n".encode()


def _not_installed() -> KocoError:
    return KocoError(
        "koco is not installed here as a package, so what it needs is not known",
        hint="`pip install koco`, or `pip install -e .` in a checkout",
    )
