"""`python -m sandbox.image`: build the image, or say what it is called."""

import argparse
import sys
from pathlib import Path

from sandbox.image.build import build_image, build_root, default_cache
from sandbox.image.recipe import image_key, image_name
from sandbox.image.root import BuildError


def main(arguments: list[str]) -> int:
    """Print the name of the image, which is there afterwards; 2 if it cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.image", description=main.__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of the builds")
    parser.add_argument("--mirror", default="", help="mirror of Debian, if not the one of apt")
    parser.add_argument(
        "--only", choices=("name", "key", "root"),
        help="print the name or key and build nothing, or make the root folder without Docker",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        answer = _answer(options)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{answer}\n")
    return 0


def _answer(options: argparse.Namespace) -> str:
    if options.only == "name":
        return image_name()
    if options.only == "key":
        return image_key()
    if options.only == "root":
        return str(build_root(options.cache, options.mirror, _tell))
    return build_image(options.cache, options.mirror, _tell)


def _tell(step: str) -> None:
    sys.stderr.write(f"{step}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
