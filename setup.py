"""Build the package from settings.ini, the one place where version and requirements stand."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="], interpolation=None)
config.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
settings = config["DEFAULT"]

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    keywords=settings["keywords"].split(),
    author=settings["author"],
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split(),
    extras_require={
        "dev": [
            word
            for part in ("dev", "cluster", "docs", "demo", "track")
            for word in settings[f"{part}_requirements"].split()
        ],
        "cluster": settings["cluster_requirements"].split(),
        "demo": settings["demo_requirements"].split(),
        "docs": settings["docs_requirements"].split(),
        "export": settings["export_requirements"].split(),
        "track": settings["track_requirements"].split(),
    },
    entry_points={"console_scripts": [settings["console_scripts"]]},
    # The papermill templates travel inside the wheel, so that a pip user can run the ablation too.
    packages=[*find_packages(include=["advdepth_nb", "advdepth_nb.*"]), "advdepth_nb.runs"],
    package_dir={"advdepth_nb.runs": "nbs/runs"},
    package_data={"advdepth_nb": ["py.typed", "*.csv", "weights/*/*"], "advdepth_nb.runs": ["*.ipynb"]},
    include_package_data=False,
    zip_safe=False,
)
