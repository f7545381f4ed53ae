"""A user's project, and its conversion."""

from pathlib import Path

from koco.manifest import load
from koco.manifest.model import Manifest
from koco.project.conversion import conversion
from koco.project.conversion.conversion import Conversion

#: A service as its author wrote it for Kodosumi.
CODE = """\
from kodosumi.core import ServeAPI
from ray import serve

app = ServeAPI()


@serve.deployment
@serve.ingress(app)
class News:
    pass


fast_app = News.bind()
"""

#: The least that declares it.
APP = "import_path: news.query:fast_app\n"


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files into a folder, and the service's code."""
    for name, text in {"news/query.py": CODE, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def convert(root: Path, text: str, files: dict[str, str] | None = None) -> Conversion:
    """Convert one deployment file of a project."""
    write(root, {"news.yaml": text, **(files or {})})
    return conversion.convert(root / "news.yaml", root)


def manifest(made: Conversion, name: str = "koco.yaml") -> Manifest:
    """Return a manifest as koco reads it."""
    return load.parse(made.files[Path(name)], name)


def notes(made: Conversion) -> dict[str, str]:
    """Return the notes on all services, by their keys, without that on kept processes."""
    found = {note.key: note.message for service in made.services for note in service.notes}
    found.pop("processes", None)
    return found
