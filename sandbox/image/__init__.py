"""The sandbox's image, made from Debian packages without any image registry.

`python -m sandbox.image`, as root on Debian, makes a root folder with debootstrap and pip and
gives it to Docker; `sandbox/Dockerfile` makes the same where a registry can be reached. What goes
in decides the image's name, so a build with the same inputs is no work.
"""

from sandbox.image.recipe import base_key, base_name, image_key, image_name, tools_key

__all__ = ["base_key", "base_name", "image_key", "image_name", "tools_key"]
