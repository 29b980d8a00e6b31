"""Write what an installation of born would: its name, its version and its entry points."""

import sys
import tomllib
from pathlib import Path

import born


def main(site: Path) -> None:
    """Write it into a folder that is on the path."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = site / "born_optim-0.dist-info"
    folder.mkdir(parents=True)
    about = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {born.__version__}"]
    (folder / "METADATA").write_text("\n".join(about) + "\n", encoding="utf-8")
    points: list[str] = []
    for group, entries in project["entry-points"].items():
        points += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (folder / "entry_points.txt").write_text("\n".join(points) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
